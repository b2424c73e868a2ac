/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The generator. Pages are recycled, and whoever had a frame before may have rewritten its headers: every frame gets all of
 * its headers anew. What follows stays as the kernel copied it when it made the page: zeros. */

#define HEADERS 80
#define SHAPES 8
#define PATTERN 64
#define STAMP_MAGIC 0x7857
#define MASK_48 0xFFFFFFFFFFFFULL
/* Fractions of a nanosecond in which the pace is kept. */
#define FRACTION_BITS 8
/* Longest wait of one call: soft interrupts are off meanwhile. A frame that is not due by then is given back unsent. */
#define LONGEST_WAIT_NS 20000
/* Behind by more than this, lost time stays lost. */
#define CATCH_UP_NS 10000000ULL
/* How often the clock is read where nothing else needs it. */
#define LOOK_AT_CLOCK 63
/* A walk through the permutation takes two steps on average. */
#define WALK 64

/* Traits of a plan. */
#define IS_V6 1
#define IS_UDP 2
#define IS_SHUFFLED 4

/* One size of frame: its headers, with addresses (their last 32 bits), ports and stamp zero, checksums right for that. */
struct shape {
	__u8 header[HEADERS];
	__u32 length;
	__u32 is_stamped;
};

/* What varies of one end of a flow, host order. */
struct range {
	__u32 address;
	__u32 addresses;
	__u32 port;
	__u32 ports;
};

struct plan {
	struct shape shapes[SHAPES];
	__u8 pattern[PATTERN]; /* shapes in the order in which they are sent */
	struct range source;
	struct range destination;
	__u64 limit;
	__u64 interval; /* 0: as fast as it goes */
	__u32 pattern_length;
	__u32 longest;
	__u32 flows;
	__u32 interface;
	__u32 traits;
	__u32 run;
	__u32 mask;  /* of the permutation: a power of two less one */
	__u32 shift; /* of the permutation */
	__u32 stop;
	__u32 zero;
};

struct progress {
	__u64 sent;
	__u64 bytes;
	__u64 next_at;
	__u32 index; /* of the flow, in the round */
	__u32 round;
	__u32 at; /* in the pattern */
	__u32 zero;
	__u64 first_ns; /* when the first frame was made */
	__u64 last_ns;	/* when the last one was made, or one of the last without a pace */
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

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xFFFFFFFF) + (sum >> 32);
	sum = (sum & 0xFFFF) + (sum >> 16);
	sum = (sum & 0xFFFF) + (sum >> 16);
	return (sum & 0xFFFF) + (sum >> 16);
}

static __always_inline __sum16 add(__sum16 checksum, __u64 words)
{
	return (__sum16)~fold((__u16)~checksum + words);
}

static __always_inline __u64 words(__u64 value)
{
	return (value & 0xFFFFFFFF) + (value >> 32);
}

static long wait(__u32 turn, __u64 *until)
{
	return bpf_ktime_get_ns() >= *until;
}

/* Whether the next frame is due. Waits for it a little. */
static __always_inline int is_due(struct plan *todo, struct progress *done)
{
	__u64 now = bpf_ktime_get_ns();
	/* The first is due once everything is set up. */
	__u64 due = done->sent ? done->next_at >> FRACTION_BITS : now;

	if (!done->sent)
		done->next_at = now << FRACTION_BITS;
	if (now + LONGEST_WAIT_NS < due) {
		__u64 until = now + LONGEST_WAIT_NS;
		bpf_loop(1 << 16, wait, &until, 0);
		return 0;
	}
	if (now < due)
		bpf_loop(1 << 16, wait, &due, 0);
	else if (now - due > CATCH_UP_NS)
		done->next_at = (now - CATCH_UP_NS) << FRACTION_BITS;
	done->next_at += todo->interval;
	return 1;
}

/* A permutation of 0 … mask, another one for every key. */
static __always_inline __u32 permute(__u32 value, __u32 key, __u32 mask, __u32 shift)
{
	value = (value ^ key) & mask;
	value = (value * 0x9E3779B1) & mask;
	value ^= value >> shift;
	value = (value * 0x85EBCA6B) & mask;
	value ^= value >> shift;
	value = (value * 0x27D4EB2F) & mask;
	return value ^ (value >> shift);
}

static __always_inline __u32 shuffled(struct plan *todo, __u32 index, __u32 round)
{
	__u32 key = round * 0xC2B2AE35;
	__u32 value = index;

	for (int step = 0; step < WALK; step++) {
		value = permute(value, key, todo->mask, todo->shift & 31);
		if (value < todo->flows)
			return value;
	}
	return index;
}

