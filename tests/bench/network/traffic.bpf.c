// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Both ends of the throughput benchmark, and the program of the bare forwarder.
//
//   generate   run with live frames: writes one whole frame and sends it out of an interface
//   count      on the interface where the frames should arrive: counts, and ends them
//   discard    on the interface where replies arrive: ends them
//   forward    on the bare forwarder's interface: everything goes to the AF_XDP socket

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FRAME 60
#define TO_CLIENT 1  // the flow's own address is the destination, not the source
#define UDP 2

// Address and port of the client are zero in the frame; each frame of the round gets the next flow's.
struct plan {
	__u8 frame[FRAME];
	__u32 flows;
	__u32 first_address;  // host order
	__u32 first_port;
	__u32 interface;
	__u32 traits;
	__u32 interval_ns;  // 0: as fast as it goes
	__u32 zero;
};

struct progress {
	__u64 sent;
	__u64 next_at_ns;
	__u32 next_flow;
	__u32 zero;
};

struct expected {
	__be32 destination;
	__u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct plan);
} plan SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct progress);
} progress SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct expected);
} expected SEC(".maps");

// Frames as expected, other frames.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} arrived SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

static __always_inline __sum16 add(__sum16 checksum, __u32 words)
{
	__u32 sum = (__u16)~checksum + words;
	sum = (sum & 0xFFFF) + (sum >> 16);
	sum = (sum & 0xFFFF) + (sum >> 16);
	return (__sum16)~sum;
}

static long wait(__u32 turn, __u64 *until)
{
	return bpf_ktime_get_ns() >= *until;
}

static __always_inline void pace(struct progress *done, __u32 interval_ns)
{
	__u64 until = done->next_at_ns;
	__u64 now = bpf_ktime_get_ns();

	if (now < until)
		bpf_loop(1 << 20, wait, &until, 0);
	else
		until = now;
	done->next_at_ns = until + interval_ns;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 zero = 0;
	struct plan *todo = bpf_map_lookup_elem(&plan, &zero);
	struct progress *done = bpf_map_lookup_elem(&progress, &zero);

	if (!todo || !done)
		return XDP_ABORTED;
	if (todo->interval_ns)
		pace(done, todo->interval_ns);
	if (data + FRAME > (__u8 *)end)
		return XDP_ABORTED;
	__u32 flow = done->next_flow;
	done->next_flow = flow + 1 < todo->flows ? flow + 1 : 0;
	done->sent++;

	__be32 address = bpf_htonl(todo->first_address + (flow & 0xFF));
	__be16 port = bpf_htons(todo->first_port + (flow >> 8));
	__u32 words = (address & 0xFFFF) + (address >> 16);
	__builtin_memcpy(data, todo->frame, FRAME);
	struct iphdr *ip = (void *)(data + ETH_HLEN);
	__be16 *ports = (void *)(ip + 1);
	if (todo->traits & TO_CLIENT) {
		ip->daddr = address;
		ports[1] = port;
	} else {
		ip->saddr = address;
		ports[0] = port;
	}
	ip->check = add(ip->check, words);
	if (todo->traits & UDP) {
		struct udphdr *udp = (void *)ports;
		__sum16 check = add(udp->check, words + port);
		udp->check = check ? check : 0xFFFF;
	} else {
		struct tcphdr *tcp = (void *)ports;
		tcp->check = add(tcp->check, words + port);
	}
	return bpf_redirect(todo->interface, 0);
}

SEC("xdp")
int count(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	__u32 zero = 0, slot = 1;
	struct expected *wanted = bpf_map_lookup_elem(&expected, &zero);

	if (wanted && (void *)(ip + 1) <= end && ip->daddr == wanted->destination &&
	    ip->protocol == wanted->protocol)
		slot = 0;
	__u64 *counter = bpf_map_lookup_elem(&arrived, &slot);
	if (counter)
		(*counter)++;
	return XDP_DROP;
}

SEC("xdp")
int discard(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp")
int forward(struct xdp_md *ctx)
{
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_DROP);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
