/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * router: forwards IPv4 and IPv6 packets by longest prefix match, as RFC 1812 and RFC 8200 ask
 * of a router: TTL or hop limit counted down, MAC addresses of the next hop, out through a device
 * map. What needs more than that goes to the kernel's stack: expired packets, IPv4 options, local
 * and multicast destinations, unknown neighbours, packets over the MTU, destinations without route.
 *
 * State: the tables are written by the controller; the counts belong to the map and outlive every
 * variant. Fallback: a packet that breaks an assumption is forwarded by the generic variant,
 * before anything was written or counted.
 */
#include "iridescent.h"
#include "checksum.h"
#include "cursor.h"
#include "router_fib.h"
#include "router_tables.h"

SPEC_ENUM(tuning, lookup, LOOKUP_TRIE,
	  "how routes are kept: LPM trie, flat table (IPv6: nested ifs), nested ifs; "
	  "or the kernel is asked (bpf_fib_lookup), where the routes are its own",
	  LOOKUP_TRIE, LOOKUP_FLAT, LOOKUP_IFS, LOOKUP_FIB);
SPEC_ENUM(tuning, hot_keys, HOT_0,
	  "frequent destinations before the look-up: so many compares, or a table with one (IPv4)",
	  HOT_0, HOT_1, HOT_4, HOT_16, HOT_64, HOT_TABLE);
SPEC_ENUM(tuning, checksum_update, CHECKSUM_INCREMENTAL,
	  "how the IPv4 checksum follows the TTL: RFC 1624, or computed anew",
	  CHECKSUM_INCREMENTAL, CHECKSUM_FULL);

SPEC_BOOL(policy, verify_ip_checksum, true, "drop IPv4 packets with a wrong header checksum");

SPEC_TABLE(ifs4, address4, "hop of an IPv4 destination");
SPEC_TABLE(ifs6, address6, "hop of an IPv6 destination");
SPEC_HOT(hot4, address4, "hop of a frequent IPv4 destination");
SPEC_HOT(hot6, address6, "hop of a frequent IPv6 destination");

static __always_inline __u32 frequent4(const struct address4 *key)
{
	return hot_keys == HOT_TABLE ? hot_table4(key->address) : hot4(key);
}

static __always_inline __u32 find_hop4(struct xdp_md *ctx, const struct ipv4_header *ip)
{
	struct address4 key = { .address = net32(ip->destination) };
	__u32 hop;

	if (SPEC_FOUND_HOT_IN(frequent4, hot_keys, hot4, &key, &hop))
		return hop;
	if (lookup == LOOKUP_IFS)
		return ifs4(&key);
	if (lookup == LOOKUP_FLAT)
		return flat4(key.address);
	hop = lookup == LOOKUP_FIB ? kernel4(ctx, ip) : HOP_NO_ROUTE;
	return hop ? hop : trie4(ip->destination);
}

static __always_inline __u32 find_hop6(struct xdp_md *ctx, const struct ipv6_header *ip)
{
	struct address6 key;
	__u32 hop;

	for (__u32 i = 0; i < 4; i++)
		key.address[i] = net32(ip->destination[i]);
	if (hot_keys != HOT_TABLE && SPEC_FOUND_HOT(hot_keys, hot6, &key, &hop))
		return hop;
	if (lookup == LOOKUP_IFS || lookup == LOOKUP_FLAT)
		return ifs6(&key);
	hop = lookup == LOOKUP_FIB ? kernel6(ctx, ip) : HOP_NO_ROUTE;
	return hop ? hop : trie6(ip->destination);
}

/* Destinations that no router forwards: 0/8, 127/8 and class D and E (RFC 1812, 5.3.7). */
static __always_inline int is_martian4(__be32 destination)
{
	__u32 first = *(const __u8 *)&destination;

	return first == 0 || first == 127 || first >= 224;
}

/* Multicast, link-local, unspecified and loopback (RFC 4291, 2.4). */
static __always_inline int is_martian6(const __be32 *destination)
{
	__u32 first = net32(destination[0]);

	return first >> 24 == 0xff || first >> 22 == 0xfe80 >> 6 ||
	       (!(first | destination[1] | destination[2]) && net32(destination[3]) <= 1);
}

/* Where to: writes the MAC addresses and gives the port, or counts and gives a verdict. */
static __always_inline int leave_by(struct ethernet_header *eth, const struct hop *hop,
				    __u32 number, __u32 bytes)
{
	__u32 *to = (__u32 *)eth;
	const __u32 *macs = (const __u32 *)hop->macs;

	to[0] = macs[0];
	to[1] = macs[1];
	to[2] = macs[2];
	count_as(number, bytes, 0);
	return bpf_redirect_map(MAP(ports), hop->port, 0);
}

