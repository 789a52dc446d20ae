# SPDX-License-Identifier: GPL-2.0-only
"""Where a packet of the suites has to be counted, said in Python.

Independent of the C code and of the code that builds packets: addresses are compared by
``ipaddress``. Only what the suites send is understood: Ethernet with up to two tags, IPv4 with
options, IPv6 with a hop-by-hop and a fragment header; TCP, UDP and ICMP.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.functions.rules import TCP, UDP, Rule

DEFAULT_SLOT = 1024  # SLOT_DEFAULT of bpf/include/filter_tables.h
_TAGS = (0x8100, 0x88A8)
_ICMP = (1, 58)
_HOP_BY_HOP, _FRAGMENT = 0, 44


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What rules ask about; ``ports`` is None in a later fragment and for ICMP."""

    source: IPv4Address | IPv6Address
    destination: IPv4Address | IPv6Address
    protocol: int
    ports: tuple[int, int] | None
    tcp_flags: int | None


def expected_slot(rules: Sequence[Rule], frame: bytes) -> int:
    """The first rule that matches, or DEFAULT_SLOT.

    Raises MeasurementError for a frame that the suites do not send.
    """
    seen = _look(frame)
    for number, rule in enumerate(rules):
        if _matches(rule, seen):
            return number
    return DEFAULT_SLOT


def _look(frame: bytes) -> _Seen:
    at = 12
    (kind,) = struct.unpack_from("!H", frame, at)
    while kind in _TAGS:
        at += 4
        (kind,) = struct.unpack_from("!H", frame, at)
    if kind == 0x0800:
        return _look_ipv4(frame, at + 2)
    if kind == 0x86DD:
        return _look_ipv6(frame, at + 2)
    raise _unexpected(frame)


def _look_ipv4(frame: bytes, at: int) -> _Seen:
    first, fragment, protocol = struct.unpack_from("!B5xHxB", frame, at)
    source, destination = frame[at + 12 : at + 16], frame[at + 16 : at + 20]
    later = bool(fragment & 0x1FFF)
    return _seen(frame, source, destination, protocol, None if later else at + (first & 15) * 4)


def _look_ipv6(frame: bytes, at: int) -> _Seen:
    source, destination = frame[at + 8 : at + 24], frame[at + 24 : at + 40]
    protocol, end, later = frame[at + 6], at + 40, False
    if protocol == _HOP_BY_HOP:
        protocol, end = frame[end], end + (frame[end + 1] + 1) * 8
    if protocol == _FRAGMENT:
        later = struct.unpack_from("!H", frame, end + 2)[0] >> 3 != 0
        protocol, end = frame[end], end + 8
    return _seen(frame, source, destination, protocol, None if later else end)


def _seen(
    frame: bytes, source: bytes, destination: bytes, protocol: int, transport: int | None
) -> _Seen:
    """``transport`` is where the ports would be; None in a later fragment."""
    if protocol not in (TCP, UDP, *_ICMP):
        raise _unexpected(frame)
    if protocol in _ICMP:
        transport = None
    return _Seen(
        source=ip_address(source),
        destination=ip_address(destination),
        protocol=protocol,
        ports=None if transport is None else struct.unpack_from("!HH", frame, transport),
        tcp_flags=None if transport is None or protocol != TCP else frame[transport + 13],
    )


def _unexpected(frame: bytes) -> MeasurementError:
    return MeasurementError(f"a frame that no suite sends: {frame.hex()}")


def _matches(rule: Rule, seen: _Seen) -> bool:
    for network, address in ((rule.source, seen.source), (rule.destination, seen.destination)):
        if network is not None and address not in network:
            return False
    if rule.protocol is not None and rule.protocol != seen.protocol:
        return False
    if rule.tcp_flags is not None:
        mask, value = rule.tcp_flags
        if seen.tcp_flags is None or seen.tcp_flags & mask != value:
            return False
    for side, asked in enumerate((rule.source_ports, rule.destination_ports)):
        if asked is not None and not (seen.ports and asked[0] <= seen.ports[side] <= asked[1]):
            return False
    return True
