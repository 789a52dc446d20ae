# SPDX-License-Identifier: GPL-2.0-only
"""Looks at live traffic: what they say is right, nothing is lost, all is as it was afterwards."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from iridescent_xdp.adapt.reading import Reading, ReadingStatus
from iridescent_xdp.adapt.sensor import SLOT_LIVE, SLOT_REFERENCE, SLOT_SENSED, Sensor
from iridescent_xdp.adapt.shift import Shift, ShiftDetector
from iridescent_xdp.adapt.signature import Group, Signature, distance
from iridescent_xdp.builder import Builder
from iridescent_xdp.controller import Controller
from iridescent_xdp.functions.filter_changes import SetRule
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.switchboard import ENTRY, FALLBACK
from tests.kernel.fixtures import TABLES, counted, packets_per_slot, wait_until
from tests.kernel.live import generator, operated, plan_for, stream_of, take, udp
from tests.kernel.sensing import NO_VALUES, known, looked, sensed, standing
from tests.unit.packet_model import classify
from traffic.mix_stream import expected_counts
from traffic.mixes import IMIX, Mix, build
from traffic.testbed import Testbed, inside

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

FIRST, PRIME = 20_011, 1_000_003
PERIOD_S = 0.1
NARROW = {"rule_layout": 2, "vlan_depth": 0, "no_ip_options": 1}
MIXED = build(
    Mix(
        name="mixed",
        flows=512,
        locality="low",
        size_bytes=IMIX,
        protocol_shares=(0.55, 0.3, 0.1, 0.05),
        ipv6_share=0.25,
        vlan_shares=(0.8, 0.15, 0.05),
        ip_options_share=0.05,
        fragment_share=0.05,
        hits=TABLES.rules,
        default_share=0.5,
        seed=5,
    )
)
PLAIN = build(Mix(name="plain", flows=512, locality="low", hits=TABLES.rules, seed=6))


@pytest.fixture(name="builder")
def llvm() -> Builder:
    """One toolchain; what the other makes of the sensor is looked at in one test."""
    return Builder("llvm")


@pytest.mark.parametrize(
    "toolchain", [pytest.param(n, marks=pytest.mark.needs(toolchain=n)) for n in ("llvm", "bcc")]
)
def test_the_signature_of_known_traffic(bed: Testbed, toolchain: str) -> None:
    """Each group's shares are the stream's, within sampling noise."""
    builder = Builder(toolchain)
    with sensed(bed, builder) as (_, sensor), generator(bed, builder, MIXED) as source:
        source.start()
        found = looked(sensor, 4000)
        source.stop()
    for name, wanted in known(MIXED).items():
        group = found.groups[name]
        model = Group(names=group.names, counts=tuple(wanted[n] * 100 for n in group.names))
        apart = distance(Signature(groups={name: group}), Signature(groups={name: model}))
        assert apart is not None and apart.noise_units < 6, (name, group.shares, model.shares)
        assert apart.hellinger < 0.05, (name, group.shares, model.shares)


def test_every_packet_is_counted_through_looks(bed: Testbed, builder: Builder) -> None:
    """Guards are missed all the while; link and slots are as before after each look."""
    with (
        sensed(bed, builder, values=NARROW) as (controller, sensor),
        generator(bed, builder, MIXED) as source,
    ):
        source.send(FIRST)
        sensor.sense()  # what stands around a look is built and proven once
        before, readings = standing(controller), []
        sender = threading.Thread(target=source.send, args=(PRIME,))
        sender.start()
        while sender.is_alive():
            readings.append(sensor.sense(0.002))
            now = standing(controller)
            assert now == before
        sender.join()
        sent = FIRST + PRIME
        wait_until(lambda: sum(packets_per_slot(controller.state).values()) >= sent, "all packets")
        wanted: Counter[int] = Counter()
        for data, times in zip(MIXED.packets, expected_counts(MIXED, 0, sent), strict=True):
            slot, _ = classify(
                data, TABLES.rules, allow=TABLES.allow, deny=TABLES.deny, default_action="drop"
            )
            wanted[slot] += int(times)
        assert packets_per_slot(controller.state) == dict(wanted)
        assert sum(p for p, _ in counted(controller.state).verdicts.values()) == sent
        sensor.close()
        assert standing(controller)[: SLOT_LIVE + 1] == before[: SLOT_LIVE + 1]
        assert not any(standing(controller)[SLOT_LIVE + 1 :])
    saw = [r for r in readings if r.samples]
    assert len(saw) >= 3
    last = saw[-1]
    assert last.time_ns is not None and last.reference_ns is not None
    assert last.signature.groups["verdict"].total > 0.9 * last.samples
    tagged = known(MIXED)["tags"]
    share = 1 - tagged["untagged"] / tagged.total()
    assert sum(r.misses["vlan_depth"] * r.packets for r in saw) / sum(
        r.packets for r in saw
    ) == pytest.approx(share, abs=0.03)


def test_a_changed_stream_is_a_shift_and_a_steady_one_is_none(
    bed: Testbed, builder: Builder, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        sensed(bed, builder) as (_, sensor),
        generator(bed, builder, PLAIN) as first,
        generator(bed, builder, MIXED) as second,
    ):
        detector = ShiftDetector()
        first.start()
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            shift = detector.update(_next(sensor))
            assert shift is None, shift
        assert not detector.learning
        first.stop()
        began = time.monotonic()
        second.start()
        found: Shift | None = None
        while found is None and time.monotonic() < began + 3.0:
            found = detector.update(_next(sensor))
        took_ms = (time.monotonic() - began) * 1000
        assert found is not None
    with capsys.disabled():
        print(f"\n  told after {took_ms:.0f} ms: {found.reason}")
    assert took_ms < 1000
    assert found.reason


def _next(sensor: Sensor) -> Reading:
    time.sleep(PERIOD_S)
    return sensor.sense()


def test_an_idle_interface_is_left_alone(bed: Testbed, builder: Builder) -> None:
    with sensed(bed, builder) as (controller, sensor):
        swaps, detector = controller.board.swaps, ShiftDetector()
        for _ in range(20):
            reading = sensor.sense()
            assert reading.status is ReadingStatus.FEW
            assert (reading.packets, reading.samples, reading.time_ns) == (0, 0, None)
            assert detector.update(reading) is None
        assert controller.board.swaps == swaps


def test_other_destinations_are_a_shift(bed: Testbed, builder: Builder) -> None:
    """Nothing else changes: as many flows, as new as before, of the same kinds."""
    flows = [udp(f"10.3.{n >> 6}.{n & 63}", 80, to="203.0.113.9") for n in range(2048)]
    others = [udp(f"10.3.{n >> 6}.{n & 63}", 80, to="203.0.113.10") for n in range(2048)]
    with (
        sensed(bed, builder) as (_, sensor),
        generator(bed, builder, stream_of(flows)) as first,
        generator(bed, builder, stream_of(others)) as second,
    ):
        detector = ShiftDetector()
        first.start()
        while detector.learning:
            assert detector.update(_next(sensor)) is None
        first.stop()
        second.start()
        until, found = time.monotonic() + 5.0, None
        while found is None and time.monotonic() < until:
            found = detector.update(_next(sensor))
        assert found is not None and found.group == "targets"


def meanwhile(controller: Controller, what: str) -> None:
    """Something that comes in another thread while the sensor stands."""
    act = {
        "search": controller.begin_search,
        "change": lambda: controller.change([SetRule(place=0, rule=Rule(action="pass"))]),
        "swap": lambda: controller.swap(
            controller.plan.generic, b"", reason="a test", direct=False
        ),
    }[what]
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


@pytest.mark.parametrize("what", ["search", "change", "swap"])
def test_it_steps_aside(bed: Testbed, builder: Builder, what: str) -> None:
    """What comes while the sensor stands goes first, and the look changes nothing of it."""
    held: list[Controller] = []
    after: list[tuple[int, ...]] = []

    def wait(_: float) -> None:
        meanwhile(held[0], what)
        after.append(standing(held[0]))

    values = NARROW if what == "change" else NO_VALUES  # tables change under generic code at once
    with (
        sensed(bed, builder, wait=wait, values=values) as (controller, sensor),
        generator(bed, builder, PLAIN) as source,
    ):
        held.append(controller)
        source.send(200_000)
        reading = sensor.sense()
        assert reading.status is ReadingStatus.ASIDE
        assert standing(controller)[1:3] == after[0][1:3]
        assert standing(controller)[0] in (after[0][0], controller.live.info.prog_id)
        assert controller.board.holds(ENTRY) == controller.live.info.prog_id
        assert controller.board.holds(FALLBACK) == controller.generic.info.prog_id
        if what == "search":
            assert controller.board.held is controller.board.root
            source.send(200_000)
            assert sensor.sense().status is ReadingStatus.ASIDE
            assert len(after) == 1  # it did not even begin
            controller.end_search()


def test_a_search_looks_without_being_left(bed: Testbed, builder: Builder) -> None:
    """Headers of packets, in slot 0 for a moment; what the search has there comes back."""
    with (
        sensed(bed, builder, values=NARROW) as (controller, sensor),
        generator(bed, builder, MIXED) as source,
    ):
        source.send(1000)
        assert sensor.peek().status is ReadingStatus.ASIDE  # no search is on
        controller.begin_search()
        try:
            controller.board.put(ENTRY, controller.generic)  # stands for the dispatcher
            before = standing(controller)
            source.start()
            time.sleep(PERIOD_S)
            reading = sensor.peek()
            source.stop()
            assert standing(controller)[:SLOT_LIVE] == before[:SLOT_LIVE]
        finally:
            controller.end_search()
        assert reading.status is ReadingStatus.LOOKED
        assert reading.samples > 100
        assert set(reading.signature.groups) >= {"family", "transport", "tags", "size"}
        assert "verdict" not in reading.signature.groups
        assert not reading.misses and reading.time_ns is None


def test_it_puts_back_what_an_exception_interrupts(bed: Testbed, builder: Builder) -> None:
    def wait(_: float) -> None:
        raise KeyboardInterrupt

    with (
        sensed(bed, builder, wait=wait) as (controller, sensor),
        generator(bed, builder, PLAIN) as source,
    ):
        before = standing(controller)
        source.send(200_000)
        with pytest.raises(KeyboardInterrupt):
            sensor.sense()
        sensor.close()
        assert standing(controller) == before


def test_traffic_goes_on_where_a_look_was_left(bed: Testbed, builder: Builder) -> None:
    """As after a kill: the sensor stays in slot 0, and the next controller takes over."""
    with generator(bed, builder, PLAIN) as source:
        controller = take(bed, builder, plan_for())
        with inside(bed.dut):
            sensor = Sensor(controller)
        source.send(10_007)
        stand_ins = sensor.prepared()
        sensor._stand(stand_ins)
        source.send(10_007)
        controller.close()
        source.send(10_007)
        with operated(bed, builder, plan_for()) as successor:
            source.send(10_007)
            assert successor.adopted
            stand_ins.close()
            sensor.program.close()
            sensor._received.close()
            wait_until(
                lambda: sum(packets_per_slot(successor.state).values()) >= 4 * 10_007, "all packets"
            )
            assert sum(packets_per_slot(successor.state).values()) == 4 * 10_007
            with inside(bed.dut), Sensor(successor) as next_one:
                source.send(200_000)
                assert next_one.sense().status is ReadingStatus.LOOKED
            assert {successor.board.holds(s) for s in (SLOT_LIVE, SLOT_REFERENCE, SLOT_SENSED)} == {
                0
            }
