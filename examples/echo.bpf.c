/* SPDX-License-Identifier: GPL-2.0-only */
/* echo: answers ICMP echo requests and UDP datagrams to port 7 (RFC 862), IPv4; passes the rest.
 * Points, state: below. Fallback: who breaks an assumption is answered by the generic variant. */
#include "iridescent.h"
#include "checksum.h"

#define ICMP	     1
#define ECHO_REQUEST net16(0x0800) /* type 8, code 0; of a reply both are 0 */
#define FRAGMENT     net16(0x3fff) /* more of them, or not the first */

SPEC_RANGE(policy, echo_port, 7, 1, 65535, "UDP port that is answered");

enum outcomes { PASSED, ICMP_ANSWERED, UDP_ANSWERED, OUTCOMES };
struct counted { __u64 packets[OUTCOMES]; };
MAP_PERCPU_ARRAY(counted, struct counted, 1, "packets by outcome; written by variants");

static __always_inline int finish(__u32 outcome)
{
	__u32 zero = 0;
	struct counted *all = bpf_map_lookup_elem(MAP(counted), &zero);

	if (all)
		all->packets[outcome]++;
	return outcome == PASSED ? XDP_PASS : XDP_TX;
}

static __always_inline int echo(struct xdp_md *ctx)
{
	struct cursor at = cursor_of(ctx);
	struct ethernet_header *eth = take(&at, sizeof(*eth)), was;
	struct ipv4_header *ip = at.at;
	__u32 missed, size, source;
	__be16 *words; /* ICMP: type and code, checksum; UDP: ports. Both headers have 8 bytes. */

	if (!eth || !has(&at, sizeof(*ip)) || eth->type != net16(ETHERTYPE_IPV4) ||
	    eth->destination[0] & 1) /* to many: the kernel knows better */
		return finish(PASSED);
	missed = SPEC_ASSUMED(no_ip_options, ip->version_ihl == 0x45, "no options in IPv4 headers");
	if (!missed)
		missed = SPEC_ONLY(only_protocol, ip->protocol, "the one IP protocol; 0: any");
	if (missed)
		return spec_miss(ctx, missed); /* before anything was counted or written */
	size = (ip->version_ihl & 15) * 4;
	if (ip->version_ihl >> 4 != 4 || size < sizeof(*ip) || !take(&at, size))
		return finish(PASSED);
	words = take(&at, UDP_BYTES);
	if (!words || ip->fragment & FRAGMENT || /* and no answer to an echo: it would never end */
	    !(ip->protocol == ICMP ? words[0] == ECHO_REQUEST :
	      ip->protocol == PROTOCOL_UDP && words[1] == net16(echo_port) && words[0] != words[1]))
		return finish(PASSED);
	was = *eth, source = ip->source; /* sums do not mind who is source and who destination */
	__builtin_memcpy(eth->destination, was.source, 6);
	__builtin_memcpy(eth->source, was.destination, 6);
	ip->source = ip->destination, ip->destination = source;
	words[1] = ip->protocol == ICMP ? update_checksum(words[1], ECHO_REQUEST, 0) : words[0];
	words[0] = ip->protocol == ICMP ? 0 : net16(echo_port);
	return finish(ip->protocol == ICMP ? ICMP_ANSWERED : UDP_ANSWERED);
}
SPEC_PROGRAM(echo)
