# SPDX-License-Identifier: GPL-2.0-only
"""The load balancer's corpus: flows to its services, what is near them, and what is broken.

Flows come as they would: a SYN, then segments, so that later packets meet what earlier ones left
in the connection table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from random import Random

from iridescent_xdp.functions import l4lb_flows
from iridescent_xdp.functions.l4lb_tables import Service, ServiceId
from traffic.corpus_crafted import crafted, stacks
from traffic.corpus_cut import mutations, truncations
from traffic.packet_build import (
    DESTINATION_MAC,
    ICMP_V4,
    ICMP_V6,
    MAX_FRAME_BYTES,
    MIN_FRAME_BYTES,
    SOURCE_MAC,
    TCP_ACK,
    Family,
    Flow,
    Shape,
    checksum,
    frame,
)

Named = tuple[str, bytes]
SERVICES = 16  # of the operator's that the corpus asks about
FLOWS = 3  # to each
MUTATED = 600
SYN, FIN = 0x02, 0x01
UNREACHABLE = {4: (3, 11, 12, 5, 4), 6: (1, 2, 3, 4, 100)}  # the last ones are no errors of ours
NUMBERS = {"tcp": 6, "udp": 17}
CUT = ("/0", "/options", "/first", "/error-3", "/error-1")  # what is cut at every length


def l4lb_corpus(
    services: Sequence[Service],
    hot: Sequence[l4lb_flows.Flow] = (),
    *,
    observed: Sequence[bytes] = (),
    seed: int = 0,
) -> Iterator[Named]:
    """The corpus for these services, reproducible by ``seed``."""
    random = Random(seed)
    ids = [s.id for s in services[:: max(1, -(-len(services) // SERVICES))]]
    flows = [flow_to(service, random) for service in ids for _ in range(FLOWS)]
    flows += [flow_to(f.service, random, source=int(f.source), port=f.port) for f in hot]
    mine = [named for number, flow in enumerate(flows) for named in conversation(flow, number)]
    mine += [named for flow in flows[: 8 * FLOWS] for named in beside(flow)]
    one_each = [
        (name, data)
        for flow in _one_of_each(flows)
        for name, data in conversation(flow, 0)
        if name.endswith(CUT)
    ]
    seen = [
        (f"observed-{number}", data)
        for number, data in enumerate(observed)
        if MIN_FRAME_BYTES <= len(data) <= MAX_FRAME_BYTES
    ]
    yield from mine
    yield from seen
    yield from truncations(one_each)
    yield from cut_errors(one_each)
    yield from islice(crafted(), 400)
    yield from stacks()
    yield from mutations((*mine, *stacks()), MUTATED, seed)
    yield from mutations(seen, MUTATED // 4 if seen else 0, seed)


def flow_to(
    service: ServiceId, random: Random, *, source: int | None = None, port: int | None = None
) -> Flow:
    """A client's flow."""
    six = service.address.version == 6
    client = random.randrange(1 << 24, 1 << 31)
    if six:
        client |= 0x20010DB8 << 96 | random.getrandbits(32) << 32
    return Flow(
        family=6 if six else 4,
        source=client if source is None else source,
        destination=int(service.address),
        protocol=NUMBERS[service.protocol],
        source_port=random.randint(1024, 65535) if port is None else port,
        destination_port=service.port,
    )


def _one_of_each(flows: Sequence[Flow]) -> list[Flow]:
    return list({(flow.family, flow.protocol): flow for flow in reversed(flows)}.values())


def conversation(flow: Flow, number: int) -> Iterator[Named]:
    """A flow's packets in order, an error about it among them."""
    name = f"flow-{number}"
    for step, flags in enumerate((SYN, TCP_ACK, TCP_ACK, SYN | TCP_ACK, SYN, FIN | TCP_ACK)):
        yield f"{name}/{step}", frame(_flags(flow, flags), Shape(size_bytes=60 + 20 * step), step)
    yield f"{name}/options", frame(flow, Shape(options_bytes=8, size_bytes=90), 7)
    yield f"{name}/tagged", frame(flow, Shape(tags=1), 8)
    yield f"{name}/first", frame(flow, Shape(fragment="first", size_bytes=200), 9)
    yield f"{name}/later", frame(flow, Shape(fragment="later", size_bytes=200), 9)
    head = MIN_FRAME_BYTES + 1500
    for size in (head - 49, head - 48, head - 40, head - 28, head - 27, head - 20, head - 19, head):
        yield f"{name}/size-{size}", frame(flow, Shape(size_bytes=size), 10)
    for kind in UNREACHABLE[flow.family]:
        yield f"{name}/error-{kind}", error_about(flow, kind)
    yield f"{name}/error-far", error_about(flow, UNREACHABLE[flow.family][0], inner_source=99)


