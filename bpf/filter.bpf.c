/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * filter: a stateless packet filter. Rules (first match wins) over addresses, protocol, ports
 * and TCP flags, IPv4 and IPv6; before them an allow and a deny set of source prefixes.
 *
 * Points: below, beside what they change. State: the tables are written by the controller;
 * the counters belong to the map and outlive every variant. Fallback: a packet that breaks an
 * assumption is decided by the generic variant, before anything was counted.
 *
 * What an operator should know: at most two VLAN tags are looked behind; later fragments carry
 * no ports, so rules that ask for ports do not match them; up to six IPv6 extension headers are
 * walked; a packet cut inside a header it announces is dropped as malformed.
 */
#include "iridescent.h"
#include "checksum.h"
#include "cursor.h"
#include "filter_tables.h"

SPEC_RANGE(narrowing, vlan_depth, 2, 0, 2, "VLAN tags looked behind");
SPEC_BOOL(narrowing, ipv6, true, "IPv6 packets are decided here");
SPEC_CUSTOM(rule_layout, LAYOUT_MAP, rules_compiled, packet_key,
	    "how the rules are kept: map, or compiled in as chain, deep tree, tree with broad leaves",
	    LAYOUT_MAP, LAYOUT_CHAIN, LAYOUT_TREE, LAYOUT_BROAD);
SPEC_CUSTOM(set_layout, SET_TRIE, sets_compiled, packet_key,
	    "how address sets are kept: LPM trie, exact hash (IPv4), or compiled in",
	    SET_TRIE, SET_HASH);
SPEC_ENUM(tuning, counter_batch, BATCH_1, "equal decisions counted together before a flush",
	  BATCH_1, BATCH_16, BATCH_64);

SPEC_ENUM(policy, default_action, DEFAULT_PASS, "what happens when no rule matches",
	  DEFAULT_PASS, DEFAULT_DROP);
SPEC_ENUM(policy, non_ip, NON_IP_PASS, "what happens to packets that are neither IPv4 nor IPv6",
	  NON_IP_PASS, NON_IP_DROP);
SPEC_ENUM(policy, fragments, FRAGMENTS_MATCH, "later fragments: match without ports, pass, drop",
	  FRAGMENTS_MATCH, FRAGMENTS_PASS, FRAGMENTS_DROP);
SPEC_BOOL(policy, verify_ip_checksum, false, "drop IPv4 packets with a wrong header checksum");
SPEC_RANGE(policy, rule_capacity, MAX_RULES, 1, MAX_RULES,
	   "rules that the table has room for (told by the operator file)");
SPEC_BOOL(policy, allow_set, true, "the allow set has entries (told by the operator file)");
SPEC_BOOL(policy, deny_set, true, "the deny set has entries (told by the operator file)");

/* Parsers return PARSED, a decision, or SPEC_MISSED(point). */
#define PARSED NO_MATCH

static __always_inline __u32 parse_ethernet(struct cursor *at, __u16 *type)
{
	struct ethernet_header *eth = take(at, sizeof(*eth));
	__u32 tags = 0, missed;

	if (!eth)
		return DECIDE(SLOT_MALFORMED, true);
	*type = net16(eth->type);
	for (; tags < vlan_depth && is_vlan(*type); tags++) {
		struct vlan_header *tag = take(at, sizeof(*tag));

		if (!tag)
			return DECIDE(SLOT_MALFORMED, true);
		*type = net16(tag->type);
	}
	missed = SPEC_GUARD(vlan_depth, tags, is_vlan(*type));
	return missed ? missed : PARSED;
}

static __always_inline __u32 parse_ports(struct cursor *at, struct packet_key *key)
{
	struct ports *ports;

	if (key->protocol == PROTOCOL_TCP) {
		struct tcp_header *tcp = take(at, sizeof(*tcp));

		if (tcp)
			key->tcp_flags = tcp->flags;
		ports = tcp ? &tcp->ports : NULL;
	} else if (key->protocol == PROTOCOL_UDP) {
		ports = take(at, UDP_BYTES);
	} else if (key->protocol == PROTOCOL_SCTP) {
		ports = take(at, SCTP_BYTES);
	} else {
		return PARSED;
	}
	if (!ports)
		return DECIDE(SLOT_MALFORMED, true);
	key->has_ports = 1;
	key->source_port = net16(ports->source);
	key->destination_port = net16(ports->destination);
	return PARSED;
}

/* Protocol assumption, fragment policy and ports: the same for both families. */
static __always_inline __u32 finish_key(struct cursor *at, struct packet_key *key, int later)
{
	__u32 missed = SPEC_ASSUMED(no_fragments, !later, "no packet is a later fragment");

	if (missed)
		return missed;
	missed = SPEC_ONLY(only_protocol, key->protocol,
			   "the one IP protocol that packets have; 0: any");
	if (missed)
		return missed;
	if (later && fragments != FRAGMENTS_MATCH)
		return DECIDE(SLOT_FRAGMENT, fragments == FRAGMENTS_DROP);
	return later ? PARSED : parse_ports(at, key);
}

