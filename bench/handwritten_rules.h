/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The 64 rules of iridescent_xdp/bench/rules.py as code, one function for each kind of packet.
 *
 * First match wins: the exceptions (rules 0 to 7) are asked by port, then the sources that are
 * never welcome (8 to 33), then services by protocol and port, then our own networks. Inside a
 * switch the order does not matter, because no two of its cases match the same packet.
 */
#ifndef HANDWRITTEN_RULES_H
#define HANDWRITTEN_RULES_H

#include "cursor.h"
#include "filter_tables.h"

#ifndef DEFAULT_DROP
#define DEFAULT_DROP 0
#endif

#define PASS(rule) DECIDE(rule, false)
#define DROP(rule) DECIDE(rule, true)
#define NOTHING	   DECIDE(SLOT_DEFAULT, DEFAULT_DROP)
#define SLOW_PATH  NO_MATCH
#define IP(a, b, c, d) ((__u32)(a) << 24 | (__u32)(b) << 16 | (__u32)(c) << 8 | (__u32)(d))

struct udp_header {
	__be16 source;
	__be16 destination;
	__be16 length;
	__be16 checksum;
};

static __always_inline int inside(__u32 address, __u32 prefix, __u32 length)
{
	return (address ^ prefix) >> (32 - length) == 0;
}

/* Our clients' network: five blocks of it misbehaved. */
static __always_inline __u32 blocked_client(__u32 source)
{
	switch (source >> 8 & 0xff) {
	case 7: return DROP(25);
	case 66 ... 67: return DROP(26);
	case 96 ... 111: return DROP(27);
	case 129: return source == IP(198, 18, 129, 17) ? DROP(28) : NOTHING;
	case 200: return source & 0x80 ? DROP(29) : NOTHING;
	}
	return NOTHING;
}

static __always_inline __u32 blocked_ipv4(__u32 source)
{
	switch (source >> 24) {
	case 0: return DROP(14);
	case 10: return DROP(15);
	case 45: return inside(source, IP(45, 155, 204, 0), 23) ? DROP(31) : NOTHING;
	case 91: return inside(source, IP(91, 240, 118, 0), 24) ? DROP(32) : NOTHING;
	case 100: return inside(source, IP(100, 64, 0, 0), 10) ? DROP(16) : NOTHING;
	case 127: return DROP(17);
	case 169: return inside(source, IP(169, 254, 0, 0), 16) ? DROP(18) : NOTHING;
	case 172: return inside(source, IP(172, 16, 0, 0), 12) ? DROP(19) : NOTHING;
	case 185: return inside(source, IP(185, 220, 100, 0), 22) ? DROP(30) : NOTHING;
	case 192:
		if (inside(source, IP(192, 0, 0, 0), 24))
			return DROP(20);
		return inside(source, IP(192, 168, 0, 0), 16) ? DROP(21) : NOTHING;
	case 193: return inside(source, IP(193, 32, 160, 0), 21) ? DROP(33) : NOTHING;
	case 198:
		if (inside(source, IP(198, 18, 0, 0), 16))
			return blocked_client(source);
		return inside(source, IP(198, 51, 100, 0), 24) ? DROP(22) : NOTHING;
	case 224 ... 239: return DROP(23);
	case 240 ... 255: return DROP(24);
	}
	return NOTHING;
}

static __always_inline __u32 blocked_ipv6(const __u32 *source)
{
	switch (source[0] >> 16) {
	case 0x2001:
		if ((source[0] & 0xffff) == 0x0db8)
			return DROP(11);
		if (source[0] == 0x20010002 && source[1] == 1 && source[2] >> 16 == 0x0bad)
			return DROP(13);
		return NOTHING;
	case 0x3ffe: return DROP(12);
	case 0xfc00 ... 0xfdff: return DROP(8);
	case 0xfe80 ... 0xfebf: return DROP(9);
	case 0xff00 ... 0xffff: return DROP(10);
	}
	return NOTHING;
}

