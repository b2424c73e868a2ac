// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The rules for IP packets. Each answers with a decision: bytes of headroom and so the socket, or one of these.

#pragma once

#define UNCLAIMED -1   // not ours: the kernel's, or in bridge mode the other interface's
#define FOR_KERNEL -2  // the kernel's, also in bridge mode

// Decisions on fragments are forgotten after as long as Linux waits for the rest of a datagram (ip(7), ipfrag_time).
#define FRAGMENT_NS (30ULL * 1000 * 1000 * 1000)

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_ECHO_REQUEST 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP6_ERRORS_FIRST 1
#define ICMP6_ERRORS_LAST 4
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY 129

// What echo messages and errors have in common.
struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 id;
	__be16 rest;
};

static __always_inline int in_ranges(const struct address *address, __be16 port)
{
	struct port_ranges *ranges = bpf_map_lookup_elem(&snat, address);
	__u16 number = bpf_ntohs(port);

	if (!ranges)
		return 0;
#pragma unroll
	for (int i = 0; i < RANGES; i++)
		if (number >= ranges->range[i].first && number <= ranges->range[i].last)
			return 1;
	return 0;
}

// Neither multicast, broadcast or reserved, nor link-local, loopback or "this network".
static __always_inline int is_global(const struct address *address)
{
	const __u8 *b = address->bytes;
	const __u32 *words = (const __u32 *)b;

	if (words[0] == 0 && words[1] == 0 && words[2] == bpf_htonl(0xFFFF))
		return b[12] != 0 && b[12] != 127 && b[12] < 224 && !(b[12] == 169 && b[13] == 254);
	if (words[0] == 0 && words[1] == 0 && words[2] == 0)
		return 0;
	return b[0] != 0xFF && !(b[0] == 0xFE && (b[1] & 0xC0) == 0x80);
}

// Whether outbound source NAT takes packets from `source` to `destination`.
static __always_inline int is_outbound(const struct address *source, const struct address *destination)
{
	return about_prefix(source) & IS_SOURCE && is_global(destination) && !(about_prefix(destination) & IS_EXCEPTED) &&
	       !(about(destination) & (IS_LOCAL | IS_VIP));
}

static __always_inline int outbound(const struct packet *packet)
{
	return is_outbound(&packet->source, &packet->destination) ? 0 : UNCLAIMED;
}

// Whatever else is sent to a VIP that nobody but us has.
static __always_inline int to_host(const struct packet *packet)
{
	return about(&packet->destination) & IS_HOST ? 0 : UNCLAIMED;
}

static __always_inline int tcp_or_udp(struct xdp_md *ctx, const struct packet *packet)
{
	__be16 *ports = at(ctx, packet->payload, 4);

	if (!ports)
		return to_host(packet);
	struct endpoint from = { .address = packet->source, .port = ports[0], .protocol = packet->protocol };
	struct endpoint to = { .address = packet->destination, .port = ports[1], .protocol = packet->protocol };
	__u32 *room = bpf_map_lookup_elem(&services, &to);
	if (room)
		return *room & 0xFF;
	if (in_ranges(&to.address, to.port))
		return 0;
	__u32 roles = about(&to.address);
	if (roles & IS_HOST)
		return 0;
	if (!(roles & IS_LOCAL) && bpf_map_lookup_elem(&replies, &from))
		return 0;
	return outbound(packet);
}

// Where the error's quoted packet names a flow of ours. `roles` are those of the error's own destination.
static __always_inline int names_our_flow(const struct packet *quoted, struct endpoint *from, struct endpoint *to,
					  __u32 roles)
{
	if (roles & IS_LOCAL)
		return 0;
	// The backend, or a router before it, complains about what we sent on; or somebody about what it sent.
	if (bpf_map_lookup_elem(&replies, to) || bpf_map_lookup_elem(&replies, from))
		return 1;
	return is_outbound(&quoted->destination, &quoted->source) || is_outbound(&quoted->source, &quoted->destination);
}