static __always_inline __u32 parse_ipv4(struct cursor *at, struct packet_key *key)
{
	struct ipv4_header *ip = take(at, sizeof(*ip));
	__u32 options, missed;

	if (!ip)
		return DECIDE(SLOT_MALFORMED, true);
	missed = SPEC_ASSUMED(no_ip_options, ip->version_ihl == 0x45,
			      "IPv4 headers have no options");
	if (missed)
		return missed;
	options = (ip->version_ihl & 15) * 4 - sizeof(*ip);
	if (ip->version_ihl >> 4 != 4 || (int)options < 0 || !take(at, options))
		return DECIDE(SLOT_MALFORMED, true);
	if (net16(ip->total_length) < sizeof(*ip) + options)
		return DECIDE(SLOT_MALFORMED, true);
	if (verify_ip_checksum && ipv4_header_sum(ip, options, at->end) != 0xffff)
		return DECIDE(SLOT_BAD_CHECKSUM, true);
	key->family = 4;
	key->protocol = ip->protocol;
	key->source[0] = net32(ip->source);
	key->destination[0] = net32(ip->destination);
	return finish_key(at, key, (ip->fragment & net16(IPV4_LATER_MASK)) != 0);
}

/* Walks the extension headers; `later` tells of a fragment that is not the first. */
static __always_inline __u32 parse_extensions(struct cursor *at, struct packet_key *key, int *later)
{
	for (__u32 i = 0; i < IPV6_EXTENSIONS && is_ipv6_extension(key->protocol); i++) {
		struct ipv6_extension *header = at->at;
		__u32 size = 8, offset;

		if (!has(at, sizeof(*header)))
			return DECIDE(SLOT_MALFORMED, true);
		offset = net16(header->fragment) & 0xfff8;
		if (key->protocol == PROTOCOL_AH)
			size = (header->length + 2) * 4;
		else if (key->protocol != PROTOCOL_FRAGMENT)
			size = (header->length + 1) * 8;
		*later = key->protocol == PROTOCOL_FRAGMENT && offset;
		key->protocol = header->next;
		if (!take(at, size))
			return DECIDE(SLOT_MALFORMED, true);
		if (*later)
			return PARSED;
	}
	return is_ipv6_extension(key->protocol) ? DECIDE(SLOT_MALFORMED, true) : PARSED;
}

static __always_inline __u32 parse_ipv6(struct cursor *at, struct packet_key *key)
{
	struct ipv6_header *ip = take(at, sizeof(*ip));
	__u32 status = PARSED, missed;
	int extended, later = 0;

	if (!ip || ip->version_class >> 4 != 6)
		return DECIDE(SLOT_MALFORMED, true);
	key->family = 6;
	key->protocol = ip->next;
	for (__u32 i = 0; i < 4; i++) {
		key->source[i] = net32(ip->source[i]);
		key->destination[i] = net32(ip->destination[i]);
	}
	extended = is_ipv6_extension(ip->next);
	missed = SPEC_ASSUMED(no_extensions, !extended,
			      "IPv6 headers have no extension headers behind them");
	if (missed)
		return missed;
	if (extended)
		status = parse_extensions(at, key, &later);
	return status != PARSED ? status : finish_key(at, key, later);
}

static __always_inline __u32 parse(struct cursor *at, struct packet_key *key)
{
	__u16 type = 0;
	__u32 status = parse_ethernet(at, &type), missed;

	if (status != PARSED)
		return status;
	if (type == ETHERTYPE_IPV4)
		return parse_ipv4(at, key);
	missed = SPEC_GUARD(ipv6, type == ETHERTYPE_IPV6, type == ETHERTYPE_IPV6);
	if (type != ETHERTYPE_IPV6)
		return DECIDE(SLOT_NOT_IP, non_ip == NON_IP_DROP);
	return missed ? missed : parse_ipv6(at, key);
}

static __always_inline __u32 decide(const struct packet_key *key)
{
	__u32 decision;

	if (set_layout > SET_HASH && (allow_set || deny_set)) {
		decision = sets_compiled(key);
		if (decision != NO_MATCH)
			return decision;
	} else {
		if (allow_set && in_set(key, SET_ALLOW, set_layout == SET_HASH))
			return DECIDE(SLOT_ALLOW_SET, false);
		if (deny_set && in_set(key, SET_DENY, set_layout == SET_HASH))
			return DECIDE(SLOT_DENY_SET, true);
	}
	decision = rule_layout == LAYOUT_MAP ? match_rules(key, rule_capacity, ipv6) :
					       rules_compiled(key);
	return decision != NO_MATCH ? decision :
				      DECIDE(SLOT_DEFAULT, default_action == DEFAULT_DROP);
}

static __always_inline __u32 batch_sizes(__u32 choice)
{
	return choice == BATCH_64 ? 64 : choice == BATCH_16 ? 16 : 1;
}

static __always_inline int filter(struct xdp_md *ctx)
{
	struct cursor at = cursor_of(ctx);
	__u32 bytes = frame_bytes(&at);
	struct packet_key key = {};
	__u32 decision = parse(&at, &key);

	if (decision == PARSED)
		decision = decide(&key);
	else if (decision & SPEC_MISS_BIT)
		return spec_miss(ctx, decision);
	return count_decision(decision, bytes, batch_sizes(counter_batch));
}
SPEC_PROGRAM(filter)
