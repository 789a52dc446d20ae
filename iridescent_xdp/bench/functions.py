# SPDX-License-Identifier: GPL-2.0-only
"""Generic against specialized, and specialized against hand-written, for each function."""

from __future__ import annotations

from collections.abc import Sequence

from iridescent_xdp.bench.handwritten import compile_handwritten
from iridescent_xdp.bench.live import cpus
from iridescent_xdp.bench.loads import MANY, Loads
from iridescent_xdp.bench.lookup import lookup
from iridescent_xdp.bench.mixes import LOCALITIES, edge_traffic
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.subject import Subject
from iridescent_xdp.bench.subject_router import RouterSubject
from iridescent_xdp.bench.subjects import wanted
from iridescent_xdp.bench.throughput import live_figures
from iridescent_xdp.bench.winner import find_winner
from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.preflight import on_cpu
from iridescent_xdp.statistics import ratio
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import StreamTimer
from traffic.mix_shares import Locality
from traffic.mix_stream import Stream

LOOKUP_ROUTES = 1000


def functions(options: Options) -> list[Result]:
    """Program time and live throughput: generic, the winner, and a program written by hand."""
    results: list[Result] = []
    for subject in wanted(options):
        for locality in LOCALITIES[:1] if options.quick else LOCALITIES:
            try:
                results += _case(subject, locality, options)
            except MeasurementError as error:
                options.tell(f"functions/{subject.name}/{locality}: {error}; measured once more")
                results += _case(subject, locality, options)
    return results


def _case(subject: Subject, locality: Locality, options: Options) -> list[Result]:
    case = Case(suite="functions", name=f"{subject.name}/{locality}")
    builder, stream = Builder("llvm"), subject.stream(locality)
    with Rig(builder, subject) as rig, on_cpu(cpus()[1]):
        timer = StreamTimer(builder, stream)
        with timer:
            winner = find_winner(rig, timer, options, f"functions/{case.name}")
            timed = _times(case, rig, timer, locality, winner, options)
        if subject.name == "router":
            timed += _lookup(case, locality, options)
        if subject.name == "filter":
            timed.append(_half(case, rig, locality, winner, options))
    return timed + live_figures(case, builder, subject, stream, winner, options)


def _lookup(case: Case, locality: Locality, options: Options) -> list[Result]:
    """The look-up alone, among fewer routes."""
    subject, builder = RouterSubject(LOOKUP_ROUTES), Builder("llvm")
    with Rig(builder, subject) as rig, StreamTimer(builder, subject.stream(locality)) as timer:
        rig.learn(timer)
        return lookup(case, rig, timer, options)


def _half(case: Case, rig: Rig, locality: Locality, winner: Variant, options: Options) -> Result:
    """The same two programs when half of the packets match: rules are found sooner then, so
    the generic program has less to do."""
    with StreamTimer(rig.builder, edge_traffic(locality, no_match=0.5)) as timer:
        programs = {"generic": rig.generic, "specialized": rig.load(winner)}
        times = timer.rounds(programs, options.pick(25, 5))
    return case.of("time_ratio_half_match", ratio(times["generic"], times["specialized"]))


def _times(
    case: Case, rig: Rig, timer: StreamTimer, locality: Locality, winner: Variant, options: Options
) -> list[Result]:
    options.tell(f"{case.suite}/{case.name}: program time")
    stream: Stream = rig.subject.stream(locality)
    by_hand = compile_handwritten(rig, headers=rig.subject.headers(rig.state))
    insns = rig.builder.variant(rig.function, winner, Role.STEADY)
    rig.check({"handwritten": by_hand, "winner": insns}, stream)
    with Loads(options, MANY) as loads:
        loads.add_variant("generic", rig, rig.variant)
        loads.add("specialized", rig, insns)
        loads.add("handwritten", rig, by_hand)
        times = loads.by_load(timer, options.pick(7, 5))
    return [
        case.of("time_ratio", ratio(times["generic"], times["specialized"])),
        case.of("handwritten_ratio", ratio(times["specialized"], times["handwritten"])),
        *(case.median(f"{name}_ns", "ns", values) for name, values in times.items()),
        case.median("floor_ns", "ns", _floor(timer, options)),
    ]


def _floor(timer: StreamTimer, options: Options) -> Sequence[float]:
    return [timer.floor_ns() for _ in range(options.pick(9, 3))]