// Not inlined: its keys need a stack of their own.
static __noinline int icmp_error(struct xdp_md *ctx, const struct packet *packet)
{
	struct packet quoted = {};
	__u32 roles = about(&packet->destination);

	if (roles & IS_HOST)
		return roles >> ROOM_SHIFT & 0xFF;
	if (!read_ip(ctx, packet->payload + sizeof(struct icmp_header), packet->ipv6, &quoted) || quoted.fragment == LATER)
		return UNCLAIMED;
	struct endpoint from = { .address = quoted.source, .protocol = quoted.protocol };
	struct endpoint to = { .address = quoted.destination, .protocol = quoted.protocol };
	if (quoted.protocol == IPPROTO_IPIP || quoted.protocol == IPPROTO_IPV6)
		return bpf_map_lookup_elem(&tunnels, &to) ? 0 : UNCLAIMED;
	if (quoted.protocol == IPPROTO_TCP || quoted.protocol == IPPROTO_UDP) {
		__be16 *ports = at(ctx, quoted.payload, 4);
		if (!ports)
			return UNCLAIMED;
		from.port = ports[0];
		to.port = ports[1];
		// The kernel owns this VIP: its own connections are not ours.
		if (roles & IS_VIP && bpf_map_lookup_elem(&services, &from))
			return roles >> ROOM_SHIFT & 0xFF;
	} else if (quoted.protocol == (packet->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
		struct icmp_header *echo = at(ctx, quoted.payload, sizeof(*echo));
		if (!echo || echo->type != (packet->ipv6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO_REQUEST))
			return UNCLAIMED;
		from.port = echo->id;
	} else {
		return UNCLAIMED;
	}
	if (in_ranges(&packet->destination, from.port))
		return 0;
	if (quoted.protocol == IPPROTO_UDP && bpf_map_lookup_elem(&tunnels, &to))
		return 0;
	return names_our_flow(&quoted, &from, &to, roles) ? 0 : UNCLAIMED;
}

static __always_inline int icmp(struct xdp_md *ctx, const struct packet *packet)
{
	struct icmp_header *header = at(ctx, packet->payload, sizeof(*header));
	int request, reply, error;

	if (!header)
		return to_host(packet);
	if (packet->ipv6) {
		request = header->type == ICMP6_ECHO_REQUEST;
		reply = header->type == ICMP6_ECHO_REPLY;
		error = header->type >= ICMP6_ERRORS_FIRST && header->type <= ICMP6_ERRORS_LAST;
	} else {
		request = header->type == ICMP_ECHO_REQUEST;
		reply = header->type == ICMP_ECHO_REPLY;
		error = header->type == ICMP_UNREACHABLE || header->type == ICMP_TIME_EXCEEDED ||
			header->type == ICMP_PARAMETER_PROBLEM;
	}
	if (error)
		return icmp_error(ctx, packet);
	if (reply && in_ranges(&packet->destination, header->id))
		return 0;
	if (request && outbound(packet) == 0)
		return 0;
	return to_host(packet);
}

static __always_inline struct fragment_key fragment_key(const struct packet *packet)
{
	struct fragment_key key = {
		.source = packet->source,
		.destination = packet->destination,
		.id = packet->id,
		.protocol = packet->ipv6 ? 0 : packet->protocol,
	};
	return key;
}

static __always_inline void remember(const struct packet *packet, int decision)
{
	struct fragment_key key = fragment_key(packet);
	struct fragment_decision value = { .at = bpf_ktime_get_ns(), .decision = decision };

	bpf_map_update_elem(&fragments, &key, &value, BPF_ANY);
}

// Follows its first fragment. Where that has not been seen, the addresses must do.
static __always_inline int later_fragment(const struct packet *packet)
{
	struct fragment_key key = fragment_key(packet);
	struct fragment_decision *first = bpf_map_lookup_elem(&fragments, &key);

	if (first && bpf_ktime_get_ns() - first->at < FRAGMENT_NS)
		return first->decision;
	__u32 roles = about(&packet->destination);
	if (roles & IS_VIP)
		return roles >> ROOM_SHIFT & 0xFF;
	if (bpf_map_lookup_elem(&snat, &packet->destination))
		return 0;
	if (roles & IS_LOCAL)
		return UNCLAIMED;
	if (about(&packet->source) & IS_BACKEND)
		return 0;
	return outbound(packet);
}

static __always_inline int ip_packet(struct xdp_md *ctx, const struct packet *packet)
{
	int decision;

	if (packet->fragment == LATER)
		return later_fragment(packet);
	if (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP)
		decision = tcp_or_udp(ctx, packet);
	else if (packet->protocol == (packet->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		decision = icmp(ctx, packet);
	else
		decision = to_host(packet);
	if (packet->fragment == FIRST)
		remember(packet, decision);
	return decision;
}
