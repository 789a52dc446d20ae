# SPDX-License-Identifier: GPL-2.0-only
"""What the load balancer has to do with a frame, said again from docs/l4lb.md and the papers.

An independent model with ``struct`` and ``ipaddress``: it shares nothing with the template, and
of the package only the inert types that tests fill tables with.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from ipaddress import ip_address

from iridescent_xdp.functions.l4lb_tables import Address, L4lbTables, Service, ServiceId
from tests.unit.l4lb_packet_model import (
    DROP,
    FOREIGN,
    MALFORMED,
    PASS,
    TX,
    Decided,
    Ip,
    echo_reply,
    ones_sum,
    parse_ip4,
    parse_ip6,
)

TCP, UDP = 6, 17
NAMES = {TCP: "tcp", UDP: "udp"}
RING = 65537
MASK = 2**64 - 1
FlowId = tuple[Address, Address, int, int, int, bool]  # source, destination, ports, protocol, wide


@cache
def paper_ring(backends: tuple[tuple[str, int], ...]) -> list[int]:
    """Pseudocode 1 of the Maglev paper; ``backends`` are (name, weight)."""
    starts = []
    for name, _ in backends:
        digest = blake2b(name.encode(), digest_size=16).digest()
        high, low = struct.unpack("!QQ", digest)
        starts.append((high % RING, low % (RING - 1) + 1))
    heaviest = max(weight for _, weight in backends)
    entry: list[int] = [-1] * RING
    following = [0] * len(backends)
    filled, number = 0, 0
    while True:
        number += 1
        for i, (offset, skip) in enumerate(starts):
            weight = backends[i][1]
            if number * weight // heaviest == (number - 1) * weight // heaviest:
                continue
            place = (offset + following[i] * skip) % RING
            while entry[place] >= 0:
                following[i] += 1
                place = (offset + following[i] * skip) % RING
            entry[place] = i
            following[i] += 1
            filled += 1
            if filled == RING:
                return entry


def ring_backend(service: Service, place: int) -> Address:
    """Who has a place of the service's ring; backends take turns in the order of their names."""
    active = {str(b.address): b.weight for b in service.backends if b.weight and not b.draining}
    names = tuple(sorted(active.items()))
    return ip_address(names[paper_ring(names)[place]][0])


def scrambled(x: int) -> int:
    """Multiply, fold, multiply, fold: as docs/l4lb.md has it."""
    for factor in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9):
        x = x * factor & MASK
        x ^= x >> 32
    return x


def hash_of(source: Address, ports: tuple[int, int]) -> int:
    both = ports[0] << 16 | ports[1]
    if source.version == 4:
        return scrambled(int(source) << 32 | both)
    high, low = divmod(int(source), 2**64)
    return scrambled(scrambled(scrambled(high) + low & MASK) ^ both)


