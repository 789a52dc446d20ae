# SPDX-License-Identifier: GPL-2.0-only
"""Values that rules ask of a packet: protocols, ports, TCP flags."""

from __future__ import annotations

import re

from iridescent_xdp.config.problems import Plain, nearest, show_value

MAX_PORT = 65_535
MAX_PROTOCOL = 255

# https://www.iana.org/assignments/protocol-numbers
PROTOCOLS = {
    "icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58,
    "sctp": 132,
}  # fmt: skip
# RFC 9293 section 3.1 and RFC 3168: bits of byte 13 of the TCP header.
TCP_FLAGS = {
    "fin": 0x01, "syn": 0x02, "rst": 0x04, "psh": 0x08, "ack": 0x10, "urg": 0x20, "ece": 0x40,
    "cwr": 0x80,
}  # fmt: skip

_PORTS = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


def parse_protocol(value: object) -> int:
    """A protocol's number, from its name or number. Raises Plain."""
    if isinstance(value, str) and value in PROTOCOLS:
        return PROTOCOLS[value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_PROTOCOL:
        return value
    near = nearest(value, PROTOCOLS) if isinstance(value, str) else None
    raise Plain(
        f"must be a protocol's name or a number from 0 to {MAX_PROTOCOL}, got {show_value(value)}",
        f'did you mean "{near}"?' if near else f"known names: {', '.join(sorted(PROTOCOLS))}",
    )


def parse_ports(value: object) -> tuple[int, int]:
    """The first and last port, from a port or a text "LOW-HIGH". Raises Plain."""
    match = _PORTS.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, int) and not isinstance(value, bool):
        low = high = value
    elif match:
        low, high = int(match[1]), int(match[2])
    else:
        alone = isinstance(value, str) and value.isascii() and value.isdecimal()
        raise Plain(
            f'must be a port or a range "LOW-HIGH", got {show_value(value)}',
            "write a single port without quotes" if alone else 'for example 53 or "1024-65535"',
        )
    if not 0 <= low <= MAX_PORT or not 0 <= high <= MAX_PORT:
        raise Plain(
            f"ports go from 0 to {MAX_PORT}, got {show_value(value)}",
            'for example 53 or "1024-65535"',
        )
    if low > high:
        raise Plain(
            f"low <= high must hold in a range of ports, got {show_value(value)}",
            f'write "{high}-{low}"',
        )
    return low, high


def parse_tcp_flags(value: object) -> tuple[int, int]:
    """(mask, value) of a list of flags, ``"syn"`` set and ``"!ack"`` clear. Raises Plain."""
    cure = 'for example ["syn", "!ack"]'
    if not isinstance(value, list) or not value:
        raise Plain(f"must be a list of at least one flag, got {show_value(value)}", cure)
    mask = wanted = 0
    for word in value:
        name = word.removeprefix("!") if isinstance(word, str) else ""
        if name not in TCP_FLAGS:
            near = nearest(name, TCP_FLAGS)
            hint = f'did you mean "{near}"?' if near else cure
            raise Plain(f"must name flags of {', '.join(TCP_FLAGS)}, got {show_value(word)}", hint)
        if mask & TCP_FLAGS[name]:
            raise Plain(f'names flag "{name}" twice', "keep one of the two")
        mask |= TCP_FLAGS[name]
        wanted |= TCP_FLAGS[name] * (not word.startswith("!"))
    return mask, wanted
