// SPDX-License-Identifier: MIT OR Apache-2.0
//
// What the program knows. All of it is written by `steer.rs`, but for the fragments and the counts.
//
// IPv4 addresses stand here as IPv4-mapped IPv6 addresses (::ffff:a.b.c.d), addresses and ports in network order.

#pragma once

#define QUEUES 64

// What an address is to the switch: the low byte of its value in `addresses`. The rest is, for a VIP, the headroom of
// what goes to it without naming a service: ICMP errors, and fragments whose first has not been seen.
#define IS_VIP 1
#define IS_ANNOUNCED 2
#define IS_LOCAL 4
#define IS_HOST 8
#define IS_BACKEND 16
#define ROOM_SHIFT 8

// What a prefix is to outbound source NAT.
#define IS_SOURCE 1
#define IS_EXCEPTED 2

#define RANGES 4

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
	__u16 peer_mac[3];  // of the other end of the bridge
	__u16 vlans[2];     // outermost first, host order
	__u8 tags;          // how many of them
	__u8 bridge;
	__u16 zero;
};

// Host order, both ends belong to it. An unused range ends before it begins.
struct port_range {
	__u16 first;
	__u16 last;
};

struct port_ranges {
	struct port_range range[RANGES];
};

struct prefix {
	__u32 length;
	struct address address;
};

struct fragment_key {
	struct address source;
	struct address destination;
	__u32 id;
	__u32 protocol;  // 0 for IPv6, where the identification is per pair of addresses (RFC 8200 section 4.5)
};

struct fragment_decision {
	__u64 at;  // nanoseconds
	__s32 decision;
	__u32 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

// Bridge: the other interface.
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} peer SEC(".maps");

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

// Backends of nat services.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint);
	__type(value, __u32);
} replies SEC(".maps");

// Far ends of our tunnels: with the UDP port and protocol of GUE, or port 0 and protocol 4 or 41.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct endpoint);
	__type(value, __u32);
} tunnels SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, struct port_ranges);
} snat SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 262144);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, __u32);
} addresses SEC(".maps");

// Where the first fragment of a datagram went. The oldest give way.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct fragment_key);
	__type(value, struct fragment_decision);
} fragments SEC(".maps");

// Frames that went each way.
enum way {
	TO_KERNEL,
	TO_SOCKET,
	TO_PEER,
	NO_SOCKET,  // for the socket of a queue that has none: the kernel got them
	WAYS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WAYS);
	__type(key, __u32);
	__type(value, __u64);
} ways SEC(".maps");

static __always_inline __u32 about(const struct address *address)
{
	__u32 *value = bpf_map_lookup_elem(&addresses, address);
	return value ? *value : 0;
}

static __always_inline __u32 about_prefix(const struct address *address)
{
	struct prefix key = { .length = 128, .address = *address };
	__u32 *value = bpf_map_lookup_elem(&prefixes, &key);
	return value ? *value : 0;
}

static __always_inline void count(__u32 way)
{
	__u64 *counter = bpf_map_lookup_elem(&ways, &way);
	if (counter)
		*counter += 1;
}
