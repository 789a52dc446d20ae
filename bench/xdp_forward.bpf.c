/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * xdp_forward: a forwarder on the kernel's own tables, as xdp-forward of xdp-tools does it (its
 * mode "fib-full", xdp-forward/xdp_forward.bpf.c): parse, bpf_fib_lookup, TTL, MAC addresses,
 * redirect. What the suite "peers" compares the router with. It keeps no counts, as its model.
 * State: the interfaces that may be sent to, by index.
 */
#include "iridescent.h"
#include "cursor.h"

#define PORTS	   64
#define FAMILY_IP4 2
#define FAMILY_IP6 10
#define FLOW_MASK  0x0fffffff /* traffic class and flow label, as IPV6_FLOWINFO_MASK */

MAP_DEVMAP(ports, PORTS, "interfaces that packets may leave by, by index");

static __always_inline int ask4(struct bpf_fib_lookup *fib, struct ipv4_header *ip)
{
	if (!ip || ip->ttl <= 1)
		return false;
	fib->family = FAMILY_IP4;
	fib->tos = ip->tos;
	fib->l4_protocol = ip->protocol;
	fib->tot_len = net16(ip->total_length);
	fib->ipv4_src = ip->source;
	fib->ipv4_dst = ip->destination;
	return true;
}

static __always_inline int ask6(struct bpf_fib_lookup *fib, struct ipv6_header *ip)
{
	if (!ip || ip->hop_limit <= 1)
		return false;
	fib->family = FAMILY_IP6;
	fib->flowinfo = *(__be32 *)ip & net32(FLOW_MASK);
	fib->l4_protocol = ip->next;
	fib->tot_len = net16(ip->payload_length);
	__builtin_memcpy(fib->ipv6_src, ip->source, sizeof(ip->source));
	__builtin_memcpy(fib->ipv6_dst, ip->destination, sizeof(ip->destination));
	return true;
}

/* As ip_decrease_ttl() of the kernel. */
static __always_inline void count_down(struct ipv4_header *ip)
{
	__u32 sum = ip->checksum;

	sum += net16(0x0100);
	ip->checksum = sum + (sum >= 0xffff);
	ip->ttl--;
}

static __always_inline int xdp_forward(struct xdp_md *ctx)
{
	struct cursor at = cursor_of(ctx);
	struct ethernet_header *eth = take(&at, sizeof(*eth));
	struct bpf_fib_lookup fib = { .ifindex = ctx->ingress_ifindex };
	struct ipv4_header *ip4 = NULL;
	struct ipv6_header *ip6 = NULL;

	if (!eth)
		return XDP_DROP;
	if (eth->type == net16(ETHERTYPE_IPV4)) {
		ip4 = take(&at, sizeof(*ip4));
		if (!ask4(&fib, ip4))
			return XDP_PASS;
	} else if (eth->type == net16(ETHERTYPE_IPV6)) {
		ip6 = take(&at, sizeof(*ip6));
		if (!ask6(&fib, ip6))
			return XDP_PASS;
	} else {
		return XDP_PASS;
	}
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0))
		return XDP_PASS; /* not forwarded: local, unreachable, no neighbour, too big */
	if (!bpf_map_lookup_elem(MAP(ports), &fib.ifindex))
		return XDP_PASS;
	if (ip4)
		count_down(ip4);
	else if (ip6)
		ip6->hop_limit--;
	__builtin_memcpy(eth->destination, fib.dmac, sizeof(eth->destination));
	__builtin_memcpy(eth->source, fib.smac, sizeof(eth->source));
	return bpf_redirect_map(MAP(ports), fib.ifindex, 0);
}
SPEC_PROGRAM(xdp_forward)
