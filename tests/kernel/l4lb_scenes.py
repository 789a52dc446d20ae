# SPDX-License-Identifier: GPL-2.0-only
"""Tables, changes and packets of the load balancer, and what the model says about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random
from typing import Any

from iridescent_xdp.functions.l4lb_flows import Flow
from iridescent_xdp.functions.l4lb_tables import (
    Backend,
    Change,
    DrainBackend,
    Encapsulation,
    L4lbTables,
    Protocol,
    RemoveBackend,
    RemoveService,
    Service,
    ServiceId,
    SetBackend,
    SetService,
    Settings,
    changed,
)
from tests.unit.l4lb_model import Balancer, FlowId, hash_of, ring_backend
from traffic.corpus_l4lb import flow_to, l4lb_corpus
from traffic.packet_build import Shape, frame

SYN = 0x02
SETTINGS = Settings(
    gateway_mac=bytes.fromhex("0200000000aa"),
    source_address4=IPv4Address("192.0.2.1"),
    source_address6=IPv6Address("2001:db8::1"),
    connections=16_384,
)


def service(
    address: str, port: int, protocol: Protocol, encapsulation: Encapsulation, backends: int
) -> Service:
    """A service with backends of weights 1, 2, 3, 1, ..., the last of which drains."""
    host = ip_address(address)
    network = int(ip_address("10.7.0.0" if host.version == 4 else "2001:db8:77::"))
    first = network + (int(host) & 15) * 256 + (port & 15) * 16 + 1
    return Service(
        id=ServiceId(address=host, port=port, protocol=protocol),
        encapsulation=encapsulation,
        backends=tuple(
            Backend(
                address=type(host)(first + n),
                weight=1 + n % 3,
                draining=n == backends - 1 and backends > 1,
            )
            for n in range(backends)
        ),
    )


MIXED = (
    service("203.0.113.1", 80, "tcp", "ipip", 4),
    service("203.0.113.1", 443, "tcp", "gue", 3),
    service("203.0.113.2", 53, "udp", "gue", 5),
    service("203.0.113.3", 53, "udp", "ipip", 1),
    service("2001:db8:f::1", 80, "tcp", "ipip", 3),
    service("2001:db8:f::1", 443, "udp", "gue", 4),
)
PLAIN = tuple(service(f"203.0.113.{n}", 80, "tcp", "ipip", 3) for n in range(1, 4))
TUNNELLED = (
    service("203.0.113.5", 5000, "tcp", "gue", 3),
    service("2001:db8:f::5", 5000, "tcp", "gue", 3),
)


def changes_for(services: Sequence[Service]) -> tuple[tuple[Change, ...], ...]:
    """Batches: drain and add, then remove and add, then a service goes and another changes."""
    first, second = services[0], services[1]
    host = first.id.address
    new = type(host)(int(host) ^ 0x4000)
    return (
        (
            DrainBackend(service=first.id, address=first.backends[0].address),
            SetBackend(service=first.id, backend=Backend(address=new, weight=2)),
            DrainBackend(service=second.id, address=second.backends[-1].address, draining=False),
        ),
        (
            RemoveBackend(service=first.id, address=first.backends[1].address),
            SetBackend(
                service=second.id, backend=Backend(address=second.backends[0].address, weight=7)
            ),
        ),
        (
            RemoveService(service=second.id),
            SetBackend(service=first.id, backend=first.backends[1]),
            SetService(service=service("203.0.113.9", 80, "tcp", first.encapsulation, 2)),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the load balancer is told, and under which policy."""

    services: tuple[Service, ...]
    policy: dict[str, Any] = field(default_factory=dict)
    flows: int = 400  # random ones, beside the corpus

    @property
    def tables(self) -> L4lbTables:
        return L4lbTables(services=self.services, settings=SETTINGS)


SCENES = {
    "mixed": Scene(services=MIXED),
    "hash": Scene(
        services=MIXED,
        policy={"fragments": "hash", "max_packet": 1400, "verify_ip_checksum": True},
    ),
    "plain": Scene(services=PLAIN, policy={"fragments": "pass"}),
    "tunnelled": Scene(services=TUNNELLED),
}


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Between two changes: packets, the model's answers, and what it holds afterwards."""

    changes: tuple[Change, ...]
    packets: tuple[tuple[str, bytes], ...]
    answers: tuple[tuple[int, bytes], ...]
    slots: dict[str, tuple[int, int]]
    backends: dict[tuple[ServiceId, Any], tuple[int, int]]
    connections: dict[FlowId, Any]
    hot: tuple[Flow, ...]  # flows that may be compiled in while these packets come


@cache
def phases(name: str) -> tuple[Phase, ...]:
    """The scene's whole sequence by the model."""
    scene = SCENES[name]
    model = Balancer(scene.tables, **scene.policy)
    found: list[Phase] = []
    for number, changes in enumerate(((), *changes_for(scene.services))):
        model.change(changed(model.tables, changes))
        hot = tuple(eligible(model))
        packets = tuple(packets_of(scene, model, number))
        answers = tuple(model.handle(data) for _, data in packets)
        found.append(
            Phase(
                changes=changes,
                packets=packets,
                answers=answers,
                slots={slot: (p, b) for slot, (p, b) in model.slots.items()},
                backends={pair: (p, b) for pair, (p, b) in model.backends.items()},
                connections=model.live(),
                hot=hot,
            )
        )
    return tuple(found)


def eligible(model: Balancer, most: int = 64) -> list[Flow]:
    """Flows of which table and ring say the same, as the observing program finds them."""
    found: list[Flow] = []
    for flow, backend in model.live().items():
        service = model.service(flow[1], flow[2] & 0xFFFF, flow[3])
        if service is None or flow[5]:
            continue
        place = (hash_of(flow[0], (flow[2] >> 16, flow[2] & 0xFFFF)) >> 32) * 65537 >> 32
        if ring_backend(service, place) == backend:
            found.append(Flow(source=flow[0], port=flow[2] >> 16, service=service.id))
    return found[:: max(1, len(found) // most)][:most]


def packets_of(scene: Scene, model: Balancer, number: int) -> list[tuple[str, bytes]]:
    """The corpus, which is alike each time, and random flows' packets, old and new ones."""
    packets = list(l4lb_corpus(scene.services, eligible(model, 8), seed=5))
    old, new, opening = Random(17), Random(100 + number), []
    for count, rng in ((scene.flows, old), (scene.flows // 4, new)):
        for place in range(count):
            flow = flow_to(scene.services[place % len(scene.services)].id, rng)
            shape = Shape(size_bytes=60 + 10 * (place % 5))
            packets.append((f"random-{number}-{place}", frame(flow, shape, place)))
            syn = frame(replace(flow, tcp_flags=SYN), shape, place)
            opening.append((f"again-{number}-{place}", syn))
    hot = [
        (f"hot-{place}", frame(flow_to(f.service, old, source=int(f.source), port=f.port), Shape()))
        for place, f in enumerate(eligible(model))
        for _ in range(3)
    ]
    return packets + opening[::3] + packets[-scene.flows :] + hot
