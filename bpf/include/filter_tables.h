/* SPDX-License-Identifier: GPL-2.0-only */
/* Tables and generic look-ups of the filter. Numbers are in host byte order. */
#ifndef IRIDESCENT_FILTER_TABLES_H
#define IRIDESCENT_FILTER_TABLES_H

#include "iridescent.h"

#define MAX_RULES	1024
#define SET_ENTRIES	100000
#define SET_BUCKET_BITS 16
#define SET_BUCKET	4
#define IPV6_EXTENSIONS 6
#define NO_MATCH	0xffffffffu

/* Where a packet is counted: its rule, or one of these. */
enum filter_slots {
	SLOT_DEFAULT = MAX_RULES,
	SLOT_ALLOW_SET,
	SLOT_DENY_SET,
	SLOT_NOT_IP,
	SLOT_MALFORMED,
	SLOT_BAD_CHECKSUM,
	SLOT_FRAGMENT,
	SLOTS,
};

/* A decision is a slot and a verdict in one number. */
#define DECIDE(slot, drop) ((slot) * 2u + ((drop) ? 1u : 0u))

#include "filter_counters.h"

struct packet_key {
	__u32 source[4]; /* IPv4: the first word */
	__u32 destination[4];
	__u16 source_port;
	__u16 destination_port;
	__u8 family; /* 4 or 6 */
	__u8 protocol;
	__u8 tcp_flags;
	__u8 has_ports;
};

/* What both families' rules ask beside addresses; ports are inclusive ranges. */
struct rule_rest {
	__u16 source_low;
	__u16 source_high;
	__u16 destination_low;
	__u16 destination_high;
	__u8 protocol;
	__u8 protocol_mask; /* 0: any */
	__u8 needs_ports;
	__u8 tcp_mask;
	__u8 tcp_value;
	__u8 drop;
	__u16 id; /* place in the operator's list */
};

struct rule4 {
	__u32 source;
	__u32 source_mask;
	__u32 destination;
	__u32 destination_mask;
	struct rule_rest rest;
};

struct rule6 {
	__u32 source[4];
	__u32 source_mask[4];
	__u32 destination[4];
	__u32 destination_mask[4];
	struct rule_rest rest;
};

struct rules4 {
	__u32 count;
	__u32 nothing; /* always 0, see forget() */
	struct rule4 rules[MAX_RULES];
};

struct rules6 {
	__u32 count;
	__u32 nothing;
	struct rule6 rules[MAX_RULES];
};

/*
 * Packets look at one list, the controller writes the other and then says that it is the other's
 * turn: no packet meets a list that is half written.
 */
struct rule_lists4 {
	__u32 turn; /* 0 or 1 */
	__u32 pad;
	struct rules4 lists[2];
};

struct rule_lists6 {
	__u32 turn;
	__u32 pad;
	struct rules6 lists[2];
};

struct prefix4 {
	__u32 length;
	__be32 address;
};

struct prefix6 {
	__u32 length;
	__be32 address[4];
};

/* Exact IPv4 addresses, two-choice buckets; 0 is an empty place. */
struct address_hash {
	__u32 shift; /* 32 - bits of the bucket number in use */
	__u32 pad[15];
	__u32 buckets[1 << SET_BUCKET_BITS][SET_BUCKET];
};

MAP_ARRAY(rules4, struct rule_lists4, 1, "rules that can match IPv4, in order");
MAP_ARRAY(rules6, struct rule_lists6, 1, "rules that can match IPv6, in order");
MAP_LPM_TRIE(allow4, struct prefix4, __u8, SET_ENTRIES, "IPv4 sources that pass");
MAP_LPM_TRIE(allow6, struct prefix6, __u8, SET_ENTRIES, "IPv6 sources that pass");
MAP_LPM_TRIE(deny4, struct prefix4, __u8, SET_ENTRIES, "IPv4 sources that are dropped");
MAP_LPM_TRIE(deny6, struct prefix6, __u8, SET_ENTRIES, "IPv6 sources that are dropped");
MAP_ARRAY(allow_hash, struct address_hash, 1, "allow4, when it has exact addresses only");
MAP_ARRAY(deny_hash, struct address_hash, 1, "deny4, when it has exact addresses only");

enum filter_sets { SET_ALLOW, SET_DENY };

/*
 * Conditions are joined without branches, two branches a rule: with one for each condition the
 * verifier, which walks all MAX_RULES rounds, gives up on the number of pending branches.
 */
static __always_inline __u64 outside(__u64 port, __u64 low, __u64 high)
{
	return ((port - low) | (high - port)) >> 63;
}

