/* SPDX-License-Identifier: GPL-2.0-only */
/* The flow cache of each CPU: flows that the connection table and the ring agree about. */
#ifndef IRIDESCENT_L4LB_CACHE_H
#define IRIDESCENT_L4LB_CACHE_H

#include "l4lb_packet.h"

static __always_inline struct cached_flow *cache_place(__u32 cpu, __u64 hash)
{
	struct flow_cache *cache = bpf_map_lookup_elem(MAP(flow_caches), &cpu);

	return cache ? &cache->flows[hash & (CACHED_FLOWS - 1)] : NULL;
}

static __always_inline int is_cached(const struct cached_flow *flow, const struct packet *p,
				     __u64 epoch)
{
	return flow->epoch == epoch && flow->ports == p->ports &&
	       flow->kind == ((p->six ? 0x600 : 0x400) | p->protocol) &&
	       !address_differs(&flow->source, &p->source, p->six) &&
	       !address_differs(&flow->destination, &p->destination, p->six);
}

static __always_inline void remember(struct cached_flow *flow, const struct packet *p, __u64 epoch,
				     __u32 number)
{
	copy_address(&flow->source, &p->source, p->six);
	copy_address(&flow->destination, &p->destination, p->six);
	flow->ports = p->ports;
	flow->kind = (p->six ? 0x600 : 0x400) | p->protocol;
	flow->backend = number;
	flow->epoch = epoch;
}

#endif
