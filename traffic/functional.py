# SPDX-License-Identifier: GPL-2.0-only
"""Functional streams: packets whose fate is known, sent one after the other, each fate checked.

A case says what becomes of a packet: dropped, to the kernel's stack, forwarded out of another
interface, or answered, and with which bytes. All ports are heard in the meantime; what nobody
expected is reported, too. Packets and answers are written with scapy, so that the expected bytes
do not come from the code under test.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from iridescent_xdp.errors import TrafficError
from traffic.functional_ports import STACK, WIRE, Ports, Seen
from traffic.mix_stream import Stream
from traffic.packet_build import MIN_FRAME_BYTES
from traffic.pcap import write_pcap

Fate = Literal["dropped", "stack", "forwarded", "answered"]
PATIENCE_S = 5.0  # until everything that is expected is there
QUIET_S = 0.2  # and then, for what is not expected


@dataclass(frozen=True, kw_only=True)
class Case:
    """One packet and its fate; ``port`` and ``frame`` say where what arrives, None: nothing.

    Made by ``dropped``, ``to_stack``, ``forwarded`` and ``answered``.
    """

    description: str
    packet: bytes
    fate: Fate
    port: str | None = None
    frame: bytes | None = None


class _Arrival(NamedTuple):
    port: str | None
    frame: bytes | None


def dropped(description: str, packet: Packet | bytes) -> Case:
    """The packet arrives nowhere."""
    return Case(description=description, packet=bytes(packet), fate="dropped")


def to_stack(description: str, packet: Packet | bytes) -> Case:
    """The packet arrives at the kernel's stack, as it was sent."""
    sent = bytes(packet)
    return Case(description=description, packet=sent, fate="stack", port=STACK, frame=sent)


def forwarded(description: str, packet: Packet | bytes, port: str, frame: Packet | bytes) -> Case:
    """The packet leaves by another interface, whose far end ``port`` sees ``frame``."""
    return Case(
        description=description,
        packet=bytes(packet),
        fate="forwarded",
        port=port,
        frame=bytes(frame),
    )


def answered(description: str, packet: Packet | bytes, frame: Packet | bytes) -> Case:
    """``frame`` comes back to the sender."""
    return Case(
        description=description,
        packet=bytes(packet),
        fate="answered",
        port=WIRE,
        frame=bytes(frame),
    )


