/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The router's look-up in the kernel's own tables (bpf_fib_lookup). The kernel says by which
 * interface and to which MAC address; the hop of that pair is what is counted and written, as with
 * any other look-up. Only fields that Linux 5.10 has are used. Fallback: what the kernel does not
 * forward, and what it would send where no hop of the controller's leads, is looked up in the tries.
 */
#ifndef IRIDESCENT_ROUTER_FIB_H
#define IRIDESCENT_ROUTER_FIB_H

#include "router_tables.h"

#define FAMILY_IP4 2
#define FAMILY_IP6 10
#define FLOW_MASK  0x0fffffff /* traffic class and flow label, as IPV6_FLOWINFO_MASK */

/* Where a packet would go: the egress interface and the neighbour's address. */
struct fib_key {
	__u32 ifindex;
	__u8 mac[6];
	__u16 pad;
};

MAP_HASH(fib_hops, struct fib_key, __u32, MAX_HOPS,
	 "the hop's number by interface and neighbour; none where two hops share them");

/* HOP_NO_ROUTE when the kernel does not forward the packet, or not to a hop that is known. */
static __always_inline __u32 kernel_hop(struct xdp_md *ctx, struct bpf_fib_lookup *fib)
{
	struct fib_key key = {};
	__u32 *hop;

	fib->ifindex = ctx->ingress_ifindex;
	if (bpf_fib_lookup(ctx, fib, sizeof(*fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return HOP_NO_ROUTE;
	key.ifindex = fib->ifindex;
	__builtin_memcpy(key.mac, fib->dmac, sizeof(key.mac));
	hop = bpf_map_lookup_elem(MAP(fib_hops), &key);
	return hop ? *hop : HOP_NO_ROUTE;
}

static __always_inline __u32 kernel4(struct xdp_md *ctx, const struct ipv4_header *ip)
{
	struct bpf_fib_lookup fib = {
		.family = FAMILY_IP4,
		.l4_protocol = ip->protocol,
		.tot_len = net16(ip->total_length),
		.tos = ip->tos,
		.ipv4_src = ip->source,
		.ipv4_dst = ip->destination,
	};

	return kernel_hop(ctx, &fib);
}

static __always_inline __u32 kernel6(struct xdp_md *ctx, const struct ipv6_header *ip)
{
	struct bpf_fib_lookup fib = {
		.family = FAMILY_IP6,
		.l4_protocol = ip->next,
		.tot_len = net16(ip->payload_length) + sizeof(*ip),
		.flowinfo = *(const __be32 *)ip & net32(FLOW_MASK),
	};

	for (__u32 i = 0; i < 4; i++) {
		fib.ipv6_src[i] = ip->source[i];
		fib.ipv6_dst[i] = ip->destination[i];
	}
	return kernel_hop(ctx, &fib);
}

#endif
