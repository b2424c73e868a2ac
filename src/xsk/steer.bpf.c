// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Tells the switch's frames from the kernel's. What is ours goes to the AF_XDP socket of its queue, everything else
// goes on to the kernel, or in bridge mode to the other interface, untouched. Where there is no socket, the kernel gets
// the frame.
//
//   steer/maps.h       what the program knows
//   steer/headers.h    from bytes to addresses, protocol and fragment
//   steer/neighbors.h  ARP and neighbour discovery
//   steer/rules.h      TCP, UDP, ICMP, fragments
//
// Ours, if the VLANs are those of the interface and the frame is addressed to it (in bridge mode: to one station):
//   to a service (address, port, protocol)                          with headroom where the service needs it
//   from a backend of a nat service, not to the switch itself
//   to a SNAT address, port or echo identifier within a range
//   from an inside prefix to the outside                            TCP, UDP, echo requests
//   to a VIP that the kernel does not own                           whatever it is
//   ICMP errors about any of these, and about our tunnels
//   fragments of any of these                                       later ones follow the first
//   ARP requests and neighbour solicitations for addresses that the switch answers for
//
// Headroom: the frame then begins with a mark (six zero bytes, the bytes of headroom in network order), so that the
// receiver knows where the packet begins; what else lies in the headroom is undefined. Frames to the MAC address
// 00:00:00:00:00:00 are nobody's, so no frame without headroom looks like that.
//
// Reads the first buffer only, where headers lie, so it is fit for frames of several buffers.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "steer/maps.h"
#include "steer/headers.h"
#include "steer/rules.h"
#include "steer/neighbors.h"

#define MARK 8
#define MOST_ROOM 60

static __always_inline int to_socket(struct xdp_md *ctx, __u32 room)
{
	// The room is made before the redirect: afterwards it would be too late. Without it the frame is still ours, and the
	// switch counts why it could not be sent on.
	if (room >= MARK && room <= MOST_ROOM && bpf_xdp_adjust_head(ctx, -(int)room) == 0) {
		__u16 *mark = at(ctx, 0, MARK);
		if (mark) {
			mark[0] = mark[1] = mark[2] = 0;
			mark[3] = bpf_htons(room);
		}
	} else {
		room = 0;
	}
	int action = bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
	if (action == XDP_REDIRECT) {
		count(TO_SOCKET);
	} else {
		count(NO_SOCKET);
		if (room)
			bpf_xdp_adjust_head(ctx, room);
	}
	return action;
}

// Native: the other interface's driver must be able to send what XDP redirects. A veth can while its other end has
// NAPI, by an XDP program or GRO there; else the kernel refuses the frame and it is lost. Generic: any interface can.
static __always_inline int to_peer(void)
{
	int action = bpf_redirect_map(&peer, 0, XDP_PASS);

	count(action == XDP_REDIRECT ? TO_PEER : TO_KERNEL);
	return action;
}

// Leaves in `offset` where the payload begins. Whether the frame's VLANs are those of the interface.
static __always_inline int read_tags(struct xdp_md *ctx, const struct settings *mine, __u64 *offset,
				     __be16 *ethertype)
{
	__u32 tags = 0;

#pragma unroll
	for (int i = 0; i < TAGS; i++) {
		if (tags != i || !is_tag(*ethertype))
			continue;
		struct vlan_header *header = at(ctx, *offset, sizeof(*header));
		if (!header || (bpf_ntohs(header->tag) & 0xFFF) != mine->vlans[i])
			return 0;
		*ethertype = header->ethertype;
		*offset += sizeof(*header);
		tags++;
	}
	return tags == mine->tags;
}

static __always_inline int decide(struct xdp_md *ctx, const struct settings *mine)
{
	struct packet packet = {};
	struct ethhdr *ethernet = at(ctx, 0, sizeof(*ethernet));

	if (!ethernet)
		return FOR_KERNEL;
	const __u16 *to = (const __u16 *)ethernet->h_dest;
	if (to[0] == 0 && to[1] == 0 && to[2] == 0)
		return UNCLAIMED;
	int group = ethernet->h_dest[0] & 1, own = same_mac(to, mine->mac), bridge = mine->bridge;
	int not_ours = bridge && (own || same_mac(to, mine->peer_mac)) ? FOR_KERNEL : UNCLAIMED;
	__be16 ethertype = ethernet->h_proto;
	__u64 offset = sizeof(*ethernet);
	int decision = UNCLAIMED;

	if (!read_tags(ctx, mine, &offset, &ethertype))
		return not_ours;
	if (ethertype == bpf_htons(ETH_P_ARP)) {
		decision = arp(ctx, offset, bridge, group, own);
		return decision == UNCLAIMED ? not_ours : decision;
	}
	int ipv6 = ethertype == bpf_htons(ETH_P_IPV6);
	if (!ipv6 && ethertype != bpf_htons(ETH_P_IP))
		return not_ours;
	// Routing is for frames that were sent to us: a flooding bridge sends others, too.
	if (!own && !bridge && !(group && ipv6))
		return not_ours;
	if (!read_ip(ctx, offset, ipv6, &packet))
		return not_ours;
	if (is_ndp(ctx, &packet))
		decision = ndp(ctx, &packet, bridge, own);
	else if (!group)
		decision = ip_packet(ctx, &packet);
	return decision == UNCLAIMED ? not_ours : decision;
}

static __noinline int run(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct settings *mine = bpf_map_lookup_elem(&settings, &zero);

	if (!mine)
		return XDP_PASS;
	int decision = decide(ctx, mine);
	if (decision >= 0)
		return to_socket(ctx, decision);
	if (decision == UNCLAIMED && mine->bridge)
		return to_peer();
	count(TO_KERNEL);
	return XDP_PASS;
}

SEC("xdp.frags")
int steer(struct xdp_md *ctx)
{
	return run(ctx);
}

// For kernels before 5.18, which know nothing of several buffers.
SEC("xdp")
int steer_single(struct xdp_md *ctx)
{
	return run(ctx);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
