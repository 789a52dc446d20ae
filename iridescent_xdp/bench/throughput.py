# SPDX-License-Identifier: GPL-2.0-only
"""Live: packets per second of generic and of the winner, and quantiles of their time per packet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from iridescent_xdp.bench.live import Dut
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.subject import Subject
from iridescent_xdp.builder import Builder
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.statistics import quantile, ratio
from iridescent_xdp.switchboard import FALLBACK
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.mix_stream import Stream

TESTBEDS = 3  # a new veth pair and new page pools each
QUANTILES = {"p50_ns": 0.5, "p99_ns": 0.99}
GENERIC_ARM, WINNER_ARM = 1, 2

Figures = dict[str, list[float]]


def live_figures(
    case: Case,
    builder: Builder,
    subject: Subject,
    stream: Stream,
    winner: Variant,
    options: Options,
) -> list[Result]:
    """Each program as the steady state has it, held by the link itself; then as arms, which time
    themselves."""
    results: list[Result] = []
    for way, suffix in (("inline", "_inline"), ("threaded", "")):
        options.tell(f"{case.suite}/{case.name}: live, {way}")
        mpps: Figures = {"generic": [], "specialized": []}
        times: Figures = {}
        for _ in range(options.pick(TESTBEDS, 1)):
            with Dut(builder, subject, stream, threaded=way == "threaded") as dut:
                _rates(dut, winner, mpps, options)
                if way == "inline":
                    _quantiles(dut, winner, times, options)
        results.append(
            case.of(f"throughput_ratio{suffix}", ratio(mpps["specialized"], mpps["generic"]))
        )
        for name, values in mpps.items():
            results.append(case.median(f"{name}_mpps{suffix}", "Mpps", values))
        results += [case.median(name, "ns", values) for name, values in times.items()]
    return results


def _rates(dut: Dut, winner: Variant, mpps: Figures, options: Options) -> None:
    """Millions of packets per second, by turns."""
    programs = {"generic": dut.rig.generic, "specialized": _live(dut.rig, winner)}
    enter = {name: partial(dut.attach, program) for name, program in programs.items()}
    rates = dut.turns(enter, options.pick(8, 3), options.pick(100, 30) / 1000)
    for name, values in (rates.received if dut.threaded else rates.mpps).items():
        mpps[name] += values
    if dut.sinks:
        options.tell(f"{rates.arrived:.1%} of the packets arrived at the sink")


def _live(rig: Rig, winner: Variant) -> Program:
    return rig.load(winner.with_values(**rig.subject.live_policy))


def _quantiles(dut: Dut, winner: Variant, times: Figures, options: Options) -> None:
    """From the histograms of both programs in the measured role, by turns."""
    seconds = options.pick(100, 30) / 1000
    with _arms(dut.rig, winner) as arms:
        names = {"generic": GENERIC_ARM, "specialized": WINNER_ARM}
        with dut.traffic():
            for number in range(options.pick(5, 2)):
                for name, arm in list(names.items())[:: 1 if number % 2 == 0 else -1]:
                    dut.attach(arms[arm])
                    time.sleep(seconds / 4)
                    for metric, value in _histogram(dut, arm, seconds).items():
                        times.setdefault(f"{name}_{metric}", []).append(value)
        dut.attach(dut.rig.root())


def _histogram(dut: Dut, arm: int, seconds: float) -> dict[str, float]:
    held = dut.rig.state["arm_stats"]
    held.zero(arm)
    time.sleep(seconds)
    rows = held.read(arm)
    assert rows is not None
    return {name: quantile(rows["histogram"], q) for name, q in QUANTILES.items()}


@contextmanager
def _arms(rig: Rig, winner: Variant) -> Iterator[Mapping[int, Program]]:
    """Both programs in the measured role, and the fallback that ends a missed guard's sample."""
    function = rig.function
    chosen = winner.with_values(**rig.subject.live_policy)
    with ExitStack() as stack:
        arms: dict[int, Program] = {}
        for arm, variant in ((GENERIC_ARM, rig.variant), (WINNER_ARM, chosen)):
            insns = rig.builder.variant(function, variant, Role.ARM)
            arms[arm] = stack.enter_context(rig.place(insns, f"bench_arm_{arm}", arm))
        code = rig.builder.variant(function, rig.variant, Role.FALLBACK)
        fallback = stack.enter_context(rig.place(code, "bench_fallback"))
        rig.enter(fallback, FALLBACK)
        try:
            yield arms
        finally:
            rig.enter(rig.generic, FALLBACK)
