# SPDX-License-Identifier: GPL-2.0-only
"""What looking at the traffic in the steady state costs.

What packets pay while a look lasts is measured by the stream's clock, without a network: behind
the root, past the sensor, and sampled. How many packets pay it is counted in real looks, under
full load and at the usual distance. ``sensing_pct`` is the product: CPU time that looks take from
packets, of the time of one CPU: some tenths of a per cent, which throughputs would not show.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from struct import pack

from iridescent_xdp.adapt.reading import Reading
from iridescent_xdp.adapt.sensor import SLOT_LIVE, SLOT_REFERENCE, SLOT_SENSED, Sensor
from iridescent_xdp.bench.live import cpus
from iridescent_xdp.bench.mixes import edge_traffic
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.builder import Builder
from iridescent_xdp.config import InterfaceConfig
from iridescent_xdp.controller import Controller
from iridescent_xdp.events import EventLog
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.plan import make_plan
from iridescent_xdp.preflight import on_cpu
from iridescent_xdp.switchboard import ENTRY
from iridescent_xdp.toolchain.base import Role
from traffic.generator import Generator, StreamTimer
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, Testbed, inside

EVERY_S = 0.1
LIVE = {"rule_layout": "tree", "vlan_depth": 0, "no_ip_options": True}
UNLIMITED = 1 << 40  # samples in one look
PASSES = 4


def sensing(options: Options) -> list[Result]:
    """Nanoseconds of each kind of packet, and their share in real looks."""
    case = Case(suite="overhead", name="sensing")
    options.tell("overhead: looks at the traffic")
    with _bed() as (controller, generator), on_cpu(cpus()[1]), Sensor(controller) as sensor:
        generator.start()
        time.sleep(2 * EVERY_S)
        sensor.sense()  # builds what stands around a look
        looks = [_timed(sensor) for _ in range(options.pick(200, 20))]
        generator.stop()
        parts = _parts(controller, sensor, options.pick(41, 5))
    costs = {name: median(values) for name, values in parts.items()}
    paid = [_paid_pct(reading, took_s, costs) for reading, took_s in looks]
    return [
        case.median("sensing_pct", "%", paid),
        *(case.median(f"{name}_ns", "ns", values) for name, values in parts.items()),
        case.median("look_ms", "ms", [took_s * 1000 for _, took_s in looks]),
        case.median("stood_ms", "ms", [reading.stood_ms for reading, _ in looks]),
        case.median("samples", "", [float(reading.samples) for reading, _ in looks]),
    ]


def _timed(sensor: Sensor) -> tuple[Reading, float]:
    time.sleep(EVERY_S)
    began = time.perf_counter()
    reading = sensor.sense()
    return reading, time.perf_counter() - began


def _paid_pct(reading: Reading, took_s: float, costs: dict[str, float]) -> float:
    """The root stands almost as long as the whole look takes."""
    paid_ns = reading.pps * took_s * max(0.0, costs["root"])
    paid_ns += reading.seen * costs["past_sensor"] + reading.samples * costs["sampled"]
    return 100 * paid_ns / ((EVERY_S + took_s) * 1e9)


def _parts(controller: Controller, sensor: Sensor, rounds: int) -> dict[str, list[float]]:
    """What a packet pays on top of the live variant, or of the root where it is the sensor's."""
    board, state, stand_ins = controller.board, controller.state, sensor.prepared()
    assert stand_ins.sensed is not None and stand_ins.reference is not None
    for slot, program in (
        (SLOT_LIVE, controller.live),
        (SLOT_SENSED, stand_ins.sensed),
        (SLOT_REFERENCE, stand_ins.reference),
    ):
        board.put(slot, program)
    found: dict[str, list[float]] = {"root": [], "past_sensor": [], "sampled": []}
    with StreamTimer(controller.builder, edge_traffic("low")) as timer:
        timer.repeat *= PASSES
        for number in range(rounds):
            times = [timer.raw_ns(controller.live), timer.raw_ns(board.root)]
            board.put(ENTRY, sensor.program)
            for left in (0, UNLIMITED):
                state["sensing"].write(0, pack("<QQ", number, 0))
                looks = state["looks"].read()
                assert looks is not None
                looks = looks.copy()
                looks["number"], looks["left"] = number, left
                state["looks"].write(0, looks)
                times.append(timer.raw_ns(board.root))
            board.put(ENTRY, controller.live)
            live, root, past, sampled = times
            for name, value in (
                ("root", root - live),
                ("past_sensor", past - root),
                ("sampled", sampled - past),
            ):
                found[name].append(value)
    return found


@contextmanager
def _bed() -> Iterator[tuple[Controller, Generator]]:
    """A controller with a specialized variant live, and a generator of full load."""
    config = InterfaceConfig(
        name=DUT_SIDE,
        function="filter",
        policy={"default_action": "drop"},
        tables=FilterTables(rules=RULES),
    )
    builder, plan = Builder("llvm"), make_plan(config, Path("bench"))
    points = {name: plan.template.point(name).parse(value) for name, value in LIVE.items()}
    variant = plan.generic.with_values(**points)
    with Testbed() as testbed:
        with inside(testbed.generator):
            port = find_interface(GENERATOR_SIDE).index
            generator = Generator(builder, edge_traffic("low"), port, cpu=cpus()[0])
        with inside(testbed.dut), generator, EventLog(None) as events:
            controller = Controller(plan, builder, events)
            try:
                code = builder.variant(plan.function, variant, Role.STEADY)
                controller.swap(variant, code, reason="bench")
                yield controller, generator
            finally:
                controller.release()
