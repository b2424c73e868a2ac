// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Both ends of `xswitch pktgen`.
//
//   generate   run with live frames: writes one whole frame and sends it out of an interface
//   sink       counts frames and ends them, or sends them back
//   endpoint   brings what is for addresses of ours to AF_XDP sockets, the rest to the kernel
//   divert     brings everything to AF_XDP sockets
//
// The structures are mirrored in plan.rs, sink/raw.rs and divert.rs; the order of flows in order.rs; the stamp in stamp.rs;
// the buckets in histogram.rs.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/generate.h"
#include "bpf/sink.h"
#include "bpf/endpoint.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
