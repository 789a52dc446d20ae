/* SPDX-License-Identifier: GPL-2.0-only */
/* The router's tables: where a route leads to, how routes are kept, what is counted. */
#ifndef IRIDESCENT_ROUTER_TABLES_H
#define IRIDESCENT_ROUTER_TABLES_H

#include "cursor.h"
#include "iridescent.h"

#define FLAT_IN_CHUNK 0x80000000u /* the entry is a chunk's number */

enum router_limits {
	MAX_HOPS = 1024, /* a CPU has 32 KiB for a value of a per-CPU map: the counts */
	MAX_ROUTES = 1000000,
	MAX_PORTS = 256,
	MAX_CHUNKS = 65536,
	FLAT_TOP = 65536,
	FLAT_CHUNK = 256,
	HOT_BITS = 10,
	HOT_SLOTS = 1 << HOT_BITS,
};

/* The first hops stand for what is not forwarded; a look-up gives a hop's number. */
enum hops {
	HOP_NO_ROUTE,
	HOP_LOCAL,
	HOP_BLACKHOLE,
	FIRST_HOP,
};

/* What a packet is counted as; numbers below MAX_HOPS are hops. */
enum slots_of_router {
	SLOT_NOT_IP = MAX_HOPS,
	SLOT_MALFORMED,
	SLOT_BAD_CHECKSUM,
	SLOT_OPTIONS,
	SLOT_MARTIAN,
	SLOT_EXPIRED,
	SLOT_NO_NEIGHBOUR,
	SLOT_TOO_BIG,
	COUNTED,
};

struct hop {
	__u8 macs[12]; /* the neighbour's, then the egress interface's: as they stand in a frame */
	__u32 mtu;     /* bytes of an IP packet; 0: the neighbour's address is not known */
	__u32 port;    /* place in the device map */
	__u32 pad;
};

struct hops_table {
	struct hop hop[MAX_HOPS];
};

struct trie4_key {
	__u32 bits;
	__be32 address;
};

struct trie6_key {
	__u32 bits;
	__be32 address[4];
};

/* Host byte order, for compiled code. */
struct address4 {
	__u32 address;
};

struct address6 {
	__u32 address[4];
};

struct flat_top {
	__u32 entry[FLAT_TOP];
};

struct flat_chunk {
	__u32 entry[FLAT_CHUNK];
};

/* Frequent IPv4 destinations, host byte order. An address has one slot; 0 is no destination. */
struct hot_slot {
	__u32 address;
	__u32 hop;
};

struct hot_table {
	__u32 multiplier; /* chosen so that the most frequent addresses do not share slots */
	__u32 pad;
	struct hot_slot slot[HOT_SLOTS];
};

struct count {
	__u64 packets;
	__u64 bytes;
};

struct counts {
	struct count of[COUNTED];
};

MAP_LPM_TRIE(routes4, struct trie4_key, __u32, MAX_ROUTES, "IPv4 routes: the hop's number");
MAP_LPM_TRIE(routes6, struct trie6_key, __u32, MAX_ROUTES, "IPv6 routes: the hop's number");
MAP_ARRAY(flat_top, struct flat_top, 1, "IPv4 routes by the upper 16 bits");
MAP_ARRAY(flat_chunks, struct flat_chunk, MAX_CHUNKS, "below: by 8 bits more, twice");
MAP_ARRAY(hot_table, struct hot_table, 1, "frequent IPv4 destinations and their hops");
MAP_ARRAY(hops, struct hops_table, 1, "MAC addresses, MTU and port of each hop");
MAP_DEVMAP(ports, MAX_PORTS, "interfaces that packets leave by");
MAP_PERCPU_ARRAY(counts, struct counts, 1, "packets and bytes by hop, or by why there is none");

static __always_inline __u32 trie4(__be32 address)
{
	struct trie4_key key = { .bits = 32, .address = address };
	__u32 *hop = bpf_map_lookup_elem(MAP(routes4), &key);

	return hop ? *hop : HOP_NO_ROUTE;
}

static __always_inline __u32 trie6(const __be32 *address)
{
	struct trie6_key key = { .bits = 128 };
	__u32 *hop;

	for (__u32 i = 0; i < 4; i++)
		key.address[i] = address[i];
	hop = bpf_map_lookup_elem(MAP(routes6), &key);
	return hop ? *hop : HOP_NO_ROUTE;
}

/* DIR-16-8-8, after DIR-24-8 (Gupta, Lin, McKeown, INFOCOM 1998): at most three reads. */
static __always_inline __u32 flat4(__u32 address)
{
	__u32 entry = MAP_VALUE(flat_top)->entry[address >> 16];

	for (__u32 shift = 8; entry & FLAT_IN_CHUNK; shift -= 8) {
		__u32 number = entry & ~FLAT_IN_CHUNK;
		struct flat_chunk *chunk = bpf_map_lookup_elem(MAP(flat_chunks), &number);

		if (!chunk)
			return HOP_NO_ROUTE;
		entry = chunk->entry[address >> shift & (FLAT_CHUNK - 1)];
		if (!shift)
			break;
	}
	return entry;
}

static __always_inline __u32 hot_table4(__u32 address)
{
	const struct hot_table *table = MAP_VALUE(hot_table);
	__u32 place = address * table->multiplier >> (32 - HOT_BITS);
	/* in one read: the controller may be writing other destinations */
	__u64 slot = *(const volatile __u64 *)&table->slot[place];

	return (__u32)slot == address ? slot >> 32 : SPEC_NOT_HOT;
}

static __always_inline int count_as(__u32 what, __u32 bytes, int verdict)
{
	__u32 zero = 0;
	struct counts *counts = bpf_map_lookup_elem(MAP(counts), &zero);

	if (counts && what < COUNTED) {
		counts->of[what].packets++;
		counts->of[what].bytes += bytes;
	}
	return verdict;
}

#endif
