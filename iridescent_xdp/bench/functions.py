# SPDX-License-Identifier: GPL-2.0-only
"""Generic against specialized, and specialized against hand-written, with 64 rules."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from iridescent_xdp.bench.handwritten import compile_handwritten
from iridescent_xdp.bench.live import Dut, cpus
from iridescent_xdp.bench.mixes import LOCALITIES, edge_traffic
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.builder import Builder
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.preflight import on_cpu
from iridescent_xdp.statistics import ratio
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import StreamTimer
from traffic.mix_shares import Locality
from traffic.mix_stream import Stream

TESTBEDS = 3  # a new veth pair and new page pools each
PASSES = 4  # of the stream in one measurement


def functions(options: Options) -> list[Result]:
    """Program time and live throughput: generic, the winner, and a program written by hand."""
    results: list[Result] = []
    for locality in LOCALITIES:
        results += _case(locality, options)
    return results


def _case(locality: Locality, options: Options) -> list[Result]:
    case = Case(suite="functions", name=f"filter/{locality}")
    builder, stream = Builder("llvm"), edge_traffic(locality)
    with Rig(builder, FilterTables(rules=RULES)) as rig, on_cpu(cpus()[1]):
        timer = StreamTimer(builder, stream)
        with timer:
            timer.repeat *= options.pick(PASSES, 1)
            winner = rig.find_winner(timer, options, f"functions/{case.name}")
            timed = _times(case, rig, timer, stream, winner, options)
        timed.append(_half(case, rig, locality, winner, options))
    return timed + _live(case, builder, stream, winner, options)


def _half(case: Case, rig: Rig, locality: Locality, winner: Variant, options: Options) -> Result:
    """The same two programs when half of the packets match: rules are found sooner then, so
    the generic program has less to do."""
    with StreamTimer(rig.builder, edge_traffic(locality, no_match=0.5)) as timer:
        programs = {"generic": rig.generic, "specialized": rig.load(winner)}
        times = timer.rounds(programs, options.pick(25, 5))
    return case.of("time_ratio_half_match", ratio(times["generic"], times["specialized"]))


def _times(
    case: Case, rig: Rig, timer: StreamTimer, stream: Stream, winner: Variant, options: Options
) -> list[Result]:
    options.tell(f"functions/{case.name}: program time")
    by_hand = compile_handwritten(rig, default_drop=False)
    insns = rig.builder.variant(rig.function, winner, Role.STEADY)
    rig.check({"handwritten": by_hand, "winner": insns}, stream)
    with rig.place(by_hand, "handwritten") as handwritten:
        programs = {
            "generic": rig.generic,
            "specialized": rig.load(winner),
            "handwritten": handwritten,
        }
        times = timer.rounds(programs, options.pick(25, 5))
    generic, specialized = times["generic"], times["specialized"]
    return [
        case.of("time_ratio", ratio(generic, specialized)),
        case.of("handwritten_ratio", ratio(specialized, times["handwritten"])),
        *(case.median(f"{name}_ns", "ns", values) for name, values in times.items()),
        case.median("floor_ns", "ns", [timer.floor_ns() for _ in range(options.pick(9, 3))]),
    ]


def _live(
    case: Case, builder: Builder, stream: Stream, winner: Variant, options: Options
) -> list[Result]:
    """Each program as the steady state has it, held by the link itself.

    What does not match is dropped here, or the figure would be that of the kernel's stack.
    """
    results: list[Result] = []
    with Rig(builder, FilterTables(rules=RULES), default_action=1) as rig:
        with StreamTimer(builder, stream) as timer:
            rig.learn(timer)
        chosen = rig.load(winner.with_values(default_action=1))
        programs = {"generic": rig.generic, "specialized": chosen}
        for way, suffix in (("inline", "_inline"), ("threaded", "")):
            options.tell(f"functions/{case.name}: live, {way}")
            mpps = _rates(rig, stream, programs, way == "threaded", options)
            results.append(
                case.of(f"throughput_ratio{suffix}", ratio(mpps["specialized"], mpps["generic"]))
            )
            results += [
                case.median(f"{name}_mpps{suffix}", "Mpps", values) for name, values in mpps.items()
            ]
    return results


def _rates(
    rig: Rig, stream: Stream, programs: Mapping[str, Program], threaded: bool, options: Options
) -> dict[str, list[float]]:
    """Millions of packets per second, by program, on some testbeds."""
    mpps: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(options.pick(TESTBEDS, 2)):
        with Dut(rig, stream, threaded=threaded) as dut:
            enter = {name: partial(dut.attach, program) for name, program in programs.items()}
            rates = dut.turns(enter, options.pick(8, 3), options.pick(100, 30) / 1000)
        for name, values in (rates.received if threaded else rates.mpps).items():
            mpps[name] += values
        if threaded and not rates.saturated:
            options.tell("here the sender was the limit")
    return mpps