def beside(flow: Flow) -> Iterator[Named]:
    """Pings, other ports, addresses, protocols and frames."""
    icmp = ICMP_V4 if flow.family == 4 else ICMP_V6
    ping = Flow(family=flow.family, source=flow.source, destination=flow.destination, protocol=icmp)
    for size in (60, 61, 98, 1514):
        yield f"ping-{size}", frame(ping, Shape(size_bytes=size), size)
    yield "ping-options", frame(ping, Shape(options_bytes=8, size_bytes=90))
    yield "ping-fragment", frame(ping, Shape(fragment="first", size_bytes=90))
    yield "ping-other", frame(_changed(ping, destination=flow.destination ^ 5), Shape())
    reply = bytearray(frame(ping, Shape()))
    reply[MIN_FRAME_BYTES + (20 if flow.family == 4 else 40)] ^= 1 if flow.family == 6 else 8
    yield "ping-reply", bytes(reply)
    for changes in (
        {"destination_port": flow.destination_port ^ 1}, {"destination_port": 0},
        {"destination": flow.destination ^ 1}, {"protocol": 23 - flow.protocol},
        {"protocol": 132}, {"protocol": 47}, {"source_port": flow.source_port ^ 1},
    ):  # fmt: skip
        yield f"beside-{next(iter(changes))}", frame(_changed(flow, **changes), Shape())
    stray = _changed(flow, source_port=flow.source_port ^ 0x55)
    yield "beside-error", error_about(stray, UNREACHABLE[flow.family][0])  # of a flow never seen
    for name, mac in (("broadcast", b"\xff" * 6), ("multicast", b"\x01\0\x5e\0\0\1")):
        yield name, mac + frame(flow, Shape())[6:]


def _flags(flow: Flow, flags: int) -> Flow:
    return _changed(flow, tcp_flags=flags)


def _changed(flow: Flow, **changes: int) -> Flow:
    return replace(flow, **changes)  # type: ignore[arg-type]  # mypy takes family for one


def error_about(flow: Flow, kind: int, *, inner_source: int = 0, inner_bytes: int = 28) -> bytes:
    """An ICMP error of a router about a packet from the service to the flow's client."""
    back = Flow(
        family=flow.family,
        source=flow.destination ^ inner_source,
        destination=flow.source,
        protocol=flow.protocol,
        source_port=flow.destination_port,
        destination_port=flow.source_port,
    )
    extra = 0 if flow.family == 4 else 20
    inner = frame(back, Shape(size_bytes=200))[MIN_FRAME_BYTES:][: inner_bytes + extra]
    body = struct.pack("!BBHI", kind, 1, 0, 0) + inner
    router = flow.source ^ 0x0F0F
    head = _ip_head(flow.family, router, flow.destination, len(body))
    total = int.from_bytes(body) << (8 if len(body) % 2 else 0)
    if flow.family == 6:
        total += router + flow.destination + ICMP_V6 + len(body)
    body = body[:2] + struct.pack("!H", checksum(total)) + body[4:]
    macs = bytes.fromhex((DESTINATION_MAC + SOURCE_MAC).replace(":", ""))
    return macs + (b"\x08\x00" if flow.family == 4 else b"\x86\xdd") + head + body


def _ip_head(family: Family, source: int, destination: int, payload: int) -> bytes:
    if family == 6:
        fixed = struct.pack("!IHBB", 6 << 28 | 0x5A << 20, payload, ICMP_V6, 61)
        return fixed + source.to_bytes(16) + destination.to_bytes(16)
    fixed = struct.pack("!BBHHHBBH", 0x45, 0xB8, payload + 20, 1, 0, 61, ICMP_V4, 0)
    head = fixed + source.to_bytes(4) + destination.to_bytes(4)
    return head[:10] + struct.pack("!H", checksum(int.from_bytes(head))) + head[12:]


def cut_errors(packets: Sequence[Named]) -> Iterator[Named]:
    """ICMP errors cut at every length, when the IP header tells so (and when it does not, see
    ``truncations``)."""
    for name, data in packets:
        if "/error-" not in name:
            continue
        for length in range(MIN_FRAME_BYTES + 20, len(data)):
            yield f"{name}/told-{length}", _told(data[:length])


def _told(data: bytes) -> bytes:
    """The frame with the IP length that it has."""
    size, four = len(data) - MIN_FRAME_BYTES, data[12] == 8
    if four:
        head = bytearray(data[MIN_FRAME_BYTES:][:20])
        head[2:4], head[10:12] = struct.pack("!H", size), b"\0\0"
        head[10:12] = struct.pack("!H", checksum(int.from_bytes(head)))
        return data[:MIN_FRAME_BYTES] + bytes(head) + data[MIN_FRAME_BYTES + 20 :]
    at = MIN_FRAME_BYTES + 4
    return data[:at] + struct.pack("!H", max(0, size - 40)) + data[at + 2 :]
