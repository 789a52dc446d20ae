/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * handwritten_l4lb: the ten services of iridescent_xdp/bench/services.py and nothing else. It is
 * what the suite "functions" compares the winner of the search with.
 *
 * How it is specialized: TCP and UDP, no IPv4 options, no fragments; the services are a switch over
 * address, protocol and port; all backends take IP in IP and are alive; flows that go on are found
 * in a cache of this CPU, which is the template's. What is no flow that goes on (first packets,
 * ICMP, malformed packets, other destinations) is left to the generic program.
 * State: the template's connection table, flow cache and counters.
 */
#include "iridescent.h"
#include "l4lb_packet.h"
#include "l4lb_cache.h"

#define LONGEST 1500
#define FRAGMENT 0xffbf /* "more fragments" and the offset, as they are in memory */
#define SLOW_PATH 0xffffu

#define SERVICE4(n) (0xc613000au + (n)) /* 198.19.0.10 + n */
#define IP6 0x2001000200000002ull

/* Numbers of the services: their order in services.py. */
static __always_inline __u32 service4(const struct packet *p)
{
	__u32 number = (p->destination.high >> 32) - SERVICE4(0), port = p->ports & 0xffff;

	switch (number) {
	case 0:
	case 8: return p->protocol == PROTOCOL_TCP && port == 443 ? number : SLOW_PATH;
	case 1:
	case 5: return p->protocol == PROTOCOL_TCP && port == 80 ? number : SLOW_PATH;
	case 2:
	case 6: return p->protocol == PROTOCOL_UDP && port == 443 ? number : SLOW_PATH;
	case 3:
	case 7: return p->protocol == PROTOCOL_UDP && port == 53 ? number : SLOW_PATH;
	}
	return SLOW_PATH;
}

static __always_inline __u32 service6(const struct packet *p)
{
	__u32 port = p->ports & 0xffff;

	if (p->destination.high != IP6)
		return SLOW_PATH;
	if (p->destination.low == 0x14 && p->protocol == PROTOCOL_TCP && port == 443)
		return 4;
	if (p->destination.low == 0x19 && p->protocol == PROTOCOL_TCP && port == 80)
		return 9;
	return SLOW_PATH;
}

static __always_inline int parse_ports(const struct cursor *at, struct packet *p)
{
	if (!is_tcp_or_udp(p->protocol) || !transport_fits(at, p))
		return false;
	p->ports = net32(*(const __u32 *)at->at);
	return true;
}

/* The backend of a flow that goes on and that the ring would not send elsewhere. */
static __always_inline __u32 known_backend(const struct packet *p, __u32 service, __u64 hash)
{
	const struct flow_key key = flow_of(p);
	const struct service *data = bpf_map_lookup_elem(MAP(service_data), &service);
	const struct connection *known = bpf_map_lookup_elem(MAP(connections), &key);
	__u32 number = known ? known->backend : SLOW_PATH;
	const struct backend *backend = bpf_map_lookup_elem(MAP(backends), &number);

	if (!data || !known || !backend || !known->generation ||
	    backend->generation != known->generation || ring_choice(data->ring, hash) != number)
		return SLOW_PATH;
	return number;
}

/* Now and then the table is asked, so that it does not forget the flow; see l4lb.bpf.c. */
static __always_inline void touch(const struct packet *p, __u32 number, __u32 generation)
{
	const struct flow_key key = flow_of(p);
	struct connection made = { .backend = number, .generation = generation };

	if (!bpf_map_lookup_elem(MAP(connections), &key))
		bpf_map_update_elem(MAP(connections), &key, &made, BPF_ANY);
}

static __always_inline int forward(struct xdp_md *ctx, const struct cursor *at,
				   const struct packet *p, __u32 bytes)
{
	__u32 cpu = bpf_get_smp_processor_id(), number;
	__u64 epoch = *MAP_VALUE(epoch), hash = flow_hash(&p->source, p->ports, p->six);
	struct backend_hits *counts = bpf_map_lookup_elem(MAP(backend_counts), &cpu);
	struct cached_flow *place = cache_place(cpu, hash);
	const struct backend *backend;
	int cached = place && is_cached(place, p, epoch);
	struct hits *hits;

	if (!place || !counts)
		return SLOW_PATH;
	if (cached) {
		number = place->backend;
	} else {
		__u32 service = p->six ? service6(p) : service4(p);

		if (service == SLOW_PATH || opens_flow(at, p))
			return SLOW_PATH;
		number = known_backend(p, service, hash);
		if (number == SLOW_PATH)
			return SLOW_PATH;
		remember(place, p, epoch, number);
	}
	backend = bpf_map_lookup_elem(MAP(backends), &number);
	if (!backend || p->length + overhead_of(p->six, false) > LONGEST)
		return SLOW_PATH;
	if (!(p->six ? encapsulate6(ctx, p, backend, false, 0) :
		       encapsulate4(ctx, p, backend, false, 0)))
		return SLOW_PATH;
	hits = &counts->backends[number & (MAX_BACKENDS - 1)];
	add_hits(hits, bytes);
	if (cached && !(hits->packets % TOUCH_EVERY))
		touch(p, number, backend->generation);
	return XDP_TX;
}

static __always_inline int plain4(struct xdp_md *ctx, struct cursor at, __u32 bytes)
{
	__u32 there = at.end - at.at;
	const struct ipv4_header *ip = take(&at, sizeof(*ip));
	struct packet p = {};

	if (!ip || ip->version_ihl != 0x45 || ip->fragment & FRAGMENT)
		return SLOW_PATH;
	p.length = net16(ip->total_length);
	if (p.length < sizeof(*ip) || p.length > there)
		return SLOW_PATH;
	p.rest = p.length - sizeof(*ip);
	p.first = *(const __u32 *)ip;
	p.protocol = ip->protocol;
	read_address(&p.source, &ip->source, false);
	read_address(&p.destination, &ip->destination, false);
	return parse_ports(&at, &p) ? forward(ctx, &at, &p, bytes) : SLOW_PATH;
}

static __always_inline int plain6(struct xdp_md *ctx, struct cursor at, __u32 bytes)
{
	const struct ipv6_header *ip = take(&at, sizeof(*ip));
	struct packet p = { .six = true };

	if (!ip || ip->version_class >> 4 != 6)
		return SLOW_PATH;
	p.rest = net16(ip->payload_length);
	p.length = p.rest + sizeof(*ip);
	if (p.rest > at.end - at.at)
		return SLOW_PATH;
	p.first = *(const __u32 *)ip;
	p.protocol = ip->next;
	read_address(&p.source, ip->source, true);
	read_address(&p.destination, ip->destination, true);
	return parse_ports(&at, &p) ? forward(ctx, &at, &p, bytes) : SLOW_PATH;
}

SPEC_SECTION("xdp") int iridescent_entry(struct xdp_md *ctx)
{
	struct cursor at = cursor_of(ctx);
	__u32 bytes = frame_bytes(&at);
	const __u16 *ethernet = take(&at, ETHERNET_BYTES);
	__u32 verdict = SLOW_PATH;

	if (ethernet && !(*(const __u8 *)ethernet & 1)) {
		if (ethernet[6] == net16(ETHERTYPE_IPV4))
			verdict = plain4(ctx, at, bytes);
		else if (ethernet[6] == net16(ETHERTYPE_IPV6))
			verdict = plain6(ctx, at, bytes);
	}
	if (verdict != SLOW_PATH)
		return verdict;
	bpf_tail_call(ctx, MAP(slots), SPEC_SLOT_FALLBACK);
	return XDP_ABORTED; /* only if the fallback slot is empty */
}
