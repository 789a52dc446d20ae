# SPDX-License-Identifier: GPL-2.0-only
"""Under load each packet is counted exactly once, in its own slot, whatever is swapped."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from random import Random

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.controller import STEADY_ARM, Controller
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.fixtures import TABLES, counted, packets_per_slot, per_cpu_sum, wait_until
from tests.kernel.live import generator, operated, plan_for, stream_of, udp
from tests.unit.packet_model import classify
from traffic.generator import Generator
from traffic.mix_stream import Stream, expected_counts
from traffic.testbed import GENERATOR_SIDE, Testbed, inside

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

PRIME = 1_000_003
SWAPS = 200
# one frame for each of rules 1, 2 (tagged) and 6, the default, the deny set, and not IP
FRAMES = (
    udp("10.1.2.3", 9),
    udp("172.16.0.1", 53, tags=1),
    udp("172.16.0.1", 9, to="192.0.2.7"),
    udp("172.16.0.1", 9),
    udp("198.51.100.7", 9, tags=2),
    bytes.fromhex("02000000000102000000000288cc") + bytes(100),
)
TAGGED = (1, 4)
SHARES = (5, 3, 1, 7, 2, 1)


def load() -> Stream:
    order = [place for place, share in enumerate(SHARES) for _ in range(share)]
    Random(1).shuffle(order)
    return stream_of(FRAMES, order)


def wanted(stream: Stream, sent: int) -> dict[int, tuple[int, int]]:
    """Packets and bytes by slot, from the packet model."""
    totals: dict[int, tuple[int, int]] = {}
    for data, times in zip(stream.packets, expected_counts(stream, 0, sent), strict=True):
        slot, _ = classify(
            data, TABLES.rules, allow=TABLES.allow, deny=TABLES.deny, default_action="drop"
        )
        packets, size = totals.get(slot, (0, 0))
        totals[slot] = (packets + int(times), size + int(times) * len(data))
    return totals


def settled(controller: Controller, sent: int) -> dict[int, tuple[int, int]]:
    """What was counted, once all that was sent has arrived."""
    wait_until(
        lambda: sum(packets_per_slot(controller.state).values()) >= sent,
        f"{sent} packets counted",
    )
    seen = counted(controller.state)
    assert sum(packets for packets, _ in seen.verdicts.values()) == sent
    return seen.slots


def specialized(controller: Controller) -> list[Variant]:
    generic = controller.plan.generic
    narrow = generic.with_values(ipv6=0, no_ip_options=1, no_fragments=1, only_protocol=17)
    return [
        generic,
        narrow.with_values(rule_layout=2, vlan_depth=0),
        narrow.with_values(rule_layout=1, counter_batch=2),
        narrow.with_values(rule_layout=2, vlan_depth=1, counter_batch=1, set_layout=0),
    ]


def programs(controller: Controller, variants: Sequence[Variant]) -> dict[Variant, bytes]:
    function = controller.plan.function
    return {v: controller.builder.variant(function, v, Role.STEADY) for v in variants}


def test_a_prime_load_is_counted_exactly(bed: Testbed, builder: Builder) -> None:
    stream = load()
    with (
        operated(bed, builder, plan_for()) as controller,
        generator(bed, builder, stream) as source,
    ):
        source.send(PRIME)
        assert source.sent == PRIME
        assert settled(controller, PRIME) == wanted(stream, PRIME)
        assert controller.board.link.mode == "native"


def test_swaps_under_load_lose_nothing(bed: Testbed, builder: Builder) -> None:
    stream = load()
    with (
        operated(bed, builder, plan_for()) as controller,
        generator(bed, builder, stream) as source,
    ):
        variants = specialized(controller)
        code = programs(controller, variants)
        source.start()
        wait_until(lambda: packets_per_slot(controller.state), "traffic")
        for number in range(SWAPS):
            variant = variants[number % len(variants)]
            assert controller.swap(variant, code[variant], reason="test").key == variant.key
        sent = source.stop()
        assert settled(controller, sent) == wanted(stream, sent)
        seen = {place for place, times in enumerate(expected_counts(stream, 0, sent)) if times}
        assert len(seen) == len(FRAMES) and sent > 10 * SWAPS


def test_missed_guards_are_counted_and_packets_decided(bed: Testbed, builder: Builder) -> None:
    """Tagged packets keep coming while the live variant takes them not to."""
    stream = load()
    with (
        operated(bed, builder, plan_for()) as controller,
        generator(bed, builder, stream) as source,
    ):
        (variant,) = specialized(controller)[1:2]
        controller.swap(variant, programs(controller, [variant])[variant], reason="test")
        source.send(PRIME)
        assert settled(controller, PRIME) == wanted(stream, PRIME)
        times = expected_counts(stream, 0, PRIME)
        missed = misses(controller, "vlan_depth")
        assert missed == sum(int(times[place]) for place in TAGGED)
        everything = per_cpu_sum(controller.state, "arm_stats", "misses", STEADY_ARM)
        assert everything == missed + misses(controller, "ipv6") and misses(controller, "ipv6") == 0


def misses(controller: Controller, point: str) -> int:
    names = [p.name for p in controller.plan.template.points]
    rows = controller.state["arm_stats"].read(STEADY_ARM)
    assert rows is not None
    return int(rows["misses"].sum(axis=0)[names.index(point)])


def test_counters_stay_when_the_generic_code_comes_back(bed: Testbed, builder: Builder) -> None:
    """A batch that was not flushed by the old variant belongs to the map, not to the code."""
    stream = stream_of(FRAMES[:1])
    with (
        operated(bed, builder, plan_for()) as controller,
        generator(bed, builder, stream) as source,
    ):
        batched, generic = specialized(controller)[2], controller.plan.generic
        code = programs(controller, [batched])[batched]
        total = 0
        for count in (1, 7, 64, 65, 101):
            for variant in (batched, generic):
                controller.swap(variant, code, reason="test")
                source.send(count)
                total += count
                assert settled(controller, total) == {0: (total, total * len(FRAMES[0]))}


def test_generic_mode_counts_too(bed: Testbed, builder: Builder) -> None:
    """The kernel's fallback for drivers without XDP: frames come from a packet socket."""
    with operated(bed, builder, plan_for(mode="generic")) as controller:
        assert controller.board.link.mode == "generic"
        with inside(bed.generator), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
            link.bind((GENERATOR_SIDE, 0))
            for number in range(101):
                link.send(FRAMES[number % len(FRAMES)])
        assert settled(controller, 101) == wanted(stream_of(FRAMES), 101)


def test_the_generator_counts_what_it_sends(bed: Testbed, builder: Builder) -> None:
    with operated(bed, builder, plan_for()), generator(bed, builder, load()) as source:
        seen: list[int] = []
        for count in (1, 63, 64, 65, 4099):
            source.send(count)
            seen.append(source.sent)
        assert seen == [1, 64, 128, 193, 4292]
        assert isinstance(source, Generator) and source.stop() == 4292
