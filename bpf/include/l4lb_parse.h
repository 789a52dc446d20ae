/* SPDX-License-Identifier: GPL-2.0-only */
/* From a frame to a flow, under the points of l4lb.bpf.c. Nothing is written here but the answer
 * to an echo request. */
#ifndef IRIDESCENT_L4LB_PARSE_H
#define IRIDESCENT_L4LB_PARSE_H

#include "l4lb_packet.h"

#define NO_SERVICE 0xffffffffu

/* Parsers and look-ups return GO_ON, a decision, or SPEC_MISSED(point), or SPEC_RARE. */
#define GO_ON 0x40000000u

/* The cursor stays on the header of TCP or UDP. */
static __always_inline __u32 parse_transport(struct cursor *at, struct packet *p)
{
	if (p->kind == KIND_FRAGMENT)
		return GO_ON;
	if (is_tcp_or_udp(p->protocol)) {
		if (!transport_fits(at, p))
			return DECIDE(SLOT_MALFORMED, XDP_DROP);
		p->ports = net32(*(const __u32 *)at->at);
	} else if (p->protocol == (p->six ? PROTOCOL_ICMPV6 : PROTOCOL_ICMP)) {
		p->kind = KIND_ICMP;
	} else {
		return DECIDE(SLOT_NOT_SERVICE, XDP_PASS);
	}
	return GO_ON;
}

static __always_inline __u32 parse_ipv4(struct cursor *at, struct packet *p)
{
	__u32 there = at->end - at->at, options, missed;
	const struct ipv4_header *ip = take(at, sizeof(*ip));

	if (!ip)
		return DECIDE(SLOT_MALFORMED, XDP_DROP);
	missed = SPEC_ASSUMED(no_ip_options, ip->version_ihl == 0x45, "IPv4 headers have no options");
	if (missed)
		return missed;
	p->length = net16(ip->total_length);
	if (ip->version_ihl >> 4 != 4 || (ip->version_ihl & 15) < 5)
		return DECIDE(SLOT_MALFORMED, XDP_DROP);
	options = (ip->version_ihl & 15) * 4 - sizeof(*ip);
	if (!take(at, options))
		return DECIDE(SLOT_MALFORMED, XDP_DROP);
	if (p->length < sizeof(*ip) + options || p->length > there)
		return DECIDE(SLOT_MALFORMED, XDP_DROP);
	if (verify_ip_checksum && ipv4_header_sum(ip, options, at->end) != 0xffff)
		return DECIDE(SLOT_BAD_CHECKSUM, XDP_DROP);
	p->rest = p->length - sizeof(*ip) - options;
	p->first = *(const __u32 *)ip;
	p->protocol = ip->protocol;
	p->kind = ip->fragment & net16(FRAGMENT_MASK) ? KIND_FRAGMENT : KIND_FLOW;
	read_address(&p->source, &ip->source, false);
	read_address(&p->destination, &ip->destination, false);
	return parse_transport(at, p);
}

static __always_inline __u32 parse_ipv6(struct cursor *at, struct packet *p)
{
	const struct ipv6_header *ip = take(at, sizeof(*ip));

	if (!ip || ip->version_class >> 4 != 6)
		return DECIDE(SLOT_MALFORMED, XDP_DROP);
	p->rest = net16(ip->payload_length);
	p->length = p->rest + sizeof(*ip);
	if (p->rest > at->end - at->at)
		return DECIDE(SLOT_MALFORMED, XDP_DROP);
	p->first = *(const __u32 *)ip;
	p->six = true;
	p->protocol = ip->next;
	read_address(&p->source, ip->source, true);
	read_address(&p->destination, ip->destination, true);
	if (ip->next == PROTOCOL_FRAGMENT) {
		const struct ipv6_extension *fragment = take_within(at, p, sizeof(*fragment));

		if (!fragment)
			return DECIDE(SLOT_MALFORMED, XDP_DROP);
		p->protocol = fragment->next;
		p->kind = KIND_FRAGMENT;
	}
	return parse_transport(at, p);
}