/* The hop's number is good for forwarding, and the packet of `size` bytes fits; else why not. */
static __always_inline __u32 check_hop(__u32 number, const struct hop *hop, __u32 size)
{
	if (number < FIRST_HOP)
		return number;
	if (size > hop->mtu)
		return hop->mtu ? SLOT_TOO_BIG : SLOT_NO_NEIGHBOUR;
	return number;
}

static __always_inline int refuse(__u32 what, __u32 bytes)
{
	int drop = what == HOP_BLACKHOLE || what == SLOT_MALFORMED || what == SLOT_BAD_CHECKSUM;

	return count_as(what, bytes, drop ? XDP_DROP : XDP_PASS);
}

static __always_inline void count_down(struct ipv4_header *ip)
{
	if (checksum_update == CHECKSUM_FULL) {
		ip->ttl--;
		ip->checksum = 0;
		ip->checksum = ~ipv4_sum(ip);
	} else {
		count_ttl_down(ip);
	}
}

static __always_inline int route4(struct xdp_md *ctx, struct cursor *at,
				  struct ethernet_header *eth, __u32 bytes)
{
	__u32 room = at->end - at->at, size, number, what;
	struct ipv4_header *ip = take(at, sizeof(*ip));
	const struct hop *hop;

	if (!ip || ip->version_ihl >> 4 != 4 || (ip->version_ihl & 15) < 5)
		return refuse(SLOT_MALFORMED, bytes);
	size = net16(ip->total_length);
	if (size > room || size < (ip->version_ihl & 15) * 4)
		return refuse(SLOT_MALFORMED, bytes);
	if (ip->version_ihl != 0x45)
		return refuse(SLOT_OPTIONS, bytes);
	if (verify_ip_checksum && !ipv4_sum_is_right(ip))
		return refuse(SLOT_BAD_CHECKSUM, bytes);
	if (is_martian4(ip->destination))
		return refuse(SLOT_MARTIAN, bytes);
	if (ip->ttl <= 1)
		return refuse(SLOT_EXPIRED, bytes);
	number = find_hop4(ctx, ip) & (MAX_HOPS - 1);
	hop = &MAP_VALUE(hops)->hop[number];
	what = check_hop(number, hop, size);
	if (what < FIRST_HOP || what >= MAX_HOPS)
		return refuse(what, bytes);
	count_down(ip);
	return leave_by(eth, hop, number, bytes);
}

static __always_inline int route6(struct xdp_md *ctx, struct cursor *at,
				  struct ethernet_header *eth, __u32 bytes)
{
	__u32 room = at->end - at->at, size, number, what;
	struct ipv6_header *ip = take(at, sizeof(*ip));
	const struct hop *hop;

	if (!ip || ip->version_class >> 4 != 6)
		return refuse(SLOT_MALFORMED, bytes);
	size = net16(ip->payload_length) + sizeof(*ip);
	if (size > room)
		return refuse(SLOT_MALFORMED, bytes);
	if (is_martian6(ip->destination))
		return refuse(SLOT_MARTIAN, bytes);
	if (ip->hop_limit <= 1)
		return refuse(SLOT_EXPIRED, bytes);
	number = find_hop6(ctx, ip) & (MAX_HOPS - 1);
	hop = &MAP_VALUE(hops)->hop[number];
	what = check_hop(number, hop, size);
	if (what < FIRST_HOP || what >= MAX_HOPS)
		return refuse(what, bytes);
	ip->hop_limit--;
	return leave_by(eth, hop, number, bytes);
}

static __always_inline int router(struct xdp_md *ctx)
{
	struct cursor at = cursor_of(ctx);
	__u32 bytes = frame_bytes(&at);
	struct ethernet_header *eth = take(&at, sizeof(*eth));
	__u32 missed;
	__u16 type;

	if (!eth)
		return refuse(SLOT_MALFORMED, bytes);
	type = net16(eth->type);
	missed = SPEC_HANDLED(ipv4, type == ETHERTYPE_IPV4, "IPv4 packets are forwarded here");
	if (!missed)
		missed = SPEC_HANDLED(ipv6, type == ETHERTYPE_IPV6, "IPv6 packets are forwarded here");
	if (missed)
		return spec_miss(ctx, missed);
	if (type == ETHERTYPE_IPV4)
		return route4(ctx, &at, eth, bytes);
	if (type == ETHERTYPE_IPV6)
		return route6(ctx, &at, eth, bytes);
	return refuse(SLOT_NOT_IP, bytes);
}
SPEC_PROGRAM(router)
