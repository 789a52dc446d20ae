/* SPDX-License-Identifier: GPL-2.0-only */
/* The Internet checksum (RFC 1071) and its incremental update (RFC 1624). Sums are in network
 * byte order, as words are read from the packet; one's complement sums do not mind. */
#ifndef IRIDESCENT_CHECKSUM_H
#define IRIDESCENT_CHECKSUM_H

#include <linux/types.h>

#include "cursor.h"

/* A sum of 32-bit words folded to 16 bits; never 0 unless all words are 0. */
static __always_inline __u32 fold_sum(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* One's complement sum of the 20 bytes of an IPv4 header; 0xffff when its checksum is right. */
static __always_inline __u32 ipv4_sum(const struct ipv4_header *ip)
{
	const __u32 *word = (const __u32 *)ip;
	__u64 sum = 0;

	for (__u32 i = 0; i < 5; i++)
		sum += word[i];
	return fold_sum(sum);
}

/* Whether an IPv4 header without options has the right checksum. */
static __always_inline int ipv4_sum_is_right(const struct ipv4_header *ip)
{
	const __u32 *word = (const __u32 *)ip;
	__u64 sum = 0;
	__u32 folded;

	for (__u32 i = 0; i < 5; i++)
		sum += word[i];
	folded = (sum & 0xffff) + (sum >> 16 & 0xffff) + (__u32)(sum >> 32); /* 18 bits */
	return (folded & 0xffff) + (folded >> 16) == 0xffff;
}

/* Counts the TTL down, with the checksum that equation 3 of RFC 1624 gives: its word goes down by
 * 0x0100, so the checksum goes up by as much, the carry goes around, and 0xffff is 0x0000. */
static __always_inline void count_ttl_down(struct ipv4_header *ip)
{
	__u32 sum = (__u32)ip->checksum + net16(0x0100);

	ip->ttl--;
	ip->checksum = sum + (sum >= 0xffff);
}

/* RFC 1624, equation 3: HC' = ~(~HC + ~m + m'), after the 16-bit word m has become m'. */
static __always_inline __u16 update_checksum(__u16 checksum, __u16 before, __u16 after)
{
	__u32 sum = (__u16)~checksum + (__u32)(__u16)~before + after;

	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

#endif
