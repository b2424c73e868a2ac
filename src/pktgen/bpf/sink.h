/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The sink. */

#define BUCKETS 1184
#define SUB_BITS 5
#define RUNS 64
#define FLOWS 4096

/* Traits of a sink. */
#define REFLECTS 1
#define READS_TIME 2
#define READS_STAMPS 4
#define ENDS_OTHERS 8

struct address {
	__be32 words[4]; /* IPv4: 0, 0, FFFF, address */
};

/* Whose frames are ours. */
struct settings {
	struct address destination;
	struct address mask;
	__u32 first_port;
	__u32 last_port;
	__u32 protocol; /* 0: TCP and UDP */
	__u32 traits;
	__u32 sample_mask; /* flows whose hash has none of these bits are followed */
	__u32 zero;
};

struct totals {
	__u64 frames;
	__u64 bytes;
	__u64 other_frames;
	__u64 other_bytes;
	__u64 stamped;
	__u64 latency_sum_ns;
	__u64 latency_max_ns;
	__u64 zero;
};

/* One run of a generator, as one processor saw it. */
struct run {
	__u64 frames;
	__u64 first;
	__u64 last;
	__u64 late; /* behind one that was sent after it */
};

struct flow_key {
	__u32 run;
	__be32 source;
	__be32 destination;
	__u32 ports;
};

struct flow {
	__u64 frames;
	__u64 missing;
	__u32 round;
	__u32 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct totals);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} latency SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, RUNS);
	__type(key, __u32);
	__type(value, struct run);
} runs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FLOWS);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct packet {
	struct address source;
	struct address destination;
	__u8 *ip;
	__u8 *l4;
	__u32 ports; /* host order: source, destination; 0 of a later fragment */
	__u8 protocol;
	__u8 is_v6;
	__u8 has_ports;
};

/* The EtherType and what is behind it, past up to two tags. */
static __always_inline __u8 *past_tags(__u8 *data, __u8 *end, __be16 *ethertype)
{
	__u8 *at = data + 12;

	if (at + 2 > end)
		return 0;
	*ethertype = *(__be16 *)at;
	at += 2;
	for (int tag = 0; tag < 2; tag++) {
		if (*ethertype != bpf_htons(ETH_P_8021Q) && *ethertype != bpf_htons(ETH_P_8021AD))
			return at;
		if (at + 4 > end)
			return 0;
		*ethertype = *(__be16 *)(at + 2);
		at += 4;
	}
	return at;
}

static __always_inline int read_packet(__u8 *data, __u8 *end, struct packet *packet)
{
	__be16 ethertype = 0;
	__u8 *at = past_tags(data, end, &ethertype);
	__u32 fragment = 0;

	if (!at)
		return 0;
	packet->ip = at;
	if (ethertype == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)at;
		if ((__u8 *)(ip + 1) > end)
			return 0;
		packet->source = (struct address){ { 0, 0, bpf_htonl(0xFFFF), ip->saddr } };
		packet->destination = (struct address){ { 0, 0, bpf_htonl(0xFFFF), ip->daddr } };
		packet->protocol = ip->protocol;
		packet->is_v6 = 0;
		fragment = ip->frag_off & bpf_htons(0x1FFF);
		packet->l4 = at + (__u32)(ip->ihl & 0xF) * 4;
	} else if (ethertype == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)at;
		if ((__u8 *)(ip + 1) > end)
			return 0;
		__builtin_memcpy(&packet->source, &ip->saddr, 16);
		__builtin_memcpy(&packet->destination, &ip->daddr, 16);
		packet->protocol = ip->nexthdr;
		packet->is_v6 = 1;
		packet->l4 = (__u8 *)(ip + 1);
	} else {
		return 0;
	}
	packet->ports = 0;
	packet->has_ports = 0;
	if (!fragment && (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP)) {
		if (packet->l4 + 8 > end)
			return 0;
		packet->ports = bpf_ntohl(*(__be32 *)packet->l4);
		packet->has_ports = 1;
	}
	return 1;
}

static __always_inline int is_within(struct address *address, struct settings *wanted)
{
	__be32 differing = 0;

	for (int word = 0; word < 4; word++)
		differing |= (address->words[word] & wanted->mask.words[word]) ^ wanted->destination.words[word];
	return !differing;
}

static __always_inline int is_ours(struct packet *packet, struct settings *wanted)
{
	__u32 port = packet->ports & 0xFFFF;

	if (wanted->protocol ? packet->protocol != wanted->protocol
			     : packet->protocol != IPPROTO_TCP && packet->protocol != IPPROTO_UDP)
		return 0;
	return is_within(&packet->destination, wanted) && port >= wanted->first_port && port <= wanted->last_port;
}