static __always_inline __u32 tcp_service(__u8 flags, __u16 port)
{
	if (!(flags & 0x3f))
		return DROP(34);
	if ((flags & 0x29) == 0x29)
		return DROP(35);
	if ((flags & 0x03) == 0x03)
		return DROP(36);
	switch (port) {
	case 23: return DROP(37);
	case 25: return DROP(38);
	case 111: return DROP(39);
	case 135 ... 139: return DROP(40);
	case 445: return DROP(41);
	case 1433: return DROP(42);
	case 3306: return DROP(43);
	case 3389: return DROP(44);
	case 5900 ... 5903: return DROP(45);
	case 6379: return DROP(46);
	case 9200: return DROP(47);
	case 27017: return DROP(48);
	}
	return NOTHING;
}

static __always_inline __u32 udp_service(__u16 source, __u16 port)
{
	switch (port) {
	case 69: return DROP(49);
	case 111: return DROP(50);
	case 137 ... 138: return DROP(51);
	case 161: return DROP(52);
	case 389: return DROP(53);
	case 1900: return DROP(54);
	case 11211: return DROP(55);
	}
	switch (source) {
	case 17 ... 19: return DROP(56);
	case 1900: return DROP(57);
	case 11211: return DROP(58);
	}
	return NOTHING;
}

/* The last rule, for every protocol. */
static __always_inline __u32 to_ipv4(__u32 destination)
{
	return inside(destination, IP(198, 19, 255, 0), 24) ? DROP(63) : NOTHING;
}

static __always_inline __u32 tcp_ipv4(__u32 source, __u32 destination, const struct tcp_header *tcp)
{
	__u16 port = net16(tcp->ports.destination);
	__u32 found;

	switch (port) {
	case 22:
		if (inside(source, IP(192, 0, 2, 0), 24))
			return PASS(0);
		break;
	case 25:
		if (inside(source, IP(203, 0, 113, 128), 25) &&
		    inside(destination, IP(198, 19, 25, 0), 24))
			return PASS(4);
		break;
	case 443:
		if (inside(destination, IP(198, 19, 80, 0), 24))
			return PASS(5);
		break;
	}
	found = blocked_ipv4(source);
	if (found != NOTHING)
		return found;
	found = tcp_service(tcp->flags, port);
	if (found != NOTHING)
		return found;
	if (port == 22 && inside(destination, IP(198, 19, 0, 0), 17))
		return DROP(59);
	if (port >= 8000 && port <= 8099 && inside(destination, IP(198, 19, 128, 0), 17))
		return DROP(60);
	return to_ipv4(destination);
}

static __always_inline __u32 udp_ipv4(__u32 source, __u32 destination, const struct udp_header *udp)
{
	__u16 port = net16(udp->destination);
	__u32 found;

	switch (port) {
	case 53:
		if (inside(destination, IP(198, 19, 53, 0), 24))
			return PASS(6);
		break;
	case 123:
		if (inside(source, IP(203, 0, 113, 0), 26))
			return PASS(3);
		break;
	case 161:
		if (inside(source, IP(192, 0, 2, 0), 24))
			return PASS(2);
		break;
	}
	found = blocked_ipv4(source);
	if (found != NOTHING)
		return found;
	found = udp_service(net16(udp->source), port);
	if (found != NOTHING)
		return found;
	if (port == 53 && inside(destination, IP(198, 19, 128, 0), 17))
		return DROP(61);
	return to_ipv4(destination);
}

static __always_inline __u32 tcp_ipv6(const __u32 *source, const __u32 *destination,
				      const struct tcp_header *tcp)
{
	__u16 port = net16(tcp->ports.destination);
	__u32 found;

	if (port == 22 && source[0] == 0x20010db8 && source[1] >> 16 == 0x0010)
		return PASS(1);
	found = blocked_ipv6(source);
	if (found != NOTHING)
		return found;
	found = tcp_service(tcp->flags, port);
	if (found != NOTHING)
		return found;
	if (port == 22 && destination[0] == 0x20010002 && destination[1] == 2 &&
	    destination[2] >> 31)
		return DROP(62);
	return NOTHING;
}

static __always_inline __u32 udp_ipv6(const __u32 *source, const __u32 *destination,
				      const struct udp_header *udp)
{
	__u16 port = net16(udp->destination);
	__u32 found;

	if (port == 53 && destination[0] == 0x20010002 && destination[1] == 2 &&
	    destination[2] >> 16 == 0x0053)
		return PASS(7);
	found = blocked_ipv6(source);
	return found != NOTHING ? found : udp_service(net16(udp->source), port);
}

#endif