@dataclass
class Balancer:
    """The load balancer with its state; ``tables`` may be replaced by ``change``.

    A connection holds a backend's address and its incarnation, which changes when the backend is
    removed and added again.
    """

    tables: L4lbTables
    fragments: str = "drop"
    max_packet: int = 1500
    verify_ip_checksum: bool = False
    connections: dict[FlowId, tuple[Address, int]] = field(default_factory=dict)
    slots: dict[str, list[int]] = field(default_factory=dict)
    backends: dict[tuple[ServiceId, Address], list[int]] = field(default_factory=dict)
    incarnations: dict[tuple[ServiceId, Address], int] = field(default_factory=dict)
    born: int = 0

    def __post_init__(self) -> None:
        self.change(self.tables)

    def change(self, tables: L4lbTables) -> None:
        """New tables: what is new gets an incarnation, what is gone loses it."""
        pairs = [(s.id, b.address) for s in tables.services for b in s.backends]
        for pair in pairs:
            self.born += pair not in self.incarnations
            self.incarnations.setdefault(pair, self.born)
        self.incarnations = {pair: self.incarnations[pair] for pair in pairs}
        self.backends = {p: n for p, n in self.backends.items() if p in self.incarnations}
        self.tables = tables

    def live(self) -> dict[FlowId, Address]:
        """The connections that count."""
        found = {}
        for flow, (address, incarnation) in self.connections.items():
            service = service_by(flow, self)
            if service and self.incarnations.get((service.id, address)) == incarnation:
                found[flow] = address
        return found

    def handle(self, frame: bytes) -> tuple[int, bytes]:
        """Verdict and the frame afterwards; state and counters change as they must."""
        try:
            service, backend, out = self._balanced(frame)
        except Decided as decided:
            count(self.slots.setdefault(decided.slot, [0, 0]), frame)
            return decided.verdict, decided.frame or frame
        count(self.backends.setdefault((service.id, backend), [0, 0]), frame)
        return TX, out

    def service(self, address: Address, port: int, protocol: int) -> Service | None:
        for service in self.tables.services:
            key = service.id
            if (key.address, key.port, key.protocol) == (address, port, NAMES.get(protocol)):
                return service
        return None

    def wide_service(self, address: Address, protocol: int) -> Service | None:
        """For fragments: the service of the lowest port."""
        ports = [s.id.port for s in self.tables.services if s.id.address == address and
                 s.id.protocol == NAMES.get(protocol)]  # fmt: skip
        return self.service(address, min(ports), protocol) if ports else None

    def serves(self, address: Address) -> bool:
        return any(service.id.address == address for service in self.tables.services)

    def _balanced(self, frame: bytes) -> tuple[Service, Address, bytes]:
        if frame[0] & 1:
            raise Decided("broadcast or multicast frame", PASS)
        kind = frame[12:14]
        if kind not in (b"\x08\x00", b"\x86\xdd"):
            raise Decided("not IP", PASS)
        ip = parse_ip4(frame[14:]) if kind == b"\x08\x00" else parse_ip6(frame[14:])
        checks = self.verify_ip_checksum and kind == b"\x08\x00"
        if checks and ones_sum(ip.whole[: (ip.whole[0] & 15) * 4]) != 0xFFFF:
            raise Decided("wrong IP checksum", DROP)
        flow, opens, learns = self._flow(frame, ip)
        service = service_by(flow, self)
        if service is None:
            raise Decided(*FOREIGN)
        outer = outer_bytes(service)
        if len(ip.whole) + outer > self.max_packet:
            raise Decided("too big", PASS)
        hashed = hash_of(flow[0], (flow[2] >> 16, flow[2] & 0xFFFF))
        backend = self._choice(service, flow, hashed, opens=opens, learns=learns)
        port = 0xC000 | hashed & 0x3FFF
        return service, backend, self._encapsulated(frame, ip, service, backend, port)

    def _flow(self, frame: bytes, ip: Ip) -> tuple[FlowId, bool, bool]:
        """The flow, whether the packet opens one, and whether it is to be remembered."""
        icmp = 1 if ip.source.version == 4 else 58
        if ip.fragment:
            if not self._is_wide(ip, icmp):
                raise Decided(*FOREIGN)
            if self.fragments != "hash" or ip.protocol not in NAMES:
                raise Decided("fragment", PASS if self.fragments == "pass" else DROP)
            return (ip.source, ip.destination, 0, ip.protocol, 0, True), False, True
        if ip.protocol == icmp:
            return self._error(frame, ip), False, False
        if ip.protocol not in NAMES:
            raise Decided(*FOREIGN)
        if len(ip.payload) < (20 if ip.protocol == TCP else 8):
            raise Decided(*MALFORMED)
        (ports,) = struct.unpack_from("!I", ip.payload)
        opens = ip.protocol == TCP and ip.payload[13] & 0x12 == 0x02
        return (ip.source, ip.destination, ports, ip.protocol, 0, False), opens, True

    def _is_wide(self, ip: Ip, icmp: int) -> bool:
        if ip.protocol == icmp:
            return self.serves(ip.destination)
        return self.wide_service(ip.destination, ip.protocol) is not None

    def _error(self, frame: bytes, ip: Ip) -> FlowId:
        six = ip.source.version == 6
        if not self.serves(ip.destination):
            raise Decided(*FOREIGN)
        if len(ip.payload) < 8:
            raise Decided(*MALFORMED)
        if ip.payload[:2] == (b"\x80\x00" if six else b"\x08\x00"):
            raise Decided("echo answered", TX, echo_reply(frame, ip))
        if ip.payload[0] not in ((1, 2, 3, 4) if six else (3, 11, 12)):
            raise Decided(*FOREIGN)
        about = (parse_ip6 if six else parse_ip4)(ip.payload[8:], exact=False)
        if about.protocol not in NAMES or about.later:
            raise Decided(*FOREIGN)
        if len(about.payload) < 4:
            raise Decided(*MALFORMED)
        if about.source != ip.destination:
            raise Decided(*FOREIGN)
        mine, theirs = struct.unpack_from("!HH", about.payload)
        return about.destination, about.source, theirs << 16 | mine, about.protocol, 0, False

    def _choice(
        self, service: Service, flow: FlowId, hashed: int, *, opens: bool, learns: bool
    ) -> Address:
        known = None if opens else self.connections.get(flow)
        if known and self.incarnations.get((service.id, known[0])) == known[1]:
            return known[0]
        chosen = ring_backend(service, (hashed >> 32) * RING // 2**32)
        if learns:
            self.connections[flow] = chosen, self.incarnations[service.id, chosen]
        return chosen

    def _encapsulated(
        self, frame: bytes, ip: Ip, service: Service, backend: Address, port: int
    ) -> bytes:
        settings, inner = self.tables.settings, len(ip.whole)
        link = settings.gateway_mac + frame[:6] + frame[12:14]
        gue = service.encapsulation == "gue"
        udp = struct.pack("!HHHH", port, 6080, inner + 8, 0) if gue else b""
        if backend.version == 6:
            assert settings.source_address6 is not None
            fixed = struct.pack("!HBB", inner + len(udp), UDP if gue else 41, 64)
            head = ip.whole[:4] + fixed + settings.source_address6.packed + backend.packed
            return link + head + udp + frame[14:]
        assert settings.source_address4 is not None
        total, protocol = 20 + len(udp) + inner, UDP if gue else 4
        head = struct.pack("!BBHHHBBH", 0x45, ip.whole[1], total, 0, 0x4000, 64, protocol, 0)
        head += settings.source_address4.packed + backend.packed
        head = head[:10] + struct.pack("!H", 0xFFFF - ones_sum(head)) + head[12:]
        return link + head + udp + frame[14:]


def service_by(flow: FlowId, model: Balancer) -> Service | None:
    if flow[5]:
        return model.wide_service(flow[1], flow[3])
    return model.service(flow[1], flow[2] & 0xFFFF, flow[3])


def outer_bytes(service: Service) -> int:
    return (20 if service.id.address.version == 4 else 40) + 8 * (service.encapsulation == "gue")


def count(hits: list[int], frame: bytes) -> None:
    hits[0] += 1
    hits[1] += len(frame)
