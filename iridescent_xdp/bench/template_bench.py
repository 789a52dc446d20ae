# SPDX-License-Identifier: GPL-2.0-only
"""Any template, offline: the generic variant against the most specialized one, on a stream.

The stream's packets are run through the observing build first, as before a search. Every narrowing
point then gets the value that is furthest from generic and fits the stream; tuning points are
chosen by the stream's clock, one after the other. The variant has to pass preflight, on the corpus
and on the stream's packets, before it is timed. The generator writes the packet anew each
time, so a program may rewrite it. Nothing is attached.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Self

import numpy as np

from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.builder import Builder
from iridescent_xdp.controller import STEADY_ARM
from iridescent_xdp.errors import ToolchainError, VerifierError
from iridescent_xdp.functions.base import Function, function_for
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.observe import HOPELESS_MISS_SHARE, Observation, keys_seen, values_seen
from iridescent_xdp.points import Point, PointClass, PointKind
from iridescent_xdp.preflight import Packet, Preflight, Sandbox, on_cpu
from iridescent_xdp.statistics import ratio
from iridescent_xdp.template import find_template, read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import MAX_FRAMES, SEQUENCE, StreamTimer
from traffic.mix_stream import Stream, fitted
from traffic.pcap import read_pcap

SEED = 1
PASSES = 4  # of the stream in one measurement


def template_bench(name: str, pcap: Path | None, options: Options) -> list[Result]:
    """Generic against specialized, for a template by name or path, without tables.

    The stream is the capture ``pcap`` in a circle, else the preflight corpus in a circle.
    Raises TemplateError, ToolchainError, VerifierError, PreflightError, TrafficError.
    """
    template = read_template(find_template(name))
    function = function_for(template)
    corpus = function.corpus((), SEED)
    stream = _in_a_circle([frame for _, frame in corpus]) if pcap is None else _captured(pcap)
    case = Case(suite="template", name=template.name)
    with on_cpu(max(os.sched_getaffinity(0))), _Bench(Builder(), function, stream) as bench:
        seen = bench.observe()
        chosen = bench.tuned(narrowed(template.points, bench.generic, seen), options)
        label = chosen.label(template.points, bench.generic)
        options.winners[f"template/{template.name}"] = label
        options.tell(f"template/{template.name}: most specialized is {label}")
        packets = [*corpus, *((f"stream {i}", f) for i, f in enumerate(stream.packets))]
        bench.check(chosen, packets)
        options.tell(f"template/{template.name}: it does as generic on {len(packets):,} packets")
        return bench.figures(case, chosen, options)


def narrowed(points: Sequence[Point], generic: Variant, seen: Observation) -> Variant:
    """Generic with each narrowing point at the value that says most and fits what was seen.

    A value fits when at most a tenth of the packets would miss its guard.
    """
    changes: dict[str, int] = {}
    for point in points:
        if point.point_class is PointClass.NARROWING and seen.values.get(point.name):
            values = seen.candidates(point) if point.kind is PointKind.GENERIC else point.domain
            fitting = [v for v in values if seen.miss_share(point, v) <= HOPELESS_MISS_SHARE]
            start = generic[point.name]
            changes[point.name] = max(fitting, key=lambda v: abs(v - start), default=start)
    return generic.with_values(**changes)


class _Bench:
    """Sandbox, clock and programs of one template."""

    def __init__(self, builder: Builder, function: Function, stream: Stream) -> None:
        self._builder, self._function = builder, function
        self.generic = Variant.generic(function.template.points, function.policy())
        with ExitStack() as stack:
            self._sandbox = Sandbox(builder, function, self.generic)
            stack.callback(self._sandbox.close)
            self._timer = StreamTimer(builder, stream, repeat=PASSES * SEQUENCE)
            stack.callback(self._timer.close)
            self._stack = stack.pop_all()

    def _load(self, variant: Variant) -> Program:
        insns = self._builder.variant(self._function, variant, Role.STEADY)
        program = self._sandbox.state.load(insns, f"bench_{variant.key}", arm=STEADY_ARM)
        self._stack.callback(program.close)
        return program

    def observe(self) -> Observation:
        """What the points would have needed for the stream's packets."""
        state = self._sandbox.state
        code = self._builder.variant(self._function, self.generic, Role.OBSERVE)
        with state.load(code, "bench_observe", arm=STEADY_ARM) as observing:
            self._timer.raw_ns(observing)
        seen = Observation(values=values_seen(state), keys=keys_seen(state))
        self._function.learn_keys(seen.keys)
        return seen

    def tuned(self, start: Variant, options: Options) -> Variant:
        """``start`` with each tuning point at its fastest value, one point after the other."""
        best = start
        for point in self._function.template.points:
            if point.point_class is PointClass.TUNING:
                tried = [best.with_values(**{point.name: value}) for value in point.domain]
                best = self._fastest(tried, options)
        return best

    def _fastest(self, variants: Sequence[Variant], options: Options) -> Variant:
        programs = {}
        for variant in variants:
            if self._function.infeasible(variant) is None:
                try:
                    programs[variant] = self._load(variant)
                except (ToolchainError, VerifierError) as error:
                    options.tell(f"left out: {error}")
        by_key = {variant.key: program for variant, program in programs.items()}
        times = self._timer.rounds(by_key, options.pick(5, 1))
        return min(programs, key=lambda variant: median(times[variant.key]))

    def check(self, variant: Variant, packets: Sequence[Packet]) -> None:
        """Raises PreflightError when the variant differs from generic."""
        preflight = Preflight(self._builder, self._function, self.generic, packets)
        try:
            insns = self._builder.variant(self._function, variant, Role.STEADY)
            preflight.check(insns, f"pf_{variant.key}")
        finally:
            preflight.close()

    def figures(self, case: Case, chosen: Variant, options: Options) -> list[Result]:
        """Nanoseconds per packet, the floor of an empty program left in."""
        programs = {"generic": self._sandbox.generic, "specialized": self._load(chosen)}
        times = self._timer.rounds(programs, options.pick(25, 9))
        floor = [self._timer.floor_ns() for _ in range(9)]
        return [
            case.of("time_ratio", ratio(times["generic"], times["specialized"])),
            *(case.median(f"{name}_ns", "ns", values) for name, values in times.items()),
            case.median("floor_ns", "ns", floor),
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def _in_a_circle(frames: Sequence[bytes]) -> Stream:
    used = tuple(frames[:MAX_FRAMES])
    order = np.resize(np.arange(len(used), dtype=np.uint32), SEQUENCE)
    return Stream(name="corpus", packets=used, sequence=order)


def _captured(pcap: Path) -> Stream:
    return fitted(read_pcap(pcap).stream)
