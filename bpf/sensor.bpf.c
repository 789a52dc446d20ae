/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sensor: stands in slot 0 for a few milliseconds now and then while a variant is live. It writes
 * down what a few packets look like and sends those, by turns, through the counted and timed
 * builds of the live variant and of the generic code. All other packets go to the live variant.
 * State: looks, per CPU, read by the controller; sensing, written by it before each look.
 * Fallback: an empty slot leads to the live variant, then to the generic code.
 */
#include "iridescent.h"
#include "cursor.h"

#define SAMPLES		512 /* on each CPU in one look, at most; a power of two */
#define SLOT_LIVE	61
#define SLOT_REFERENCE	62 /* the generic code, counted and timed */
#define SLOT_SENSED	63 /* the live variant, counted and timed */
#define VLAN_TAGS	2
#define ETHERTYPE_ARP	0x0806
#define ICMP		1
#define ICMPV6		58
#define TCP_SYN		0x02
#define TCP_ACK		0x10
#define TARGET_SHIFT	60 /* leaves 16 classes of destinations */
#define FLOW_FACTOR	0x9e3779b97f4a7c15ull /* 2^64 / golden ratio */

enum families { FAMILY_OTHER, FAMILY_ARP, FAMILY_IPV4, FAMILY_IPV6 };
enum transports { TRANSPORT_OTHER, TRANSPORT_TCP, TRANSPORT_UDP, TRANSPORT_ICMP };
enum oddities { ODD_NONE, ODD_OPTIONS, ODD_FRAGMENT, ODD_EXTENSION, ODD_CUT };

struct sample {
	__u32 flow; /* a hash of addresses, ports and protocol */
	__u16 bytes; /* of the frame */
	__u8 kind; /* target << 4 | family << 2 | transport */
	__u8 marks; /* opens a TCP connection << 7 | oddity << 4 | VLAN tags */
};

struct look {
	__u64 seen; /* packets that passed by */
	__u64 next; /* the count at which the next sample is taken */
	__u64 taken;
	__u64 number; /* of the look that it belongs to */
	__u64 left; /* samples that may still be taken in this look */
	struct sample samples[SAMPLES];
};

struct sensing {
	__u64 number; /* another one for each look */
	__u64 gaps; /* samples are 1 to gaps + 1 packets apart; a power of two, less one */
};

MAP_PERCPU_ARRAY(looks, struct look, 1, "what sampled packets look like; counts go on for ever");
MAP_ARRAY(sensing, struct sensing, 1, "how closely to look; written by the controller");

struct heading {
	__u32 family, transport, tags, oddity, opens;
	__u64 flow, target;
};

static __always_inline void mix(struct heading *found, __u64 value)
{
	found->flow = (found->flow ^ value) * FLOW_FACTOR;
	found->flow ^= found->flow >> 32;
}

/* Where to: which address, then which port of it. */
static __always_inline void aim(struct heading *found, __u64 value)
{
	found->target = (found->target ^ value) * FLOW_FACTOR;
	found->target ^= found->target >> 32;
}

