/* SPDX-License-Identifier: GPL-2.0-only */
/* What the load balancer reads of a packet, and what it puts in front: IP in IP, or GUE variant 1
 * (draft-ietf-intarea-gue: an IP header directly behind UDP). */
#ifndef IRIDESCENT_L4LB_PACKET_H
#define IRIDESCENT_L4LB_PACKET_H

#include "checksum.h"
#include "cursor.h"
#include "l4lb_tables.h"

enum l4lb_protocols {
	PROTOCOL_ICMP = 1,
	PROTOCOL_IPIP = 4,
	PROTOCOL_IPV6 = 41,
	PROTOCOL_ICMPV6 = 58,
};

#define ETHERNET_BYTES	 14
#define GUE_PORT	 6080
#define GUE_SOURCE_FIRST 0xc000 /* dynamic ports, RFC 6335 */
#define FRAGMENT_MASK	 0x3fff /* offset and "more fragments" */
#define OUTER_HOPS	 64
#define DONT_FRAGMENT	 0x4000

enum packet_kinds {
	KIND_FLOW,
	KIND_FRAGMENT,
	KIND_ICMP,
	KIND_ERROR, /* an ICMP error, by the flow that it is about */
};

struct packet {
	struct address source;
	struct address destination;
	__u32 ports; /* the source's in the upper half */
	__u32 first; /* the IP header's first word, network byte order */
	__u32 length; /* of the IP packet */
	__u32 rest; /* bytes of it behind what was parsed */
	__u8 protocol;
	__u8 six;
	__u8 kind;
};

struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

/* Behind an IP header: the next `size` bytes, if the IP packet has as many. */
static __always_inline void *take_within(struct cursor *at, struct packet *p, __u32 size)
{
	if (p->rest < size)
		return NULL;
	p->rest -= size;
	return take(at, size);
}

static __always_inline void read_address(struct address *to, const __be32 *from, int six)
{
	if (six) {
		to->high = net64(*(const __u64 *)from);
		to->low = net64(*(const __u64 *)(from + 2));
	} else {
		to->high = (__u64)net32(*from) << 32;
	}
}

static __always_inline void copy_address(struct address *to, const struct address *from, int six)
{
	to->high = from->high;
	if (six)
		to->low = from->low;
}

/* As words, into a key that is zero. */
static __always_inline void write_words(__u32 *to, const struct address *from, int six)
{
	to[0] = from->high >> 32;
	if (!six)
		return;
	to[1] = from->high;
	to[2] = from->low >> 32;
	to[3] = from->low;
}

static __always_inline int address_differs(const struct address *one, const struct address *other,
					   int six)
{
	return one->high != other->high || (six && one->low != other->low);
}

static __always_inline struct flow_key flow_of(const struct packet *p)
{
	struct flow_key key = {};

	write_words(key.source, &p->source, p->six);
	write_words(key.destination, &p->destination, p->six);
	key.ports = p->ports;
	key.family = p->six ? 6 : 4;
	key.protocol = p->protocol;
	key.wide = p->kind == KIND_FRAGMENT;
	return key;
}

static __always_inline struct service_key service_of(const struct packet *p)
{
	struct service_key key = {};

	write_words(key.destination, &p->destination, p->six);
	key.wide = p->kind == KIND_FRAGMENT || p->kind == KIND_ICMP;
	key.port = key.wide ? 0 : p->ports & 0xffff;
	key.family = p->six ? 6 : 4;
	key.protocol = p->protocol;
	return key;
}

static __always_inline int is_tcp_or_udp(__u8 protocol)
{
	return protocol < 64 && (1ull << PROTOCOL_TCP | 1ull << PROTOCOL_UDP) >> protocol & 1;
}

/* Whether the header of TCP or UDP at the cursor is whole. Computed: a branch on which of the two
 * it is would be mispredicted as often as packets alternate. */
static __always_inline int transport_fits(const struct cursor *at, const struct packet *p)
{
	__u32 udp = p->protocol & 1; /* of 6 and 17 */

	__asm__ volatile("" : "+r"(udp)); /* or the compiler makes a branch of it */
	return p->rest >= TCP_BYTES - (TCP_BYTES - UDP_BYTES) * udp && has(at, UDP_BYTES);
}

/* A SYN without ACK; the cursor is on the header behind IP's. */
static __always_inline int opens_flow(const struct cursor *at, const struct packet *p)
{
	const struct tcp_header *tcp = at->at;

	return p->protocol == PROTOCOL_TCP && p->kind == KIND_FLOW && has(at, TCP_BYTES) &&
	       (tcp->flags & 0x12) == 0x02;
}

static __always_inline __u32 overhead_of(int six, int gue)
{
	return (six ? sizeof(struct ipv6_header) : sizeof(struct ipv4_header)) +
	       (gue ? UDP_BYTES : 0);
}

static __always_inline int is_icmp_error(int six, __u8 type)
{
	if (six) /* unreachable, packet too big, time exceeded, parameter problem */
		return type >= 1 && type <= 4;
	return type == 3 || type == 11 || type == 12;
}