static __always_inline __u32 parse(struct cursor *at, struct packet *p)
{
	const __u16 *ethernet = take(at, ETHERNET_BYTES);
	__u32 missed;

	if (!ethernet)
		return DECIDE(SLOT_MALFORMED, XDP_DROP);
	if (*(const __u8 *)ethernet & 1)
		return DECIDE(SLOT_GROUP_FRAME, XDP_PASS);
	if (ethernet[6] == net16(ETHERTYPE_IPV4))
		return parse_ipv4(at, p);
	missed = SPEC_HANDLED(ipv6, ethernet[6] == net16(ETHERTYPE_IPV6),
			      "IPv6 packets are balanced here");
	if (missed)
		return missed;
	if (ethernet[6] != net16(ETHERTYPE_IPV6))
		return DECIDE(SLOT_NOT_IP, XDP_PASS);
	return parse_ipv6(at, p);
}

static __always_inline __u32 find_service(const struct packet *p)
{
	struct service_key key = service_of(p);
	const __u32 *number;

	if (service_layout == SERVICES_COMPILED && !key.wide)
		return services_compiled(&key);
	number = bpf_map_lookup_elem(MAP(services), &key);
	return number ? *number : NO_SERVICE;
}

/* The packet that an ICMP error is about came from a service: follow the flow it belongs to. Its
 * addresses are given, its ports come next. */
static __always_inline __u32 follow(struct cursor *at, struct packet *p, const __be32 *source,
				    const __be32 *destination, __u8 protocol)
{
	struct address from;
	const __u32 *ports;

	if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP)
		return DECIDE(SLOT_NOT_SERVICE, XDP_PASS);
	ports = take_within(at, p, sizeof(*ports));
	if (!ports)
		return DECIDE(SLOT_MALFORMED, XDP_DROP);
	read_address(&from, source, p->six);
	if (address_differs(&from, &p->destination, p->six))
		return DECIDE(SLOT_NOT_SERVICE, XDP_PASS);
	read_address(&p->source, destination, p->six);
	p->ports = net32(*ports) << 16 | net32(*ports) >> 16;
	p->protocol = protocol;
	p->kind = KIND_ERROR;
	return GO_ON;
}

static __always_inline __u32 parse_inner4(struct cursor *at, struct packet *p)
{
	const struct ipv4_header *ip = take_within(at, p, sizeof(*ip));
	__u32 options;

	if (!ip || ip->version_ihl >> 4 != 4 || (ip->version_ihl & 15) < 5)
		return DECIDE(SLOT_MALFORMED, XDP_DROP);
	options = (ip->version_ihl & 15) * 4 - sizeof(*ip);
	if (!take_within(at, p, options))
		return DECIDE(SLOT_MALFORMED, XDP_DROP);
	if (ip->fragment & net16(IPV4_LATER_MASK))
		return DECIDE(SLOT_NOT_SERVICE, XDP_PASS);
	return follow(at, p, &ip->source, &ip->destination, ip->protocol);
}

static __always_inline __u32 parse_inner6(struct cursor *at, struct packet *p)
{
	const struct ipv6_header *ip = take_within(at, p, sizeof(*ip));

	if (!ip || ip->version_class >> 4 != 6)
		return DECIDE(SLOT_MALFORMED, XDP_DROP);
	return follow(at, p, ip->source, ip->destination, ip->next);
}

static __always_inline __u32 handle_icmp(struct xdp_md *ctx, struct cursor *at, struct packet *p)
{
	struct icmp_header *icmp = take_within(at, p, sizeof(*icmp));

	if (find_service(p) == NO_SERVICE)
		return DECIDE(SLOT_NOT_SERVICE, XDP_PASS);
	if (!icmp)
		return DECIDE(SLOT_MALFORMED, XDP_DROP);
	if (icmp->type == (p->six ? 128 : 8) && !icmp->code)
		return DECIDE(SLOT_ECHO, answer_echo(ctx, p->six, icmp));
	if (!is_icmp_error(p->six, icmp->type))
		return DECIDE(SLOT_NOT_SERVICE, XDP_PASS);
	return p->six ? parse_inner6(at, p) : parse_inner4(at, p);
}

#endif
