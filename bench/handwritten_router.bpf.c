/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * handwritten_router: the routes of iridescent_xdp/bench/routes.py, and nothing else. It is
 * what the suite "functions" compares the winner of the search with.
 *
 * How it is specialized: all routes forward, over one interface, and no neighbour is missing. IPv4
 * destinations are looked up in a flat table (the template's own, for 9,900 routes are more than
 * code does well); IPv6 destinations by compares, which handwritten_routes.h holds. Plain packets
 * that are forwarded are handled here; whatever else comes is left to the generic program.
 * State: the template's counts.
 */
#include "iridescent.h"
#include "checksum.h"
#include "cursor.h"
#include "router_tables.h"
#include "handwritten_routes.h" /* __u32 hop_of6(a, b, c, d); generated, see subject_router.py */

#define SMALLEST_MTU 1500

static __always_inline int forward(struct ethernet_header *eth, __u32 number, __u32 bytes)
{
	const struct hop *hop = &MAP_VALUE(hops)->hop[number & (MAX_HOPS - 1)];
	__u32 *to = (__u32 *)eth;
	const __u32 *macs = (const __u32 *)hop->macs;

	to[0] = macs[0];
	to[1] = macs[1];
	to[2] = macs[2];
	count_as(number, bytes, 0);
	return bpf_redirect_map(MAP(ports), 0, 0);
}

static __always_inline __u32 route4(struct ipv4_header *ip, __u32 room)
{
	__u32 size = net16(ip->total_length), first = *(__u8 *)&ip->destination, number;

	if (ip->version_ihl != 0x45 || size > room || size < sizeof(*ip) || size > SMALLEST_MTU)
		return 0;
	if (ip->ttl <= 1 || first - 1 >= 223 || first == 127 || ipv4_sum(ip) != 0xffff)
		return 0;
	number = flat4(net32(ip->destination));
	if (number >= FIRST_HOP) {
		__u16 *word = (__u16 *)&ip->ttl, before = *word;

		ip->ttl--;
		ip->checksum = update_checksum(ip->checksum, before, *word);
	}
	return number;
}

static __always_inline __u32 route6(struct ipv6_header *ip, __u32 room)
{
	__u32 size = net16(ip->payload_length) + sizeof(*ip), number;

	if (ip->version_class >> 4 != 6 || size > room || size > SMALLEST_MTU || ip->hop_limit <= 1)
		return 0;
	number = hop_of6(net32(ip->destination[0]), net32(ip->destination[1]),
			 net32(ip->destination[2]), net32(ip->destination[3]));
	if (number >= FIRST_HOP)
		ip->hop_limit--;
	return number;
}

SPEC_SECTION("xdp") int iridescent_entry(struct xdp_md *ctx)
{
	struct cursor at = cursor_of(ctx);
	__u32 bytes = frame_bytes(&at), number = 0;
	struct ethernet_header *eth = take(&at, sizeof(*eth));

	if (eth && eth->type == net16(ETHERTYPE_IPV4)) {
		struct ipv4_header *ip = take(&at, sizeof(*ip));

		number = ip ? route4(ip, bytes - sizeof(*eth)) : 0;
	} else if (eth && eth->type == net16(ETHERTYPE_IPV6)) {
		struct ipv6_header *ip = take(&at, sizeof(*ip));

		number = ip ? route6(ip, bytes - sizeof(*eth)) : 0;
	}
	if (eth && number >= FIRST_HOP && number < MAX_HOPS)
		return forward(eth, number, bytes);
	bpf_tail_call(ctx, MAP(slots), SPEC_SLOT_FALLBACK);
	return XDP_ABORTED; /* only if the fallback slot is empty */
}
