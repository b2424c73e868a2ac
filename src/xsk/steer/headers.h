// SPDX-License-Identifier: MIT OR Apache-2.0
//
// From bytes to what the rules speak of. Nothing here decides.

#pragma once

#define TAGS 2
#define EXTENSIONS 6
// Headers lie within so many bytes of the frame, also those of a quoted packet. Not more than the first buffer of a frame
// that lies in several.
#define DEEPEST 1024

#define FRAGMENT_OFFSET 0x1FFF
#define MORE_FRAGMENTS 0x2000

#define EXTENSION_HOP_BY_HOP 0
#define EXTENSION_ROUTING 43
#define EXTENSION_FRAGMENT 44
#define EXTENSION_AUTHENTICATION 51
#define EXTENSION_DESTINATION 60

struct vlan_header {
	__be16 tag;
	__be16 ethertype;
};

struct fragment_header {
	__u8 next;
	__u8 zero;
	__be16 offset;
	__be32 id;
};

enum fragment {
	WHOLE,
	FIRST,
	LATER,
};

struct packet {
	struct address source;
	struct address destination;
	__u32 id;       // of its fragments
	__u32 payload;  // where in the frame the transport header begins
	__u32 fragment;
	__u32 protocol;
	__u32 ipv6;
};

// A pointer to `length` bytes at `offset`, or null where the frame does not have them.
static __always_inline void *at(struct xdp_md *ctx, __u64 offset, __u64 length)
{
	void *end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;

	// Else the compiler would drop a comparison that it can derive, and the verifier could not follow.
	asm volatile("" : "+r"(offset));
	if (offset > DEEPEST)
		return 0;
	data += offset;
	return data + length <= end ? data : 0;
}

static __always_inline struct address mapped(const void *ipv4)
{
	struct address address = {};
	address.bytes[10] = 0xFF;
	address.bytes[11] = 0xFF;
	__builtin_memcpy(&address.bytes[12], ipv4, 4);
	return address;
}

// In halves: a byte-wise memcmp would become a call, and there is nobody to call.
static __always_inline int same_mac(const __u16 *mac, const __u16 *other)
{
	return mac[0] == other[0] && mac[1] == other[1] && mac[2] == other[2];
}

static __always_inline int is_tag(__be16 ethertype)
{
	return ethertype == bpf_htons(ETH_P_8021Q) || ethertype == bpf_htons(ETH_P_8021AD) ||
	       ethertype == bpf_htons(ETH_P_QINQ1);
}

static __always_inline int read_ipv4(struct xdp_md *ctx, __u64 offset, struct packet *packet)
{
	struct iphdr *ip = at(ctx, offset, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return 0;
	__u16 fragment = bpf_ntohs(ip->frag_off);
	packet->source = mapped(&ip->saddr);
	packet->destination = mapped(&ip->daddr);
	packet->id = ip->id;
	packet->payload = offset + ip->ihl * 4;
	packet->fragment = fragment & FRAGMENT_OFFSET ? LATER : fragment & MORE_FRAGMENTS ? FIRST : WHOLE;
	packet->protocol = ip->protocol;
	packet->ipv6 = 0;
	return 1;
}

static __always_inline int read_ipv6(struct xdp_md *ctx, __u64 offset, struct packet *packet)
{
	struct ipv6hdr *ip = at(ctx, offset, sizeof(*ip));

	if (!ip || ip->version != 6)
		return 0;
	__builtin_memcpy(&packet->source, &ip->saddr, sizeof(packet->source));
	__builtin_memcpy(&packet->destination, &ip->daddr, sizeof(packet->destination));
	packet->fragment = WHOLE;
	packet->id = 0;
	packet->ipv6 = 1;
	__u32 next = ip->nexthdr;
	offset += sizeof(*ip);
	for (int extension = 0; extension <= EXTENSIONS; extension++) {
		__u8 *header;

		switch (next) {
		case EXTENSION_HOP_BY_HOP:
		case EXTENSION_ROUTING:
		case EXTENSION_DESTINATION:
		case EXTENSION_AUTHENTICATION:
			header = at(ctx, offset, 2);
			if (!header)
				return 0;
			// RFC 8200 section 4, RFC 4302 section 2.2.
			offset += next == EXTENSION_AUTHENTICATION ? (header[1] + 2) * 4 : (header[1] + 1) * 8;
			next = header[0];
			break;
		case EXTENSION_FRAGMENT: {
			struct fragment_header *fragment = at(ctx, offset, sizeof(*fragment));
			if (!fragment)
				return 0;
			// With neither offset nor more to come it is a whole packet (RFC 6946).
			packet->fragment = fragment->offset & bpf_htons(0xFFF8) ? LATER
					   : fragment->offset & bpf_htons(1)    ? FIRST
										 : WHOLE;
			packet->id = fragment->id;
			next = fragment->next;
			offset += sizeof(*fragment);
			if (packet->fragment != LATER)
				break;
		}
		// What follows the header of a later fragment is payload.
		// fallthrough
		default:
			packet->payload = offset;
			packet->protocol = next;
			return 1;
		}
	}
	return 0;
}

// Reads the IP headers at `offset`. Called for the frame and for the packet that an ICMP error quotes, so the code and
// what the verifier must think through stay small.
static __noinline int read_ip(struct xdp_md *ctx, __u64 offset, int ipv6, struct packet *packet)
{
	return ipv6 ? read_ipv6(ctx, offset, packet) : read_ipv4(ctx, offset, packet);
}
