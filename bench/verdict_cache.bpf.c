/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * verdict_cache: what remembering verdicts by flow would cost a filter before it does anything
 * else: find the flow, look it up in an LRU hash, take the verdict. Measured, not shipped.
 */
#include "iridescent.h"
#include "cursor.h"
SPEC_BOOL(policy, with_cache, true, "look the flow up");
struct flow {
	__u32 source;
	__u32 destination;
	__u32 ports;
	__u32 protocol;
};
MAP_LRU_HASH(cache, struct flow, __u32, 8192, "verdict by flow");

static __always_inline int verdict_cache(struct xdp_md *ctx)
{
	struct cursor at = cursor_of(ctx);
	struct ethernet_header *eth = take(&at, sizeof(*eth));
	struct ipv4_header *ip = eth ? take(&at, sizeof(*ip)) : NULL;
	struct flow key = {};
	__u32 *seen, verdict = XDP_DROP;

	if (!ip || !has(&at, sizeof(key.ports)))
		return XDP_DROP;
	key.source = ip->source;
	key.destination = ip->destination;
	key.ports = *(__u32 *)at.at;
	key.protocol = ip->protocol;
	if (!with_cache)
		return key.source ? XDP_DROP : XDP_PASS;
	seen = bpf_map_lookup_elem(MAP(cache), &key);
	if (seen)
		return *seen;
	bpf_map_update_elem(MAP(cache), &key, &verdict, BPF_ANY);
	return XDP_DROP;
}
SPEC_PROGRAM(verdict_cache)