/* Takes a digit of `flow` in base `count`. */
static __always_inline __u32 digit(__u32 *flow, __u32 count)
{
	if (count <= 1)
		return 0;
	__u32 value = *flow % count;
	*flow /= count;
	return value;
}

static __always_inline int write_frame(struct xdp_md *ctx, struct plan *todo, struct shape *shape, __u32 flow,
				       struct progress *done, const int v6, const int udp)
{
	const int l4 = ETH_HLEN + (v6 ? 40 : 20);
	const int length = l4 + (udp ? 8 : 20);
	const int from = v6 ? 34 : 26, to = v6 ? 50 : 30;
	__u8 *data = (void *)(long)ctx->data;
	__u8 *end = (void *)(long)ctx->data_end;

	if (data + length > end)
		return -1;
	__be32 source = bpf_htonl(todo->source.address + digit(&flow, todo->source.addresses));
	__be16 source_port = bpf_htons(todo->source.port + digit(&flow, todo->source.ports));
	__be32 destination = bpf_htonl(todo->destination.address + digit(&flow, todo->destination.addresses));
	__be16 destination_port = bpf_htons(todo->destination.port + digit(&flow, todo->destination.ports));
	__u64 sum = words(source) + words(destination);

	__builtin_memcpy(data, shape->header, length);
	*(__be32 *)(data + from) = source;
	*(__be32 *)(data + to) = destination;
	if (!v6) {
		struct iphdr *ip = (void *)(data + ETH_HLEN);
		ip->check = add(ip->check, sum);
	}
	__be16 *ports = (void *)(data + l4);
	ports[0] = source_port;
	ports[1] = destination_port;
	sum += source_port + destination_port;
	if (shape->is_stamped && data + length + 18 <= end) {
		__u8 *stamp = data + length;
		__be32 tag = bpf_htonl(STAMP_MAGIC << 16 | (todo->run & 0xFFFF));
		__be16 round = bpf_htons(done->round & 0xFFFF);
		__be64 sequence = bpf_cpu_to_be64(done->sent << 16);
		__be64 time = bpf_cpu_to_be64(bpf_ktime_get_ns() << 16);
		__builtin_memcpy(stamp, &tag, 4);
		__builtin_memcpy(stamp + 4, &round, 2);
		__builtin_memcpy(stamp + 6, &sequence, 6);
		__builtin_memcpy(stamp + 12, &time, 6);
		sum += words(tag) + round + words(sequence) + words(time);
	}
	if (udp) {
		struct udphdr *header = (void *)ports;
		__sum16 check = add(header->check, sum);
		header->check = check ? check : 0xFFFF;
	} else {
		struct tcphdr *header = (void *)ports;
		header->check = add(header->check, sum);
	}
	return 0;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct plan *todo = bpf_map_lookup_elem(&plan, &zero);
	struct progress *done = bpf_map_lookup_elem(&progress, &zero);
	int failed;

	if (!todo || !done)
		return XDP_ABORTED;
	if (todo->stop || done->sent >= todo->limit)
		return XDP_DROP;
	if (todo->interval && !is_due(todo, done))
		return XDP_DROP;

	struct shape *shape = &todo->shapes[todo->pattern[done->at & (PATTERN - 1)] & (SHAPES - 1)];
	int cut = (int)shape->length - (int)todo->longest;
	if (cut && bpf_xdp_adjust_tail(ctx, cut))
		return XDP_ABORTED;
	__u32 flow = todo->traits & IS_SHUFFLED ? shuffled(todo, done->index, done->round) : done->index;

	if (todo->traits & IS_V6)
		failed = todo->traits & IS_UDP ? write_frame(ctx, todo, shape, flow, done, 1, 1)
					       : write_frame(ctx, todo, shape, flow, done, 1, 0);
	else
		failed = todo->traits & IS_UDP ? write_frame(ctx, todo, shape, flow, done, 0, 1)
					       : write_frame(ctx, todo, shape, flow, done, 0, 0);
	if (failed)
		return XDP_ABORTED;
	if (!done->sent)
		done->first_ns = bpf_ktime_get_ns();
	done->sent++;
	if (todo->interval || !(done->sent & LOOK_AT_CLOCK) || done->sent == todo->limit)
		done->last_ns = bpf_ktime_get_ns();
	done->bytes += shape->length;
	done->at = done->at + 1 < todo->pattern_length ? done->at + 1 : 0;
	if (++done->index >= todo->flows) {
		done->index = 0;
		done->round++;
	}
	return bpf_redirect(todo->interface, 0);
}
