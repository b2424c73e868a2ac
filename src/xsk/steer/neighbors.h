// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Who answers whom about MAC addresses.

#pragma once

#define ARP_REQUEST 1
#define ARP_REPLY 2

#define NDP_FIRST 133
#define NDP_SOLICITATION 135
#define NDP_ADVERTISEMENT 136
#define NDP_LAST 137

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
} __attribute__((packed));

struct ndp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 reserved;
	struct address target;
};

// A request or solicitation, to all or to us.
static __always_inline int asked_for(const struct address *target)
{
	__u32 roles = about(target);

	if (roles & IS_ANNOUNCED)
		return 0;
	return roles & IS_LOCAL ? FOR_KERNEL : UNCLAIMED;
}

// The answer to a question. In bridge mode the switch asks for itself, besides the kernel, which asks in the name of its
// own addresses; elsewhere all questions are the kernel's.
static __always_inline int answered(const struct address *asker, int bridge, int own)
{
	if (!bridge || !own)
		return UNCLAIMED;
	return about(asker) & IS_LOCAL ? FOR_KERNEL : 0;
}

// `group` and `own`: the frame is addressed to many, or to the interface.
static __always_inline int arp(struct xdp_md *ctx, __u64 offset, int bridge, int group, int own)
{
	struct arp_ipv4 *arp = at(ctx, offset, sizeof(*arp));

	if (!arp || arp->protocol != bpf_htons(ETH_P_IP) || arp->hardware_len != 6 || arp->protocol_len != 4)
		return UNCLAIMED;
	struct address target = mapped(arp->target);
	if (arp->operation == bpf_htons(ARP_REQUEST) && (group || own || bridge))
		return asked_for(&target);
	if (arp->operation == bpf_htons(ARP_REPLY))
		return answered(&target, bridge, own);
	return UNCLAIMED;
}

static __always_inline int is_ndp(struct xdp_md *ctx, const struct packet *packet)
{
	if (!packet->ipv6 || packet->protocol != IPPROTO_ICMPV6 || packet->fragment != WHOLE)
		return 0;
	__u8 *type = at(ctx, packet->payload, 1);
	return type && *type >= NDP_FIRST && *type <= NDP_LAST;
}

static __always_inline int ndp(struct xdp_md *ctx, const struct packet *packet, int bridge, int own)
{
	struct ndp_header *header = at(ctx, packet->payload, sizeof(*header));

	if (!header)
		return UNCLAIMED;
	if (header->type == NDP_SOLICITATION) {
		struct address target = header->target;
		return asked_for(&target);
	}
	if (header->type == NDP_ADVERTISEMENT)
		return answered(&packet->destination, bridge, own);
	return UNCLAIMED;
}
