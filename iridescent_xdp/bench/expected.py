# SPDX-License-Identifier: GPL-2.0-only
"""Where a packet of the suites has to be counted, said in Python.

Independent of the C code and of the code that builds packets: addresses are compared by
``ipaddress``. Only what the suites send is understood: Ethernet with up to two tags, IPv4 and
IPv6 without extension headers, whole TCP, UDP and ICMP, and later fragments of IPv4.
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
    at += 2
    if kind == 0x0800:
        first, fragment, protocol = struct.unpack_from("!B5xHxB", frame, at)
        addresses, width, end = at + 12, 4, at + (first & 15) * 4
        later = bool(fragment & 0x1FFF)
    elif kind == 0x86DD:
        protocol = frame[at + 6]
        addresses, width, end = at + 8, 16, at + 40
        later = False
    else:
        raise _unexpected(frame)
    if protocol not in (TCP, UDP, *_ICMP):
        raise _unexpected(frame)
    has_ports = protocol in (TCP, UDP) and not later
    return _Seen(
        source=ip_address(frame[addresses : addresses + width]),
        destination=ip_address(frame[addresses + width : addresses + 2 * width]),
        protocol=protocol,
        ports=struct.unpack_from("!HH", frame, end) if has_ports else None,
        tcp_flags=frame[end + 13] if has_ports and protocol == TCP else None,
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
