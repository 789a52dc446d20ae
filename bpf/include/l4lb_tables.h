/* SPDX-License-Identifier: GPL-2.0-only */
/* Tables, counters and look-ups of the load balancer. Keys are in host byte order, what is copied
 * into packets (struct backend) is in network byte order. */
#ifndef IRIDESCENT_L4LB_TABLES_H
#define IRIDESCENT_L4LB_TABLES_H

#include "iridescent.h"

enum l4lb_limits {
	RING_SIZE = 65537, /* entries of a service's Maglev ring; a prime */
	MAX_SERVICES = 512,
	MAX_BACKENDS = 4096, /* of all services together; a power of two */
	CACHED_FLOWS = 16384, /* on each CPU; a power of two */
	NO_BACKEND = 0xffff,
	TOUCH_EVERY = 128, /* packets of a backend that skip the connection table */
};

/* An address in host byte order, its first word on top; of IPv4 there is no more. */
struct address {
	__u64 high;
	__u64 low; /* IPv4: never read */
};

/* Where a packet is counted that is not sent to a backend. */
enum l4lb_slots {
	SLOT_NOT_IP,
	SLOT_GROUP_FRAME,
	SLOT_MALFORMED,
	SLOT_BAD_CHECKSUM,
	SLOT_NOT_SERVICE,
	SLOT_FRAGMENT,
	SLOT_TOO_BIG,
	SLOT_ECHO,
	SLOT_NO_BACKEND,
	SLOT_NO_HEADROOM,
	SLOTS,
};

/* A decision is a slot and a verdict in one number. */
#define DECIDE(slot, verdict) ((slot) * 8u + (verdict))

/* What a service is found by. `wide`: any port, for fragments and ICMP. */
struct service_key {
	__u32 destination[4]; /* IPv4: the first word */
	__u16 port;
	__u8 family; /* 4 or 6 */
	__u8 protocol;
	__u8 wide;
	__u8 pad[3];
};

struct flow_key {
	__u32 source[4];
	__u32 destination[4];
	__u32 ports; /* the source's in the upper half */
	__u8 family;
	__u8 protocol;
	__u8 wide; /* a fragment: no ports */
	__u8 pad;
};

struct service {
	__u32 ring; /* its place in `rings` */
	__u32 gue;
};

struct ring {
	__u16 backends[RING_SIZE];
	__u16 pad[3];
};

/* One backend of one service, with all that its packets get in front; one cache line. */
struct backend {
	__be32 address[4];
	__be32 source[4];
	__u64 gateway; /* its MAC address, as six bytes of a frame */
	__u32 header_sum; /* IPv4: of the outer header without TOS and length, words as in memory */
	__u16 generation; /* connections of an earlier one do not count; 0: none */
	__u8 gue;
	__u8 unused;
	__u64 pad[2];
};

struct connection {
	__u16 backend;
	__u16 generation; /* 0: not on this CPU */
	__u32 pad;
};

/* A connection whose backend is the ring's choice too, while `epoch` lasts. */
struct cached_flow {
	__u64 epoch;
	struct address source;
	struct address destination;
	__u32 ports;
	__u16 kind; /* family and protocol */
	__u16 backend;
	__u64 pad[2];
};

struct flow_cache {
	struct cached_flow flows[CACHED_FLOWS];
};

struct hits {
	__u64 packets;
	__u64 bytes;
};

/* One CPU's: an array by CPU takes one load less than a per-CPU array. */
struct backend_hits {
	struct hits backends[MAX_BACKENDS];
};

/* Which backend has a place in `backends`, for the controller; places are kept over restarts. */
struct identity {
	struct service_key service; /* family 0: never used */
	__u32 address[4];
	__u16 generation;
	__u8 removed;
	__u8 pad;
	__u32 removed_at; /* the oldest is used again first */
	struct hits before; /* what earlier backends of this number counted */
};

MAP_HASH(services, struct service_key, __u32, 2048, "number of a service by what it is found by");
MAP_ARRAY(service_data, struct service, MAX_SERVICES, "by number; one update changes its ring");
MAP_ARRAY(rings, struct ring, 4, "Maglev rings; those in no use are spare");
MAP_ARRAY(backends, struct backend, MAX_BACKENDS, "by the number in rings and connections");
MAP_ARRAY(epoch, __u64, 1, "changes with every change of a table");
MAP_LRU_PERCPU_HASH(connections, struct flow_key, struct connection, 65536,
		    "the backend of each flow; written by packets, on each CPU its own");
MAP_ARRAY(flow_caches, struct flow_cache, 1, "by CPU; written by packets");
MAP_ARRAY(identities, struct identity, MAX_BACKENDS, "by number; read by the controller only");
MAP_PERCPU_ARRAY(slot_counts, struct hits, SLOTS, "packets that went to no backend");
MAP_ARRAY(backend_counts, struct backend_hits, 1, "by CPU: packets that went to each backend");

/* Two rounds of multiply and fold, as in splitmix64. */
static __always_inline __u64 mix(__u64 x)
{
	x *= 0x9e3779b97f4a7c15ull;
	x ^= x >> 32;
	x *= 0xbf58476d1ce4e5b9ull;
	return x ^ x >> 32;
}

static __always_inline __u64 flow_hash(const struct address *source, __u32 ports, int six)
{
	if (!six)
		return mix(source->high | ports);
	return mix(mix(mix(source->high) + source->low) ^ ports);
}

static __always_inline __u32 ring_choice(__u32 place, __u64 hash)
{
	const struct ring *ring = bpf_map_lookup_elem(MAP(rings), &place);
	__u64 position = (hash >> 32) * RING_SIZE >> 32;

	return ring && position < RING_SIZE ? ring->backends[position] : NO_BACKEND;
}

static __always_inline void add_hits(struct hits *hits, __u32 bytes)
{
	hits->packets++;
	hits->bytes += bytes;
}

/* Counts a packet that goes to no backend, and gives its verdict. */
static __always_inline int count_decision(__u32 decision, __u32 bytes)
{
	__u32 slot = decision >> 3;
	struct hits *hits = bpf_map_lookup_elem(MAP(slot_counts), &slot);

	if (hits)
		add_hits(hits, bytes);
	return decision & 7;
}

#endif