static __always_inline __u32 bucket_of(__u64 value)
{
	__u32 exponent = 0;
	__u64 rest = value;

	if (value < 1 << SUB_BITS)
		return value;
	if (rest >> 32) {
		exponent += 32;
		rest >>= 32;
	}
	if (rest >> 16) {
		exponent += 16;
		rest >>= 16;
	}
	if (rest >> 8) {
		exponent += 8;
		rest >>= 8;
	}
	if (rest >> 4) {
		exponent += 4;
		rest >>= 4;
	}
	if (rest >> 2) {
		exponent += 2;
		rest >>= 2;
	}
	exponent += rest >> 1;
	__u32 shift = (exponent - SUB_BITS) & 63;
	__u32 bucket = ((shift + 1) << SUB_BITS) + (__u32)(value >> shift) - (1 << SUB_BITS);
	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static __always_inline void count_run(__u32 id, __u64 sequence)
{
	struct run *run = bpf_map_lookup_elem(&runs, &id);

	if (!run) {
		struct run first = { .frames = 1, .first = sequence, .last = sequence };
		bpf_map_update_elem(&runs, &id, &first, BPF_ANY);
		return;
	}
	if (!run->frames) {
		/* Another processor began with this run; what there is of it here is zeros. */
		run->frames = 1;
		run->first = run->last = sequence;
		return;
	}
	run->frames++;
	if (sequence > run->last) {
		run->last = sequence;
	} else {
		run->late++;
		if (sequence < run->first)
			run->first = sequence;
	}
}

static __always_inline void count_flow(struct packet *packet, struct settings *wanted, __u32 id, __u16 round)
{
	struct flow_key key = {
		.run = id,
		.source = packet->source.words[3],
		.destination = packet->destination.words[3],
		.ports = packet->ports,
	};
	__u32 hash = bpf_ntohl(key.source) ^ bpf_ntohl(key.destination) * 31 ^ key.ports * 0x9E3779B1;

	hash = (hash ^ hash >> 16) * 0x85EBCA6B;
	hash = (hash ^ hash >> 13) * 0xC2B2AE35;
	if ((hash ^ hash >> 16) & wanted->sample_mask)
		return;
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow) {
		struct flow first = { .frames = 1, .round = round };
		bpf_map_update_elem(&flows, &key, &first, BPF_ANY);
		return;
	}
	__s16 ahead = (__s16)(round - (__u16)flow->round);
	flow->frames++;
	if (ahead > 0) {
		flow->missing += ahead - 1;
		flow->round = round;
	} else if (flow->missing) {
		flow->missing--;
	}
}

static __always_inline void read_stamp(struct packet *packet, __u8 *end, struct settings *wanted, struct totals *total)
{
	__u8 *at = packet->l4;
	__be32 tag;
	__be16 round;
	__be64 sequence = 0, time = 0;

	if (!packet->has_ports)
		return;
	at += packet->protocol == IPPROTO_UDP ? 8 : 20;
	if (at + 18 > end)
		return;
	__builtin_memcpy(&tag, at, 4);
	if (bpf_ntohl(tag) >> 16 != STAMP_MAGIC)
		return;
	__builtin_memcpy(&round, at + 4, 2);
	__builtin_memcpy(&sequence, at + 6, 6);
	__builtin_memcpy(&time, at + 12, 6);
	total->stamped++;
	__u32 id = bpf_ntohl(tag) & 0xFFFF;
	count_run(id, bpf_be64_to_cpu(sequence) >> 16);
	count_flow(packet, wanted, id, bpf_ntohs(round));
	if (!(wanted->traits & READS_TIME))
		return;
	__u64 took = (bpf_ktime_get_ns() - (bpf_be64_to_cpu(time) >> 16)) & MASK_48;
	__u32 bucket = bucket_of(took);
	__u64 *counter = bpf_map_lookup_elem(&latency, &bucket);
	if (counter)
		(*counter)++;
	total->latency_sum_ns += took;
	if (took > total->latency_max_ns)
		total->latency_max_ns = took;
}

/* Sends the frame back to where it came from: no checksum changes when both sides are exchanged. */
static __always_inline int reflect(__u8 *data, __u8 *end, struct packet *packet)
{
	__u8 mac[6];

	if (!packet->has_ports || data + ETH_HLEN > end || packet->l4 + 4 > end)
		return XDP_DROP;
	__be16 *ports = (void *)packet->l4;
	__be16 port = ports[0];
	ports[0] = ports[1];
	ports[1] = port;
	if (packet->is_v6) {
		if (packet->ip + 40 > end)
			return XDP_DROP;
		__builtin_memcpy(packet->ip + 8, &packet->destination, 16);
		__builtin_memcpy(packet->ip + 24, &packet->source, 16);
	} else {
		if (packet->ip + 20 > end)
			return XDP_DROP;
		*(__be32 *)(packet->ip + 12) = packet->destination.words[3];
		*(__be32 *)(packet->ip + 16) = packet->source.words[3];
	}
	__builtin_memcpy(mac, data, 6);
	__builtin_memcpy(data, data + 6, 6);
	__builtin_memcpy(data + 6, mac, 6);
	return XDP_TX;
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;
	__u8 *end = (void *)(long)ctx->data_end;
	__u32 zero = 0;
	struct settings *wanted = bpf_map_lookup_elem(&settings, &zero);
	struct totals *total = bpf_map_lookup_elem(&totals, &zero);
	struct packet packet = {};

	if (!wanted || !total)
		return XDP_ABORTED;
	if (!read_packet(data, end, &packet) || !is_ours(&packet, wanted)) {
		total->other_frames++;
		total->other_bytes += end - data;
		return wanted->traits & ENDS_OTHERS ? XDP_DROP : XDP_PASS;
	}
	total->frames++;
	total->bytes += end - data;
	if (wanted->traits & READS_STAMPS)
		read_stamp(&packet, end, wanted, total);
	return wanted->traits & REFLECTS ? reflect(data, end, &packet) : XDP_DROP;
}