@dataclass(frozen=True, kw_only=True)
class StreamReport:
    """What came of a stream: ``problems`` is empty when every packet met its fate and no other.

    ``captured`` has all frames that were heard, in the order in which they were; the frames sent
    are there as port "sent".
    """

    cases: int
    problems: tuple[str, ...]
    captured: tuple[Seen, ...] = field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether everything was as expected."""
        return not self.problems

    def require(self) -> None:
        """Raise TrafficError with all problems, one in each line, unless there are none."""
        if self.problems:
            count = f"{len(self.problems)} problems with {self.cases} packets"
            raise TrafficError("\n  ".join((count, *self.problems)))

    def save(self, path: Path) -> None:
        """Everything that was sent and heard, as a pcap with its timing."""
        kept = [seen for seen in self.captured if len(seen.data) >= MIN_FRAME_BYTES]
        if not kept:
            return
        times = np.array([seen.time_ns for seen in kept], dtype=np.int64)
        gaps_ns = np.diff(times, prepend=times[0])
        numbers = np.arange(len(kept), dtype=np.uint32)
        packets = tuple(seen.data for seen in kept)
        write_pcap(path, Stream(name=path.name, packets=packets, sequence=numbers), gaps_ns=gaps_ns)


def run_stream(
    cases: Sequence[Case],
    ports: Ports,
    *,
    patience_s: float = PATIENCE_S,
    quiet_s: float = QUIET_S,
) -> StreamReport:
    """Send all cases in order and check where everything arrived.

    What is expected has ``patience_s`` seconds to arrive, what is not is waited for ``quiet_s``
    longer. Raises TrafficError when two cases send the same bytes, or a port is not there.
    """
    _check(cases, ports)
    ports.hear(0.0)  # what came before is nobody's
    for port in ports.all:
        port.lost()
    captured: list[Seen] = []
    for case in cases:
        captured.append(Seen("sent", time.monotonic_ns(), case.packet))
        ports.wire.send(case.packet)
        captured += ports.hear(0.0)
    expected = Counter(_Arrival(case.port, case.frame) for case in cases if case.port)
    deadline = time.monotonic() + patience_s
    while expected - _arrived(captured) and time.monotonic() < deadline:
        captured += ports.hear(deadline - time.monotonic())
    until = time.monotonic() + quiet_s
    while time.monotonic() < until:
        captured += ports.hear(until - time.monotonic())
    captured.sort(key=lambda seen: seen.time_ns)
    heard = [seen for seen in captured if seen.port != "sent"]
    problems = _problems(cases, heard)
    lost = [(port.name, port.lost()) for port in ports.all]
    problems += [f"the capture at '{name}' lost {count} frames" for name, count in lost if count]
    return StreamReport(cases=len(cases), problems=tuple(problems), captured=tuple(captured))


def _check(cases: Sequence[Case], ports: Ports) -> None:
    names = {port.name for port in ports.all}
    sent: dict[bytes, Case] = {}
    for case in cases:
        first = sent.setdefault(case.packet, case)
        if first is not case:
            raise TrafficError(
                f"'{first.description}' and '{case.description}' send the same bytes",
                cure="give each packet an IP id or port of its own, so that fates are told apart",
            )
        if case.port is not None and case.port not in names:
            raise TrafficError(f"'{case.description}': there is no port '{case.port}'")


def _arrived(captured: Iterable[Seen]) -> Counter[_Arrival]:
    return Counter(_Arrival(seen.port, seen.data) for seen in captured)


def _problems(cases: Sequence[Case], heard: Sequence[Seen]) -> list[str]:
    """Every case that did not meet its fate, and every frame that no case explains."""
    left = list(heard)
    missing: list[Case] = []
    for case in cases:
        found = next((s for s in left if (s.port, s.data) == (case.port, case.frame)), None)
        if found is not None:
            left.remove(found)
        elif case.port is not None:
            missing.append(case)
    found_problems = [_missing(case, left) for case in missing]
    sent = {case.packet: case for case in cases}
    return found_problems + [_extra(seen, sent.get(seen.data)) for seen in left]


def _missing(case: Case, left: list[Seen]) -> str:
    """Why a case has not met its fate; the frame that explains it is taken out of ``left``."""
    assert case.frame is not None
    what = f"'{case.description}': {case.fate}, but"
    alike = [s for s in left if s.port == case.port and _alike(s.data, case.frame)]
    if alike:
        nearest = min(alike, key=lambda s: _differing(s.data, case.frame or b""))
        left.remove(nearest)
        return f"{what} {_difference(nearest.data, case.frame)}"
    elsewhere = next((s for s in left if s.data in (case.packet, case.frame)), None)
    if elsewhere is not None:
        left.remove(elsewhere)
        return f"{what} it arrived at '{elsewhere.port}' as {_shown(elsewhere.data)}"
    return f"{what} nothing of it arrived at '{case.port}'; sent {_shown(case.packet)}"


def _extra(seen: Seen, case: Case | None) -> str:
    if case is not None:
        return f"'{case.description}': {case.fate}, but it arrived at '{seen.port}'"
    return f"nobody expected at '{seen.port}': {_shown(seen.data)}"


def _alike(one: bytes, other: bytes) -> bool:
    """Whether one frame can be meant to be the other: most of its bytes are the same."""
    return _differing(one, other) * 2 < max(len(one), len(other))


def _differing(one: bytes, other: bytes) -> int:
    return sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))


def _difference(got: bytes, wanted: bytes) -> str:
    if len(got) != len(wanted):
        return f"{len(got)} bytes arrived instead of {len(wanted)}: {_shown(got)}"
    places = [place for place, (a, b) in enumerate(zip(got, wanted, strict=True)) if a != b]
    first = places[0]
    return (
        f"{len(places)} bytes differ, the first at {first}: {got[first : first + 8].hex()} "
        f"instead of {wanted[first : first + 8].hex()} in {_shown(got)}"
    )


def _shown(data: bytes) -> str:
    return f"{Ether(data).summary()} ({data[:64].hex()})"
