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

/* The five words of an IPv4 header without options, added up. */
static __always_inline __u64 ipv4_words(const struct ipv4_header *ip)
{
	const __u32 *word = (const __u32 *)ip;

	return (__u64)word[0] + word[1] + word[2] + word[3] + word[4];
}

/* Their one's complement sum; 0xffff when the checksum is right. */
static __always_inline __u32 ipv4_sum(const struct ipv4_header *ip)
{
	return fold_sum(ipv4_words(ip));
}

/* Whether an IPv4 header without options has the right checksum. */
static __always_inline int ipv4_sum_is_right(const struct ipv4_header *ip)
{
	__u64 sum = ipv4_words(ip);
	__u32 folded = (sum & 0xffff) + (sum >> 16 & 0xffff) + (__u32)(sum >> 32); /* 18 bits */

	return (folded & 0xffff) + (folded >> 16) == 0xffff;
}

/* One's complement sum of the IPv4 header's 20 bytes plus `options` bytes; right when 0xffff.
 * The caller has checked the bounds of the first 20 bytes. */
static __always_inline __u32 ipv4_header_sum(const struct ipv4_header *ip, __u32 options, void *end)
{
	const __u16 *word = (const __u16 *)ip;
	__u32 sum = 0;

	for (__u32 i = 0; i < 10; i++)
		sum += word[i];
	word += 10;
	for (__u32 i = 0; i < 20; i++) {
		if (i * 2 >= options || (void *)(word + 1) > end)
			break;
		sum += *word++;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
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