static __always_inline __u64 rest_differs(const struct rule_rest *rule,
					  const struct packet_key *key)
{
	return outside(key->destination_port, rule->destination_low, rule->destination_high) |
	       outside(key->source_port, rule->source_low, rule->source_high) |
	       (rule->needs_ports & ~key->has_ports) |
	       ((key->tcp_flags & rule->tcp_mask) ^ rule->tcp_value);
}

static __always_inline __u32 protocol_differs(const struct rule_rest *rule,
					      const struct packet_key *key)
{
	return (key->protocol ^ rule->protocol) & rule->protocol_mask;
}

/*
 * The verifier would walk the rules once for each protocol and port state that parsing can end
 * in. `nothing` is 0, which it cannot know: after this all these states look the same to it.
 */
static __always_inline struct packet_key forget(const struct packet_key *key, __u32 nothing)
{
	struct packet_key same = *key;

	same.protocol ^= nothing;
	same.tcp_flags ^= nothing;
	same.has_ports ^= nothing;
	same.source_port ^= nothing;
	same.destination_port ^= nothing;
	return same;
}

static __always_inline __u32 match_rules4(const struct packet_key *parsed, __u32 capacity)
{
	const struct rule_lists4 *both = MAP_VALUE(rules4);
	const struct rules4 *table = &both->lists[both->turn & 1];
	const struct packet_key same = forget(parsed, table->nothing), *key = &same;

	for (__u32 i = 0; i < capacity && i < table->count; i++) {
		const struct rule4 *rule = &table->rules[i];

		if (((key->source[0] ^ rule->source) & rule->source_mask) |
		    ((key->destination[0] ^ rule->destination) & rule->destination_mask) |
		    protocol_differs(&rule->rest, key))
			continue;
		if (!rest_differs(&rule->rest, key))
			return DECIDE(rule->rest.id, rule->rest.drop);
	}
	return NO_MATCH;
}

static __always_inline __u32 prefix_differs(const __u32 *address, const __u32 *prefix,
					    const __u32 *mask)
{
	return ((address[0] ^ prefix[0]) & mask[0]) | ((address[1] ^ prefix[1]) & mask[1]) |
	       ((address[2] ^ prefix[2]) & mask[2]) | ((address[3] ^ prefix[3]) & mask[3]);
}

static __always_inline __u32 match_rules6(const struct packet_key *parsed, __u32 capacity)
{
	const struct rule_lists6 *both = MAP_VALUE(rules6);
	const struct rules6 *table = &both->lists[both->turn & 1];
	const struct packet_key same = forget(parsed, table->nothing), *key = &same;

	for (__u32 i = 0; i < capacity && i < table->count; i++) {
		const struct rule6 *rule = &table->rules[i];

		if (prefix_differs(key->source, rule->source, rule->source_mask) |
		    prefix_differs(key->destination, rule->destination, rule->destination_mask) |
		    protocol_differs(&rule->rest, key))
			continue;
		if (!rest_differs(&rule->rest, key))
			return DECIDE(rule->rest.id, rule->rest.drop);
	}
	return NO_MATCH;
}

static __always_inline __u32 match_rules(const struct packet_key *key, __u32 capacity, __u32 ipv6)
{
	return key->family == 4 || !ipv6 ? match_rules4(key, capacity) :
					   match_rules6(key, capacity);
}

static __always_inline int in_bucket(const struct address_hash *hash, __u32 number, __u32 address)
{
	const __u32 *bucket = hash->buckets[number & ((1 << SET_BUCKET_BITS) - 1)];

	return address == bucket[0] || address == bucket[1] || address == bucket[2] ||
	       address == bucket[3];
}

static __always_inline int in_hash(const struct address_hash *hash, __u32 address)
{
	__u32 shift = hash->shift & 31;

	return address && (in_bucket(hash, (address * 0x9e3779b1u) >> shift, address) ||
			   in_bucket(hash, (address * 0x85ebca77u) >> shift, address));
}

static __always_inline int in_set(const struct packet_key *key, enum filter_sets set, int hashed)
{
	struct prefix4 four = { .length = 32, .address = net32(key->source[0]) };
	struct prefix6 six;

	if (key->family == 4 && hashed)
		return in_hash(set == SET_ALLOW ? MAP_VALUE(allow_hash) : MAP_VALUE(deny_hash),
			       key->source[0]);
	if (key->family == 4)
		return bpf_map_lookup_elem(set == SET_ALLOW ? MAP(allow4) : MAP(deny4), &four) !=
		       NULL;
	six.length = 128; /* not by an initializer: that would be a constant in .rodata */
	for (__u32 i = 0; i < 4; i++)
		six.address[i] = net32(key->source[i]);
	return bpf_map_lookup_elem(set == SET_ALLOW ? MAP(allow6) : MAP(deny6), &six) != NULL;
}

#endif
