/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * l4lb: a layer 4 load balancer, IPv4 and IPv6. A packet to a service (address, port, protocol)
 * goes to one of its backends, encapsulated (IP in IP, or GUE), by way of the gateway. Flows stay
 * with their backend; new ones, and TCP packets with SYN alone, take the service's Maglev ring.
 *
 * Points: below. State: services, rings and backends are written by the controller; connections
 * and counters by packets, and they outlive every variant. Fallback: a packet that breaks an
 * assumption is balanced by the generic variant, before anything was written.
 *
 * Hot flows and the flow cache hold only flows that the connection table gives the backend that
 * the ring gives them too. So a SYN, or an entry that was evicted, cannot make them wrong while
 * the tables stay as they are. One in TOUCH_EVERY packets is left to the generic variant all the
 * same, so that the flow is not evicted there as if it were idle; and so are ICMP and fragments.
 */
#include "iridescent.h"
#include "l4lb_cache.h"
#include "l4lb_packet.h"

SPEC_ENUM(tuning, service_layout, SERVICES_MAP, "how services are found: map, or compiled in",
	  SERVICES_MAP, SERVICES_COMPILED);
SPEC_ENUM(tuning, hot_flows, HOT_0, "flows that are compared with before any look-up", HOT_0,
	  HOT_1, HOT_2, HOT_4, HOT_8, HOT_16, HOT_32, HOT_64);
SPEC_BOOL(tuning, flow_cache, false, "flows are looked for in a cache of each CPU first");
SPEC_ENUM(tuning, encapsulation, ENCAPSULATION_ANY, "what the services' backends want",
	  ENCAPSULATION_ANY, ENCAPSULATION_IPIP, ENCAPSULATION_GUE);

SPEC_ENUM(policy, fragments, FRAGMENTS_DROP,
	  "fragments to a service: drop, pass, or balance them by addresses alone", FRAGMENTS_DROP,
	  FRAGMENTS_PASS, FRAGMENTS_HASH);
SPEC_RANGE(policy, max_packet, 1500, 576, 9216,
	   "bytes of the longest IP packet that is sent, encapsulation included");
SPEC_BOOL(policy, verify_ip_checksum, false, "drop IPv4 packets with a wrong header checksum");

SPEC_TABLE(services_compiled, service_key, "number of a service, NO_SERVICE if there is none");
SPEC_HOT(hot_backends, flow_key, "backend in the lower half, GUE source port in the upper");

#include "l4lb_parse.h"

static __always_inline int uses_gue(__u32 told)
{
	return encapsulation == ENCAPSULATION_ANY ? told : encapsulation == ENCAPSULATION_GUE;
}

static __always_inline int is_too_big(const struct packet *p, __u32 gue)
{
	return p->length + overhead_of(p->six, uses_gue(gue)) > max_packet;
}

static __always_inline void connect(const struct flow_key *key, __u32 number)
{
	const struct backend *backend = bpf_map_lookup_elem(MAP(backends), &number);
	struct connection made = { .backend = number };

	made.generation = backend ? backend->generation : 0;
	bpf_map_update_elem(MAP(connections), key, &made, BPF_ANY);
}

/* The number of the backend that the flow has, or now gets. */
static __always_inline __u32 choose(const struct packet *p, const struct flow_key *key, __u32 ring,
				    __u64 hash, int opens)
{
	const struct connection *known = opens ? NULL : bpf_map_lookup_elem(MAP(connections), key);
	__u32 number = known ? known->backend : NO_BACKEND;
	const struct backend *backend = known ? bpf_map_lookup_elem(MAP(backends), &number) : NULL;

	if (backend && known->generation && backend->generation == known->generation)
		return number;
	number = ring_choice(ring, hash);
	if (number != NO_BACKEND && p->kind != KIND_ERROR)
		connect(key, number);
	return number;
}

/* By way of the tables. The number of a backend, or a decision with GO_ON's bit. */
static __always_inline __u32 balance(const struct cursor *at, const struct packet *p, __u64 hash,
				     struct cached_flow *place, __u64 epoch)
{
	__u32 service = find_service(p), backend;
	const struct service *data = bpf_map_lookup_elem(MAP(service_data), &service);
	const struct flow_key key = flow_of(p);

