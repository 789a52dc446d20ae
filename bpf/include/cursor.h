/* SPDX-License-Identifier: GPL-2.0-only */
/* Bounds-checked header parsing: a cursor, and `x = take_x(&at)`, NULL when the frame is cut. */
#ifndef IRIDESCENT_CURSOR_H
#define IRIDESCENT_CURSOR_H

#include <linux/types.h>

#include "iridescent_helpers.h"

#define ETHERTYPE_IPV4	0x0800
#define ETHERTYPE_IPV6	0x86dd
#define ETHERTYPE_VLAN	0x8100
#define ETHERTYPE_QINQ	0x88a8
#define IPV4_LATER_MASK 0x1fff /* fragment offset */

enum ip_protocols {
	PROTOCOL_HOP_BY_HOP = 0,
	PROTOCOL_TCP = 6,
	PROTOCOL_UDP = 17,
	PROTOCOL_ROUTING = 43,
	PROTOCOL_FRAGMENT = 44,
	PROTOCOL_AH = 51,
	PROTOCOL_DESTINATION = 60,
	PROTOCOL_SCTP = 132,
};

struct ethernet_header {
	__u8 destination[6];
	__u8 source[6];
	__be16 type;
} __attribute__((packed));

struct vlan_header {
	__be16 tag;
	__be16 type;
};

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 total_length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

struct ipv6_header {
	__u8 version_class;
	__u8 flow[3];
	__be16 payload_length;
	__u8 next;
	__u8 hop_limit;
	__be32 source[4];
	__be32 destination[4];
};

struct ipv6_extension {
	__u8 next;
	__u8 length;
	__be16 fragment; /* of a fragment header: offset in the upper 13 bits */
	__be32 rest;
};

struct ports {
	__be16 source;
	__be16 destination;
};

struct tcp_header {
	struct ports ports;
	__be32 sequence;
	__be32 acknowledged;
	__u8 offset;
	__u8 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

#define TCP_BYTES  20 /* without options */
#define UDP_BYTES  8
#define SCTP_BYTES 12

struct cursor {
	void *at;
	void *end;
};

static __always_inline struct cursor cursor_of(struct xdp_md *ctx)
{
	return (struct cursor){
		.at = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};
}

/* The frame's length, computed here and now: were the compiler to do it after a long loop, the
 * verifier would keep the packet's bounds, and so one state for each way of parsing, until then. */
static __always_inline __u32 frame_bytes(const struct cursor *at)
{
	__u32 bytes = at->end - at->at;

	__asm__ volatile("" : "+r"(bytes));
	return bytes;
}

/* The next `size` bytes, or NULL; the cursor moves only on success. */
static __always_inline void *take(struct cursor *at, __u32 size)
{
	void *start = at->at;

	if (start + size > at->end)
		return NULL;
	at->at = start + size;
	return start;
}

static __always_inline int has(const struct cursor *at, __u32 size)
{
	return at->at + size <= at->end;
}

static __always_inline int is_vlan(__u16 type)
{
	return type == ETHERTYPE_VLAN || type == ETHERTYPE_QINQ;
}

static __always_inline int is_ipv6_extension(__u8 next)
{
	const __u64 extensions = 1ull << PROTOCOL_HOP_BY_HOP | 1ull << PROTOCOL_ROUTING |
				 1ull << PROTOCOL_FRAGMENT | 1ull << PROTOCOL_AH |
				 1ull << PROTOCOL_DESTINATION;

	return next < 64 && extensions >> next & 1;
}

#endif
