# SPDX-License-Identifier: GPL-2.0-only
"""Sensors on a testbed, and what they ought to see."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from iridescent_xdp.adapt.sensor import Sensor
from iridescent_xdp.adapt.signature import Signature
from iridescent_xdp.builder import Builder
from iridescent_xdp.controller import Controller
from iridescent_xdp.toolchain.base import Role
from tests.kernel.fixtures import TABLES, wait_until
from tests.kernel.live import Events, operated, plan_for
from tests.unit.packet_model import classify
from traffic.mix_stream import Stream, expected_counts
from traffic.testbed import Testbed, inside

NO_VALUES: Mapping[str, int] = {}


@contextmanager
def sensed(
    bed: Testbed,
    builder: Builder,
    events: Events | None = None,
    *,
    wait: Callable[[float], object] = time.sleep,
    values: Mapping[str, int] = NO_VALUES,
) -> Iterator[tuple[Controller, Sensor]]:
    """A controller whose live variant has ``values``, and a sensor on it."""
    with operated(bed, builder, plan_for(), events) as controller:
        variant = controller.plan.generic.with_values(**values)
        if values:
            code = builder.variant(controller.plan.function, variant, Role.STEADY)
            controller.swap(variant, code, reason="a test")
        with inside(bed.dut):
            sensor = Sensor(controller, wait=wait)
        with sensor:
            yield controller, sensor


def standing(controller: Controller) -> tuple[int, ...]:
    """What the link and the slots hold, as the kernel says."""
    board = controller.board
    return (board.link.info.prog_id, *(board.holds(slot) for slot in range(64)))


def looked(sensor: Sensor, packets: int) -> Signature:
    """The signature of at least so many sampled packets."""
    found = Signature()

    def enough() -> bool:
        nonlocal found
        found += sensor.sense().signature
        return found.packets >= packets

    wait_until(enough, f"{packets} sampled packets", seconds=60.0)
    return found


def known(stream: Stream) -> dict[str, Counter[str]]:
    """Packets of one round of the stream by group and category, as scapy reads them."""
    found: dict[str, Counter[str]] = {
        name: Counter() for name in ("family", "transport", "tags", "size", "opening", "verdict")
    }
    times = expected_counts(stream, 0, len(stream.sequence))
    for data, count in zip(stream.packets, times, strict=True):
        packet, n = Ether(data), int(count)
        family = "ipv4" if IP in packet else "ipv6" if IPv6 in packet else "other"
        found["family"]["arp" if ARP in packet else family] += n
        tags, inner = 0, packet.payload
        while isinstance(inner, Dot1Q):
            tags, inner = tags + 1, inner.payload
        found["tags"][("untagged", "one tag", "two tags")[tags]] += n
        number = packet[IP].proto if IP in packet else packet[IPv6].nh if IPv6 in packet else -1
        transport = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp"}.get(number, "other")
        found["transport"][transport] += n
        opens = TCP in packet and packet[TCP].flags.S and not packet[TCP].flags.A
        found["opening"]["opens" if opens else "other"] += n
        limit = next((s for s in (64, 128, 256, 512, 1024, 1514) if len(data) <= s), 0)
        found["size"][f"to {limit}" if limit else "larger"] += n
        _, verdict = classify(
            data, TABLES.rules, allow=TABLES.allow, deny=TABLES.deny, default_action="drop"
        )
        found["verdict"][verdict] += n
    return found