	if (service == NO_SERVICE || !data)
		return GO_ON | DECIDE(SLOT_NOT_SERVICE, XDP_PASS);
	if (p->kind == KIND_FRAGMENT && fragments == FRAGMENTS_PASS)
		return GO_ON | DECIDE(SLOT_FRAGMENT, XDP_PASS);
	if (p->kind == KIND_FRAGMENT &&
	    (fragments == FRAGMENTS_DROP ||
	     (p->protocol != PROTOCOL_TCP && p->protocol != PROTOCOL_UDP)))
		return GO_ON | DECIDE(SLOT_FRAGMENT, XDP_DROP);
	if (is_too_big(p, data->gue))
		return GO_ON | DECIDE(SLOT_TOO_BIG, XDP_PASS);
	backend = choose(p, &key, data->ring, hash, opens_flow(at, p));
	if (backend == NO_BACKEND)
		return GO_ON | DECIDE(SLOT_NO_BACKEND, XDP_DROP);
	if ((place || spec_role == ROLE_OBSERVE) && p->kind == KIND_FLOW &&
	    ring_choice(data->ring, hash) == backend) {
		SPEC_OBSERVE_KEY(hot_backends, &key);
		if (place)
			remember(place, p, epoch, backend);
	}
	return backend;
}

static __always_inline int encapsulate(struct xdp_md *ctx, const struct packet *p,
				       const struct backend *backend, __u32 port)
{
	int gue = uses_gue(backend->gue);

	return p->six ? encapsulate6(ctx, p, backend, gue, port) :
			encapsulate4(ctx, p, backend, gue, port);
}

static __always_inline __u32 gue_port(__u64 hash)
{
	return GUE_SOURCE_FIRST | (hash & 0x3fff);
}

/* Whether it is time that a packet asks the tables, though its backend is known. */
static __always_inline int is_due(const struct hits *hits)
{
	return !((hits->packets + 1) % TOUCH_EVERY);
}

/* Where a packet goes. `skipped`: the tables were not asked, nor whether it is too big. */
struct way {
	__u32 backend;
	__u32 port; /* GUE's source port */
	int skipped;
};

static __always_inline __u32 send(struct xdp_md *ctx, const struct packet *p,
				  const struct way *way, struct backend_hits *counts, __u32 bytes)
{
	__u32 number = way->backend, missed;
	const struct backend *backend = bpf_map_lookup_elem(MAP(backends), &number);
	struct hits *hits = &counts->backends[number & (MAX_BACKENDS - 1)];

	if (!backend)
		return DECIDE(SLOT_NO_BACKEND, XDP_DROP);
	if (way->skipped) {
		missed = SPEC_RARE(is_due(hits));
		if (missed)
			return missed;
		if (is_too_big(p, backend->gue))
			return DECIDE(SLOT_TOO_BIG, XDP_PASS);
	}
	if (!encapsulate(ctx, p, backend, way->port))
		return DECIDE(SLOT_NO_HEADROOM, XDP_DROP);
	add_hits(hits, bytes);
	return GO_ON;
}

/* Whether the flow is a hot one; then its way is known. */
static __always_inline int find_hot(const struct packet *p, struct way *way)
{
	const struct flow_key key = flow_of(p);
	__u32 found;

	if (!SPEC_ASKED_HOT(hot_flows, hot_backends, &key, &found))
		return false;
	way->backend = found & 0xffff;
	way->port = found >> 16;
	return true;
}

static __always_inline __u32 forward(struct xdp_md *ctx, const struct cursor *at,
				     const struct packet *p, __u32 bytes)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct backend_hits *counts = bpf_map_lookup_elem(MAP(backend_counts), &cpu);
	struct cached_flow *place = NULL;
	__u64 epoch = 0, hash = 0;
	struct way way;

	if (!counts)
		return DECIDE(SLOT_NO_BACKEND, XDP_DROP);
	way.skipped = p->kind == KIND_FLOW && find_hot(p, &way);
	if (!way.skipped) {
		hash = flow_hash(&p->source, p->ports, p->six);
		way.port = gue_port(hash);
		if (flow_cache && p->kind == KIND_FLOW) {
			place = cache_place(cpu, hash);
			epoch = *MAP_VALUE(epoch);
		}
		way.skipped = place && is_cached(place, p, epoch);
		if (way.skipped)
			way.backend = place->backend;
	}
	if (!way.skipped) {
		way.backend = balance(at, p, hash, place, epoch);
		if (way.backend & GO_ON)
			return way.backend & ~GO_ON;
	}
	return send(ctx, p, &way, counts, bytes);
}

static __always_inline int l4lb(struct xdp_md *ctx)
{
	struct cursor at = cursor_of(ctx);
	__u32 bytes = frame_bytes(&at);
	struct packet p; /* not cleared: nobody reads what a packet has not */
	__u32 status;

	p.ports = p.kind = p.six = 0;
	status = parse(&at, &p);
	if (status == GO_ON)
		status = SPEC_RARE(p.kind != KIND_FLOW) ?: GO_ON;
	if (status == GO_ON && p.kind == KIND_ICMP)
		status = handle_icmp(ctx, &at, &p);
	if (status == GO_ON)
		status = forward(ctx, &at, &p, bytes);
	if (status == GO_ON)
		return XDP_TX;
	if (status & SPEC_MISS_BIT)
		return spec_miss(ctx, status);
	return count_decision(status, bytes);
}
SPEC_PROGRAM(l4lb)
