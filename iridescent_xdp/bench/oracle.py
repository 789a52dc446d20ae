# SPDX-License-Identifier: GPL-2.0-only
"""What a search should have found: every variant of a small space by the stream's clock; and such
searches, live.

Each variant is loaded LOADS times, because the same code at another address is not equally fast.
A winner is right when it is the oracle's, or no slower than it by more than the noise: the largest
difference between two loads of one variant, or TOLERANCE of the generic time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from iridescent_xdp.bench.live import cpus
from iridescent_xdp.bench.results import Options
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.builder import Builder
from iridescent_xdp.config import InterfaceConfig, SearchConfig
from iridescent_xdp.controller import Controller
from iridescent_xdp.events import EventLog, Listener
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.plan import Plan, make_plan
from iridescent_xdp.preflight import on_cpu
from iridescent_xdp.search.space import Space
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import Generator, StreamTimer
from traffic.mix_stream import Stream
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, Testbed, inside

TOLERANCE = 0.02  # of the generic time
LOADS = (3, 1)  # in the short form
WARM_UP_S = 0.3


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """Every variant's time in ns per packet, and the noise."""

    times: Mapping[Variant, float]
    noise_ns: float

    def lag_ns(self, winner: Variant) -> float:
        """How much slower than the best."""
        return self.times[winner] - min(self.times.values())

    def right(self, winner: Variant) -> bool:
        """Whether it is the best, within the noise."""
        return self.lag_ns(winner) <= self.noise_ns


def filter_plan(search: SearchConfig, tables: FilterTables | None = None) -> Plan:
    """The filter with ``tables`` (default: the 64 rules of the suites), which drops what no rule
    matches."""
    config = InterfaceConfig(
        name=DUT_SIDE,
        function="filter",
        policy={"default_action": "drop"},
        search=search,
        tables=tables or FilterTables(rules=RULES),
    )
    return make_plan(config, Path("bench"))


def oracle(builder: Builder, stream: Stream, plan: Plan, options: Options) -> Oracle:
    """Measure every variant of the space of ``plan``.

    The noise is the largest difference between two loads of one of the better half: a slow variant
    that is disturbed says nothing about who wins.
    """
    points, generic, tables = plan.template.points, plan.generic, plan.config.tables
    assert isinstance(tables, FilterTables)
    copies = range(options.pick(*LOADS))
    space = Space(points=points, generic=generic, restrict=plan.restrict)
    drop = {"default_action": generic["default_action"]}
    with Rig(builder, tables, policy=drop) as rig, on_cpu(cpus()[1]):
        programs = {
            f"{v.key} {load}": rig.place(builder.variant(rig.function, v, Role.STEADY), v.key)
            for v in space
            for load in copies
        }
        with StreamTimer(builder, stream) as timer:
            timer.patience = options.patience
            rounds = timer.rounds(programs, options.pick(15, 3))
        for program in programs.values():
            program.close()
    loads = {v: [median(rounds[f"{v.key} {load}"]) for load in copies] for v in space}
    times = {v: median(values) for v, values in loads.items()}
    good = sorted(space, key=lambda v: times[v])[: max(1, len(times) // 2)]
    spread_ns = max(max(loads[v]) - min(loads[v]) for v in good)
    return Oracle(times=times, noise_ns=max(spread_ns, TOLERANCE * times[generic]))


@contextmanager
def loaded(
    builder: Builder, stream: Stream, plan: Plan, listener: Listener | None = None
) -> Iterator[Controller]:
    """A controller on a testbed of its own, under full load; nothing stays."""
    with Testbed() as testbed:
        with inside(testbed.generator):
            port = find_interface(GENERATOR_SIDE).index
            generator = Generator(builder, stream, port, cpu=cpus()[0])
        with inside(testbed.dut), generator, EventLog(None, listener) as events:
            controller = Controller(plan, builder, events)
            try:
                generator.start()
                time.sleep(WARM_UP_S)
                yield controller
            finally:
                controller.release()