static __always_inline void read_transport(struct cursor *at, struct heading *found, __u32 next)
{
	const struct ports *ports;

	mix(found, next);
	found->transport = next == PROTOCOL_TCP		    ? TRANSPORT_TCP :
			   next == PROTOCOL_UDP		    ? TRANSPORT_UDP :
			   next == ICMP || next == ICMPV6 ? TRANSPORT_ICMP :
							    TRANSPORT_OTHER;
	if (found->oddity == ODD_FRAGMENT)
		return;
	if (found->transport == TRANSPORT_TCP) {
		const struct tcp_header *tcp = at->at;

		if (has(at, sizeof(*tcp)))
			found->opens = (tcp->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	}
	if (found->transport != TRANSPORT_TCP && found->transport != TRANSPORT_UDP)
		return;
	ports = take(at, sizeof(*ports));
	if (!ports) {
		found->oddity = ODD_CUT;
		return;
	}
	mix(found, (__u32)ports->source << 16 | ports->destination);
	aim(found, ports->destination);
}

static __always_inline void read_ipv4(struct cursor *at, struct heading *found)
{
	const struct ipv4_header *ip = at->at;
	__u32 bytes;

	found->family = FAMILY_IPV4;
	found->oddity = ODD_CUT;
	if (!has(at, sizeof(*ip)))
		return;
	mix(found, (__u64)ip->source << 32 | ip->destination);
	aim(found, ip->destination);
	bytes = (ip->version_ihl & 15) * 4;
	if (bytes < sizeof(*ip) || !take(at, bytes))
		return;
	found->oddity = ip->fragment & net16(IPV4_LATER_MASK) ? ODD_FRAGMENT :
			bytes > sizeof(*ip)		      ? ODD_OPTIONS :
								ODD_NONE;
	read_transport(at, found, ip->protocol);
}

static __always_inline void read_ipv6(struct cursor *at, struct heading *found)
{
	const struct ipv6_header *ip = take(at, sizeof(*ip));

	found->family = FAMILY_IPV6;
	found->oddity = ip ? ODD_NONE : ODD_CUT;
	if (!ip)
		return;
	mix(found, (__u64)ip->source[0] << 32 | ip->source[1]);
	mix(found, (__u64)ip->source[2] << 32 | ip->source[3]);
	mix(found, (__u64)ip->destination[0] << 32 | ip->destination[1]);
	mix(found, (__u64)ip->destination[2] << 32 | ip->destination[3]);
	aim(found, (__u64)ip->destination[0] << 32 | ip->destination[1]);
	aim(found, (__u64)ip->destination[2] << 32 | ip->destination[3]);
	if (is_ipv6_extension(ip->next))
		found->oddity = ODD_EXTENSION;
	read_transport(at, found, ip->next);
}

static __always_inline void read_heading(struct xdp_md *ctx, struct heading *found)
{
	struct cursor at = cursor_of(ctx);
	const struct ethernet_header *ethernet = take(&at, sizeof(*ethernet));
	__u16 type;

	if (!ethernet)
		return;
	type = net16(ethernet->type);
	for (__u32 i = 0; i < VLAN_TAGS; i++) {
		const struct vlan_header *vlan;

		if (!is_vlan(type))
			break;
		vlan = take(&at, sizeof(*vlan));
		if (!vlan)
			return;
		found->tags++;
		type = net16(vlan->type);
	}
	if (type == ETHERTYPE_IPV4)
		read_ipv4(&at, found);
	else if (type == ETHERTYPE_IPV6)
		read_ipv6(&at, found);
	else
		mix(found, type);
	if (type == ETHERTYPE_ARP)
		found->family = FAMILY_ARP;
}

static __always_inline void take_sample(struct xdp_md *ctx, struct look *look)
{
	struct sample *sample = &look->samples[look->taken++ & (SAMPLES - 1)];
	struct heading found = {};

	read_heading(ctx, &found);
	sample->flow = found.flow;
	sample->bytes = ctx->data_end - ctx->data;
	sample->kind = (found.target >> TARGET_SHIFT) << 4 | found.family << 2 | found.transport;
	sample->marks = found.opens << 7 | found.oddity << 4 | found.tags;
}

static __always_inline int sensor(struct xdp_md *ctx)
{
	const struct sensing *plan = MAP_VALUE(sensing);
	__u32 zero = 0;
	struct look *look = bpf_map_lookup_elem(MAP(looks), &zero);

	if (look) {
		__u64 count = look->seen++;

		if (look->number != plan->number) {
			look->number = plan->number;
			look->left = SAMPLES;
			look->next = count;
		}
		if (count >= look->next && look->left) {
			look->next = count + 1 + (bpf_get_prandom_u32() & plan->gaps);
			look->left--;
			take_sample(ctx, look);
			if (look->taken & 1)
				bpf_tail_call(ctx, MAP(slots), SLOT_REFERENCE);
			bpf_tail_call(ctx, MAP(slots), SLOT_SENSED);
		}
	}
	bpf_tail_call(ctx, MAP(slots), SLOT_LIVE);
	bpf_tail_call(ctx, MAP(slots), SPEC_SLOT_FALLBACK);
	return XDP_PASS;
}
SPEC_PROGRAM(sensor)