/* Makes room for an outer IP header, and UDP's if `gue`; where the outer one begins, or NULL. */
static __always_inline void *make_room(struct xdp_md *ctx, const __u32 ip_bytes, int gue,
				       __u64 gateway, __u16 type)
{
	const __u32 most = ETHERNET_BYTES + ip_bytes + UDP_BYTES; /* an inner header follows */
	void *data = (void *)(long)ctx->data;
	__u16 own_first;
	__u32 own_last;

	if (data + ETHERNET_BYTES > (void *)(long)ctx->data_end)
		return NULL;
	own_first = *(const __u16 *)data;
	own_last = *(const __u32 *)(data + 2);
	if (bpf_xdp_adjust_head(ctx, gue ? -(int)(ip_bytes + UDP_BYTES) : -(int)ip_bytes))
		return NULL;
	data = (void *)(long)ctx->data;
	if (data + most > (void *)(long)ctx->data_end)
		return NULL;
	*(__u64 *)data = gateway | (__u64)own_first << 48; /* to the gateway, */
	*(__u32 *)(data + 8) = own_last; /* from whom the frame came to */
	*(__u16 *)(data + 12) = net16(type);
	return data + ETHERNET_BYTES;
}

static __always_inline void copy16(void *to, const void *from)
{
	*(__u64 *)to = *(const __u64 *)from;
	*(__u64 *)(to + 8) = *(const __u64 *)(from + 8);
}

static __always_inline void write_udp(void *to, __u32 port, __u32 inner)
{
	*(__u32 *)to = net32(port << 16 | GUE_PORT);
	*(__u32 *)(to + 4) = net32((inner + UDP_BYTES) << 16); /* no checksum; IPv6: RFC 6935 */
}

static __always_inline int encapsulate4(struct xdp_md *ctx, const struct packet *p,
					const struct backend *backend, int gue, __u32 port)
{
	__u32 length = net16(p->length + overhead_of(false, gue)); /* as in memory */
	__u32 tos = p->first & 0xff00, sum = backend->header_sum + tos + length;
	struct ipv4_header *ip =
		make_room(ctx, sizeof(*ip), gue, backend->gateway, ETHERTYPE_IPV4);

	if (!ip)
		return false;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16));
	*(__u32 *)ip = 0x45 | tos | length << 16;
	*(__u32 *)&ip->id = net32(DONT_FRAGMENT);
	*(__u32 *)&ip->ttl = OUTER_HOPS | (gue ? PROTOCOL_UDP : PROTOCOL_IPIP) << 8 | sum << 16;
	ip->source = backend->source[0];
	ip->destination = backend->address[0];
	if (gue)
		write_udp(ip + 1, port, p->length);
	return true;
}

static __always_inline int encapsulate6(struct xdp_md *ctx, const struct packet *p,
					const struct backend *backend, int gue, __u32 port)
{
	__u32 payload = p->length + (gue ? UDP_BYTES : 0);
	struct ipv6_header *ip =
		make_room(ctx, sizeof(*ip), gue, backend->gateway, ETHERTYPE_IPV6);

	if (!ip)
		return false;
	*(__u32 *)ip = p->first; /* traffic class and flow label are the inner ones */
	*(__u32 *)&ip->payload_length =
		net32(payload << 16 | (gue ? PROTOCOL_UDP : PROTOCOL_IPV6) << 8 | OUTER_HOPS);
	copy16(ip->source, backend->source);
	copy16(ip->destination, backend->address);
	if (gue)
		write_udp(ip + 1, port, p->length);
	return true;
}

/* Swaps two addresses of so many words that stand one behind the other. */
static __always_inline void swap_words(__u32 *word, const __u32 words)
{
	for (__u32 i = 0; i < words; i++) {
		__u32 kept = word[i];

		word[i] = word[i + words];
		word[i + words] = kept;
	}
}

/* Turns an echo request at `icmp` into its reply; the time to live stays. */
static __always_inline int answer_echo(struct xdp_md *ctx, int six, struct icmp_header *icmp)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u16 *mac = data, before = *(__u16 *)icmp;

	if (six) { /* Linux 6.1's verifier does not follow `six` from one test to the next */
		if (data + ETHERNET_BYTES + 40 > end)
			return XDP_ABORTED;
		swap_words(data + ETHERNET_BYTES + 8, 4);
	} else {
		if (data + ETHERNET_BYTES + 20 > end)
			return XDP_ABORTED;
		swap_words(data + ETHERNET_BYTES + 12, 1);
	}
	for (__u32 i = 0; i < 3; i++) {
		__u16 kept = mac[i];

		mac[i] = mac[i + 3];
		mac[i + 3] = kept;
	}
	icmp->type = six ? 129 : 0;
	icmp->checksum = update_checksum(icmp->checksum, before, *(__u16 *)icmp);
	return XDP_TX;
}

#endif
