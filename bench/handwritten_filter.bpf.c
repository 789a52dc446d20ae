/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * handwritten_filter: the 64 rules of iridescent_xdp/bench/rules.py, written by hand. It is what
 * the suite "functions" compares the winner of the search with: static C that knows these rules
 * and the traffic they meet, and nothing else.
 *
 * How it is specialized: plain Ethernet with IPv4 or IPv6, no VLAN tags, no IPv4 options, no later
 * fragments, no extension headers, TCP, UDP or a protocol without ports. Whatever else comes,
 * malformed packets included, is left to the generic program in the fallback slot.
 * State: the template's counters, one packet and its bytes in its verdict and in its slot.
 */
#include "iridescent.h"
#include "cursor.h"
#include "handwritten_rules.h"

static __always_inline __u32 filter_ipv4(struct cursor at)
{
	struct ipv4_header *ip = take(&at, sizeof(*ip));
	__u32 source, destination, found;

	if (!ip || ip->version_ihl != 0x45 || ip->fragment & net16(IPV4_LATER_MASK) ||
	    net16(ip->total_length) < sizeof(*ip))
		return SLOW_PATH;
	source = net32(ip->source);
	destination = net32(ip->destination);
	if (ip->protocol == PROTOCOL_TCP) {
		struct tcp_header *tcp = take(&at, sizeof(*tcp));

		return tcp ? tcp_ipv4(source, destination, tcp) : SLOW_PATH;
	}
	if (ip->protocol == PROTOCOL_UDP) {
		struct udp_header *udp = take(&at, sizeof(*udp));

		return udp ? udp_ipv4(source, destination, udp) : SLOW_PATH;
	}
	if (ip->protocol == PROTOCOL_SCTP)
		return SLOW_PATH;
	found = blocked_ipv4(source);
	return found != NOTHING ? found : to_ipv4(destination);
}

static __always_inline __u32 filter_ipv6(struct cursor at)
{
	struct ipv6_header *ip = take(&at, sizeof(*ip));
	__u32 source[3], destination[3];

	if (!ip || ip->version_class >> 4 != 6)
		return SLOW_PATH;
	for (__u32 i = 0; i < 3; i++) {
		source[i] = net32(ip->source[i]);
		destination[i] = net32(ip->destination[i]);
	}
	switch (ip->next) {
	case PROTOCOL_TCP: {
		struct tcp_header *tcp = take(&at, sizeof(*tcp));

		return tcp ? tcp_ipv6(source, destination, tcp) : SLOW_PATH;
	}
	case PROTOCOL_UDP: {
		struct udp_header *udp = take(&at, sizeof(*udp));

		return udp ? udp_ipv6(source, destination, udp) : SLOW_PATH;
	}
	case PROTOCOL_HOP_BY_HOP:
	case PROTOCOL_ROUTING:
	case PROTOCOL_FRAGMENT:
	case PROTOCOL_AH:
	case PROTOCOL_DESTINATION:
	case PROTOCOL_SCTP: return SLOW_PATH;
	}
	return blocked_ipv6(source);
}

static __always_inline int count(__u32 decision, __u64 bytes)
{
	__u32 zero = 0, slot = decision >> 1;
	struct filter_counters *all = bpf_map_lookup_elem(MAP(counters), &zero);

	if (!all || slot >= SLOTS)
		return XDP_ABORTED;
	all->verdicts[decision & 1].packets++;
	all->verdicts[decision & 1].bytes += bytes;
	all->slots[slot].packets++;
	all->slots[slot].bytes += bytes;
	return decision & 1 ? XDP_DROP : XDP_PASS;
}

SPEC_SECTION("xdp") int iridescent_entry(struct xdp_md *ctx)
{
	struct cursor at = cursor_of(ctx);
	struct ethernet_header *eth = take(&at, sizeof(*eth));
	__u64 bytes = ctx->data_end - ctx->data;
	__u32 decision = SLOW_PATH;

	if (eth && eth->type == net16(ETHERTYPE_IPV4))
		decision = filter_ipv4(at);
	else if (eth && eth->type == net16(ETHERTYPE_IPV6))
		decision = filter_ipv6(at);
	if (decision == SLOW_PATH) {
		bpf_tail_call(ctx, MAP(slots), SPEC_SLOT_FALLBACK);
		return XDP_ABORTED; /* only if the fallback slot is empty */
	}
	return count(decision, bytes);
}
