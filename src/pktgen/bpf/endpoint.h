/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What brings frames to AF_XDP sockets. */

#define QUEUES 64
#define SOLICITATION 135

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* Who has an address of ours? */
static __always_inline int asks_for_us(__u8 *data, __u8 *end, struct settings *ours)
{
	__be16 ethertype = 0;
	__u8 *at = past_tags(data, end, &ethertype);
	struct address target = {};

	if (!at)
		return 0;
	if (ethertype == bpf_htons(ETH_P_ARP)) {
		if (at + 28 > end)
			return 0;
		target.words[2] = bpf_htonl(0xFFFF);
		__builtin_memcpy(&target.words[3], at + 24, 4);
		return is_within(&target, ours);
	}
	if (ethertype != bpf_htons(ETH_P_IPV6) || at + 64 > end)
		return 0;
	if (at[6] != IPPROTO_ICMPV6 || at[40] != SOLICITATION)
		return 0;
	__builtin_memcpy(&target, at + 48, 16);
	return is_within(&target, ours);
}

SEC("xdp")
int endpoint(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	__u8 *end = (void *)(long)ctx->data_end;
	__u32 zero = 0;
	struct settings *ours = bpf_map_lookup_elem(&settings, &zero);
	struct packet packet = {};

	if (!ours)
		return XDP_ABORTED;
	if (read_packet(data, end, &packet) && is_within(&packet.destination, ours))
		return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
	if (asks_for_us(data, end, ours))
		return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
	return XDP_PASS;
}

SEC("xdp")
int divert(struct xdp_md *ctx)
{
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_DROP);
}
