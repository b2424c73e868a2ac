// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Tells the switch's frames from the kernel's. What is ours goes to the AF_XDP socket of its queue, everything else
// goes on to the kernel, untouched. Where there is no socket, the kernel gets the frame, too.
//
//   to a VIP's service (address, port, protocol)             -> socket, with headroom where the service needs it
//   from a backend of a nat service, not to the switch       -> socket
//   to a SNAT address, port within the range                 -> socket
//   ARP request for an address that the switch answers for   -> socket
//   fragment to a VIP                                        -> socket
//
// IPv4 addresses stand in the maps as IPv4-mapped IPv6 addresses (::ffff:a.b.c.d), all numbers in network order.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define QUEUES 64
#define FRAGMENT 0x3FFF  // more-fragments bit and offset (RFC 791 section 3.1)

// What an address is to the switch.
#define IS_VIP 1
#define IS_ANNOUNCED 2
#define IS_LOCAL 4

struct address {
	__u8 bytes[16];
};

struct endpoint {
	struct address address;
	__be16 port;
	__u8 protocol;
	__u8 zero;
};

struct settings {
	__u16 mac[3];
	__u16 zero;
};

struct port_range {
	__u16 first;  // host order
	__u16 last;
};

struct arp_ipv4 {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation;
	__u8 sender_mac[6];
	__u8 sender[4];
	__u8 target_mac[6];
	__u8 target[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

// Service -> bytes of headroom to make in front of its frames.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint);
	__type(value, __u32);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint);
	__type(value, __u32);
} replies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, struct port_range);
} snat SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, __u32);
} addresses SEC(".maps");

// In halves: a byte-wise memcmp would become a call, and there is nobody to call.
static __always_inline int same_mac(const __u8 *mac, const struct settings *mine)
{
	const __u16 *halves = (const __u16 *)mac;

	return halves[0] == mine->mac[0] && halves[1] == mine->mac[1] && halves[2] == mine->mac[2];
}

static __always_inline struct address mapped(const void *ipv4)
{
	struct address address = {};
	address.bytes[10] = 0xFF;
	address.bytes[11] = 0xFF;
	__builtin_memcpy(&address.bytes[12], ipv4, 4);
	return address;
}

static __always_inline __u32 role(const void *ipv4)
{
	struct address address = mapped(ipv4);
	__u32 *roles = bpf_map_lookup_elem(&addresses, &address);
	return roles ? *roles : 0;
}

static __always_inline int to_socket(struct xdp_md *ctx)
{
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

static __always_inline int arp(struct xdp_md *ctx, void *packet, void *end)
{
	struct arp_ipv4 *request = packet;

	if ((void *)(request + 1) > end)
		return XDP_PASS;
	if (request->operation != bpf_htons(1) || request->protocol != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	return role(request->target) & IS_ANNOUNCED ? to_socket(ctx) : XDP_PASS;
}

static __always_inline int flow(struct xdp_md *ctx, struct iphdr *ip, __be16 *ports)
{
	struct endpoint to = { .address = mapped(&ip->daddr), .port = ports[1], .protocol = ip->protocol };
	struct endpoint from = { .address = mapped(&ip->saddr), .port = ports[0], .protocol = ip->protocol };

	__u32 *headroom = bpf_map_lookup_elem(&services, &to);
	if (headroom) {
		// Beyond this point no packet pointer is valid any more.
		if (*headroom && bpf_xdp_adjust_head(ctx, -(int)(*headroom & 0xFF)))
			return XDP_PASS;
		return to_socket(ctx);
	}
	struct port_range *range = bpf_map_lookup_elem(&snat, &to.address);
	if (range) {
		__u16 port = bpf_ntohs(to.port);
		if (port >= range->first && port <= range->last)
			return to_socket(ctx);
	}
	if (bpf_map_lookup_elem(&replies, &from) && !(role(&ip->daddr) & IS_LOCAL))
		return to_socket(ctx);
	return XDP_PASS;
}

static __always_inline int ipv4(struct xdp_md *ctx, struct iphdr *ip, void *end)
{
	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return XDP_PASS;
	if (ip->frag_off & bpf_htons(FRAGMENT))
		return role(&ip->daddr) & IS_VIP ? to_socket(ctx) : XDP_PASS;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	__be16 *ports = (void *)ip + ip->ihl * 4;
	if ((void *)(ports + 2) > end)
		return XDP_PASS;
	return flow(ctx, ip, ports);
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = data;
	__u32 zero = 0;

	if ((void *)(ethernet + 1) > end)
		return XDP_PASS;
	if (ethernet->h_proto == bpf_htons(ETH_P_ARP))
		return arp(ctx, ethernet + 1, end);
	if (ethernet->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	// Routing is for frames that were sent to us: a flooding bridge sends others, too.
	struct settings *mine = bpf_map_lookup_elem(&settings, &zero);
	if (!mine || !same_mac(ethernet->h_dest, mine))
		return XDP_PASS;
	return ipv4(ctx, (struct iphdr *)(ethernet + 1), end);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
