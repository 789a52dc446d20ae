/* SPDX-License-Identifier: GPL-2.0-only */
/* What the filter counts: packets and bytes of each slot and verdict. Included where the slots are. */
#ifndef IRIDESCENT_FILTER_COUNTERS_H
#define IRIDESCENT_FILTER_COUNTERS_H

#include "iridescent.h"

struct hits {
	__u64 packets;
	__u64 bytes;
};

struct filter_counters {
	struct hits verdicts[2]; /* pass, drop */
	struct hits slots[SLOTS];
	__u32 pending_decision; /* counted but not yet flushed; a reader adds it */
	__u32 pending_packets;
	__u64 pending_bytes;
};

MAP_PERCPU_ARRAY(counters, struct filter_counters, 1, "packets and bytes, written by variants");

static __always_inline void add_hits(struct filter_counters *all, __u32 decision, __u64 packets,
				     __u64 bytes)
{
	__u64 slot = decision >> 1, drop = decision & 1;

	__asm__ volatile("" : "+r"(slot)); /* the register that is compared is the one used */
	all->verdicts[drop].packets += packets;
	all->verdicts[drop].bytes += bytes;
	if (slot < SLOTS) {
		all->slots[slot].packets += packets;
		all->slots[slot].bytes += bytes;
	}
}

/* Counts the packet once and turns its decision into a verdict. */
static __always_inline int count_decision(__u32 decision, __u32 bytes, __u32 batch)
{
	__u32 zero = 0;
	struct filter_counters *all = bpf_map_lookup_elem(MAP(counters), &zero);

	if (!all)
		return XDP_ABORTED;
	if (batch <= 1) {
		add_hits(all, decision, 1, bytes);
		return decision & 1 ? XDP_DROP : XDP_PASS;
	}
	if (all->pending_decision != decision || all->pending_packets >= batch) {
		add_hits(all, all->pending_decision, all->pending_packets, all->pending_bytes);
		all->pending_decision = decision;
		all->pending_packets = 0;
		all->pending_bytes = 0;
	}
	all->pending_packets++;
	all->pending_bytes += bytes;
	return decision & 1 ? XDP_DROP : XDP_PASS;
}

#endif
