# SPDX-License-Identifier: GPL-2.0-only
"""Does the search find what an exhaustive offline measurement finds, and does it leave well alone?

Searches run live on a testbed, one seed each. The oracle measures every variant of the same space
by the stream's clock, each loaded LOADS times, because the same code at another address is not
equally fast. A winner is right when it is the oracle's, or no slower than it by more than the
noise: the largest difference between two loads of one variant, or 2 % of the generic time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from iridescent_xdp.arms import Built
from iridescent_xdp.bench.live import cpus
from iridescent_xdp.bench.mixes import edge_traffic
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.builder import Builder
from iridescent_xdp.campaign import Campaign
from iridescent_xdp.config import InterfaceConfig, SearchConfig
from iridescent_xdp.controller import Controller
from iridescent_xdp.events import EventLog
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.plan import Plan, make_plan
from iridescent_xdp.preflight import on_cpu
from iridescent_xdp.search.space import Space
from iridescent_xdp.statistics import Candidate, decide
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import Generator, StreamTimer
from traffic.mix_stream import Stream
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, Testbed, inside

POINTS: dict[str, tuple[bool | int | str, ...]] = {
    "vlan_depth": (0, 2),
    "no_ip_options": (False, True),
    "no_fragments": (False,),
    "no_extensions": (False, True),
    "ipv6": (True,),
    "only_protocol": (0,),
    "rule_layout": ("map", "tree", "broad"),
    "set_layout": ("trie",),
    "counter_batch": ("1",),
}
TOLERANCE = 0.02  # of the generic time
SAMPLES = 50_000
LOADS = 3


def search(options: Options) -> list[Result]:
    """Winners against the oracle's, and decisions between generic and generic."""
    case = Case(suite="search", name="filter/low")
    builder, stream = Builder("llvm"), edge_traffic("low")
    runs = options.pick(10, 1)
    times, noise_ns = _oracle(builder, stream, options)
    best = min(times.values())
    right, seconds = 0, []
    for seed in range(runs):
        began = time.monotonic()
        with _campaign(builder, stream, seed) as (campaign, plan):
            winner = campaign.run().winner or plan.generic
        seconds.append(time.monotonic() - began)
        lag_ns = times[winner] - best
        right += lag_ns <= noise_ns
        options.tell(f"search: run {seed}: {plan.label(winner)}, {lag_ns:.1f} ns behind the oracle")
    swaps, decisions = _false_swaps(builder, stream, options)
    return [
        case.count("right_share", "", right / runs, runs),
        case.count("false_swaps", "decisions", swaps, decisions),
        case.median("search_s", "s", seconds),
        case.count("variants", "", len(times), 1),
        case.count("noise_ns", "ns", noise_ns, 1),
    ]


def _plan(seed: int) -> Plan:
    config = InterfaceConfig(
        name=DUT_SIDE,
        function="filter",
        policy={"default_action": "drop"},
        search=SearchConfig(seed=seed, points=POINTS, max_seconds=60.0),
        tables=FilterTables(rules=RULES),
    )
    return make_plan(config, Path("bench"))


def _oracle(
    builder: Builder, stream: Stream, options: Options
) -> tuple[dict[Variant, float], float]:
    """Every variant's time in ns, and the noise."""
    plan = _plan(0)
    points, generic = plan.template.points, plan.generic
    space = Space(points=points, generic=generic, restrict=plan.restrict)
    drop = {"default_action": generic["default_action"]}
    with Rig(builder, FilterTables(rules=RULES), policy=drop) as rig, on_cpu(cpus()[1]):
        programs = {
            f"{v.key} {load}": rig.place(builder.variant(rig.function, v, Role.STEADY), v.key)
            for v in space
            for load in range(LOADS)
        }
        with StreamTimer(builder, stream) as timer:
            rounds = timer.rounds(programs, options.pick(15, 3))
        for program in programs.values():
            program.close()
    loads = {v: [median(rounds[f"{v.key} {load}"]) for load in range(LOADS)] for v in space}
    times = {v: median(values) for v, values in loads.items()}
    spread_ns = max(max(values) - min(values) for values in loads.values())
    return times, max(spread_ns, TOLERANCE * times[generic])


@contextmanager
def _campaign(builder: Builder, stream: Stream, seed: int) -> Iterator[tuple[Campaign, Plan]]:
    """A search on a testbed of its own, under full load; nothing stays."""
    plan = _plan(seed)
    with Testbed() as testbed:
        with inside(testbed.generator):
            port = find_interface(GENERATOR_SIDE).index
            generator = Generator(builder, stream, port, cpu=cpus()[0])
        with inside(testbed.dut), generator, EventLog(None) as events:
            controller = Controller(plan, builder, events)
            try:
                generator.start()
                campaign = Campaign(controller)
                try:
                    yield campaign, plan
                finally:
                    campaign.close()
            finally:
                controller.release()


def _false_swaps(builder: Builder, stream: Stream, options: Options) -> tuple[int, int]:
    """Decisions in which the only candidate is generic once more."""
    count = options.pick(10, 2)
    swaps = 0
    with _campaign(builder, stream, 0) as (campaign, plan):
        code = builder.variant(plan.function, plan.generic, Role.ARM)
        same = Built(variant=plan.generic, label="generic, a third time", measured=code)
        for _ in range(count):
            results = campaign.trial([same], SAMPLES)
            third = Candidate(name=same.label, windows=results[2].windows, deviations=0)
            decision = decide(results[0].windows, results[1].windows, [third])
            swaps += decision.winner is not None
            options.tell(f"search: generic against itself: {decision.reason}")
    return swaps, count
