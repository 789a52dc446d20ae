/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * port_guard: drops UDP datagrams to one port, behind at most one VLAN tag, and passes the rest.
 * Points: below. State: counted, two numbers per CPU. Fallback: a tagged packet that meets a
 * variant built for untagged traffic is decided by the generic variant.
 */
#include "iridescent.h"
#include "cursor.h"

SPEC_RANGE(narrowing, vlan_depth, 1, 0, 1, "VLAN tags looked behind");
SPEC_ASSUME(no_ip_options, "IPv4 headers have no options");
SPEC_RANGE(policy, guarded_port, 53, 1, 65535, "UDP port that is dropped");

struct counted {
	__u64 passed;
	__u64 dropped;
};
MAP_PERCPU_ARRAY(counted, struct counted, 1, "packets, by what became of them");

static __always_inline int count(int verdict)
{
	__u32 zero = 0;
	struct counted *all = bpf_map_lookup_elem(MAP(counted), &zero);

	if (!all)
		return XDP_ABORTED;
	if (verdict == XDP_DROP)
		all->dropped++;
	else
		all->passed++;
	return verdict;
}

static __always_inline int port_guard(struct xdp_md *ctx)
{
	struct cursor at = cursor_of(ctx);
	struct ethernet_header *eth = take(&at, sizeof(*eth));
	struct ipv4_header *ip;
	struct ports *ports;
	__u16 type;

	if (!eth)
		return count(XDP_PASS);
	type = net16(eth->type);
	if (vlan_depth && is_vlan(type)) {
		struct vlan_header *tag = take(&at, sizeof(*tag));

		if (!tag)
			return count(XDP_PASS);
		type = net16(tag->type);
	}
	SPEC_OBSERVE(vlan_depth, type != net16(eth->type));
	if (SPEC_NARROWED(vlan_depth) && is_vlan(type))
		return SPEC_MISS(ctx, vlan_depth); /* before anything was counted */

	if (type != ETHERTYPE_IPV4 || !(ip = take(&at, sizeof(*ip))) || ip->protocol != PROTOCOL_UDP)
		return count(XDP_PASS);
	SPEC_OBSERVE(no_ip_options, ip->version_ihl == 0x45);
	if (no_ip_options && ip->version_ihl != 0x45)
		return SPEC_MISS(ctx, no_ip_options);
	if (!no_ip_options) {
		__u32 size = (ip->version_ihl & 15) * 4;

		if (size < sizeof(*ip) || !take(&at, size - sizeof(*ip)))
			return count(XDP_PASS);
	}
	ports = take(&at, sizeof(*ports));
	return count(ports && net16(ports->destination) == guarded_port ? XDP_DROP : XDP_PASS);
}
SPEC_PROGRAM(port_guard)
