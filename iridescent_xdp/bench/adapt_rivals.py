# SPDX-License-Identifier: GPL-2.0-only
"""What a controller's run is compared with: programs that stay as they are, by turns on the same
traffic from the same sender.

There is the generic code, an empty program (what the kernel takes for a packet that is dropped at
once), the best variant of each phase as an offline search by the stream's clock finds it, and what
the controller itself had live at the end of each phase. Compiled tables know what the phase hits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Self

import numpy as np

from iridescent_xdp.bench.adapt_bed import Bed
from iridescent_xdp.bench.live import MIN_PACKETS, PATIENCE_S
from iridescent_xdp.bench.results import Options
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.subjects import subjects
from iridescent_xdp.bench.winner import Hunt
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.points import PointClass, PointKind
from iridescent_xdp.search.space import Space
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import StreamTimer
from traffic.scenario import Scenario

RIVAL_ARM = 28  # where their misses are counted: not those of what is live
TURN_S, SETTLE_S = 0.08, 0.02
NOTHING: Mapping[str, tuple[int, ...]] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Turns:
    """ns per packet by program, one for each round."""

    ns: Mapping[str, list[float]]

    @property
    def rounds(self) -> int:
        """How many turns each program had."""
        return min(len(values) for values in self.ns.values())

    def half(self, odd: bool) -> Turns:
        """Every second round."""
        return Turns(ns={name: values[int(odd) :: 2] for name, values in self.ns.items()})

    def means(self, rng: np.random.Generator | None = None) -> dict[str, float]:
        """Of each program, as a controller's phase is a mean: what neighbours of the host take is
        in both. With ``rng`` of rounds drawn anew, the same ones for all programs."""
        picks = np.arange(self.rounds)
        if rng is not None:
            picks = rng.integers(self.rounds, size=self.rounds)
        return {name: float(np.mean(np.asarray(ns)[picks])) for name, ns in self.ns.items()}


class Rivals:
    """Programs on the maps of a bed's controller, by name; a context manager."""

    def __init__(self, bed: Bed, scenario: Scenario) -> None:
        self._bed, self._scenario = bed, scenario
        controller = bed.session.controller
        _, empty = bed.builder.helper("empty")
        self._own: dict[bytes, str] = {}
        self.programs: dict[str, Program] = {}
        self.add("empty", empty)
        generic = controller.plan.generic
        self.add("generic", bed.builder.variant(controller.plan.function, generic, Role.STEADY))

    def add(self, name: str, insns: bytes) -> None:
        """Load a program, unless it is there already."""
        if insns not in self._own:
            self._own[insns] = name
            state = self._bed.session.controller.state
            self.programs[name] = state.load(insns, "rival", arm=RIVAL_ARM)

    def find(self, options: Options) -> None:
        """The fastest variant of each phase by the stream's clock, its hot keys those of the
        phase."""
        plan = self._bed.session.controller.plan
        subject = next(s for s in subjects() if s.name == self._scenario.function)
        tables = plan.config.tables
        for phase in self._scenario.phases:
            with (
                Rig(self._bed.builder, subject, tables, policy=self._policy()) as rig,
                StreamTimer(self._bed.builder, phase.stream()) as timer,
            ):
                rig.learn(timer)
                space = possible(rig, plan.restrict)
                hunt = Hunt(rig, timer, options)
                hunt.walk(space, narrowest(rig, space))
                best = hunt.best()
                code = self._bed.builder.variant(rig.function, best, Role.STEADY)
                options.tell(f"adapt: {phase.name}: offline the best is {rig.label(best)}")
                self.add(f"{rig.label(best)} for {phase.name}", code)

    def _policy(self) -> dict[str, int]:
        plan = self._bed.session.controller.plan
        return {p.name: plan.generic[p.name] for p in plan.template.points if not p.searched}

    def keep_live(self, phase: int) -> None:
        """What is live now, at the end of a phase."""
        controller = self._bed.session.controller
        variant = controller.live_variant
        if variant != controller.plan.generic:
            code = self._bed.builder.variant(controller.plan.function, variant, Role.STEADY)
            name = f"{controller.plan.label(variant)} of {self._scenario.phases[phase].name}"
            self.add(name, code)

    def close(self) -> None:
        """Give the programs back."""
        for program in self.programs.values():
            program.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def possible(rig: Rig, restrict: Mapping[str, tuple[int, ...]] = NOTHING) -> Space:
    """Narrowings as the stream allows, everything else free but for what the operator fixed."""
    template = rig.function.template
    hopeful = rig.seen.hopeful(template)
    generic = {p.name for p in template.points if p.kind is PointKind.GENERIC}
    return Space(
        points=template.points,
        generic=rig.variant,
        restrict={
            **{name: values for name, values in hopeful.items() if name not in generic},
            **restrict,
        },
        observed={name: values for name, values in hopeful.items() if name in generic},
    )


def narrowest(rig: Rig, space: Space) -> Variant:
    """The corner in which everything is as narrow as the space allows."""
    values = {
        point.name: axis[0]
        for point in rig.function.template.points
        if point.point_class is PointClass.NARROWING
        and (axis := [v for v in space.axes[point.name] if v != point.default])
    }
    return rig.variant.with_values(**values)


def play_turns(
    bed: Bed, programs: Mapping[str, Program], scenario: Scenario, rounds: int
) -> list[Turns]:
    """Play each phase of a scenario to ``programs`` by turns, in another order in each of the
    ``rounds``, while nobody adapts; a phase that returns has the turns that it had before. Then
    what was live is live again."""
    controller, random = bed.session.controller, Random(0)
    held, found = controller.board.held, {}
    try:
        for phase in scenario.phases:
            if phase.parts not in found:
                with bed.sending(phase):
                    found[phase.parts] = _rounds(bed, programs, rounds, random)
    finally:
        controller.board.direct(held)
    return [found[phase.parts] for phase in scenario.phases]


def _rounds(bed: Bed, programs: Mapping[str, Program], rounds: int, random: Random) -> Turns:
    ns: dict[str, list[float]] = {name: [] for name in programs}
    order = list(programs)
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            bed.session.controller.board.direct(programs[name])
            ns[name].append(_turn(bed))
    return Turns(ns=ns)


def _turn(bed: Bed) -> float:
    """ns per packet; longer on a busy machine."""
    time.sleep(SETTLE_S)
    before, until = bed.reading(), time.monotonic() + PATIENCE_S
    while True:
        time.sleep(TURN_S)
        now = bed.reading()
        if now.packets - before.packets >= MIN_PACKETS or time.monotonic() > until:
            return now.ns_per_packet(before)
