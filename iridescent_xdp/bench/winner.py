# SPDX-License-Identifier: GPL-2.0-only
"""The fastest variant for a stream, found offline by the stream's clock.

All combinations of what the traffic allows are measured where they are few; where they are many,
a walk goes to the fastest neighbour until there is none. The better ones are measured once more,
and the best of these again, each loaded several times. The figures that are reported are measured
afterwards: the best of many is lucky.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from iridescent_xdp.bench.loads import Loads
from iridescent_xdp.bench.results import Options
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.errors import IridescentError, MeasurementError
from iridescent_xdp.points import PointKind
from iridescent_xdp.search.space import Space
from iridescent_xdp.variant import Variant
from traffic.generator import StreamTimer

SEMIFINAL, FINAL, FINAL_QUICK = (32, 5), (8, 9), (4, 3)  # how many are left, and their rounds
MANY = 400  # variants; more are not measured one by one
STEPS, STEPS_QUICK = 8, 2


def find_winner(rig: Rig, timer: StreamTimer, options: Options, where: str) -> Variant:
    """The fastest variant for the timer's stream. Raises MeasurementError when none is built."""
    rig.learn(timer)
    space = space_of(rig, options)
    hunt = Hunt(rig, timer, options)
    if space.size <= MANY:
        options.tell(f"{where}: {space.size} variants by the stream's clock")
        hunt.measure(candidates(rig, space, options))
    else:
        options.tell(f"{where}: a walk through {space.size} variants by the stream's clock")
        hunt.walk(space, rig.changed(rig.subject.narrow))
    best = hunt.best()
    options.winners[where] = rig.label(best)
    options.tell(f"{where}: the winner is {rig.label(best)}")
    return best


def space_of(rig: Rig, options: Options) -> Space:
    """Narrowings as the subject says or not at all, everything else free."""
    template, generic, narrow = rig.function.template, rig.variant, rig.parsed(rig.subject.narrow)
    restrict: dict[str, tuple[int, ...]] = {}
    hopeful = rig.seen.hopeful(template)
    for point in template.points:
        if point.name in narrow:
            restrict[point.name] = (generic[point.name], narrow[point.name])
        elif not point.searched:
            continue
        elif options.quick and point.name in rig.subject.quick_fixed:
            restrict[point.name] = (generic[point.name],)
        elif point.name in hopeful and point.kind is not PointKind.GENERIC:
            restrict[point.name] = hopeful[point.name]
    return Space(points=template.points, generic=generic, restrict=restrict)


def candidates(rig: Rig, space: Space, options: Options) -> list[Variant]:
    """All feasible variants; the quick form narrows all or nothing."""
    narrow = rig.parsed(rig.subject.narrow)
    found = [v for v in space if rig.function.infeasible(v) is None]
    if options.quick:
        found = [v for v in found if len({v[name] == narrow[name] for name in narrow}) <= 1]
    return found


class Hunt:
    """Times of variants that were measured."""

    def __init__(self, rig: Rig, timer: StreamTimer, options: Options) -> None:
        self._rig, self._timer, self._options = rig, timer, options
        self._times: dict[Variant, float] = {}

    def measure(self, variants: Sequence[Variant], n: int | None = None) -> None:
        """Those that can be built."""
        good = [v for v in variants if v not in self._times and self._builds(v)]
        self._time(good, self._options.pick(2, 1) if n is None else n)

    def _time(self, variants: Sequence[Variant], n: int) -> None:
        if variants:
            self._timer.patience = self._options.patience
            times = self._timer.rounds({v.key: self._rig.load(v) for v in variants}, n)
            self._times |= {v: median(times[v.key]) for v in variants}

    def _builds(self, variant: Variant) -> bool:
        if self._rig.function.infeasible(variant) is not None:
            return False
        try:
            self._rig.load(variant)
        except IridescentError as error:
            self._options.tell(f"{self._rig.label(variant)} is left out: {error}")
            return False
        return True

    def walk(self, space: Space, here: Variant) -> None:
        """From ``here`` to the fastest neighbour, one point at a time, until there is none."""
        options = self._options
        self.measure([self._rig.variant, here])
        for _ in range(options.pick(STEPS, STEPS_QUICK)):
            self.measure(space.neighbours(here), options.pick(3, 1))
            best = min(self._times, key=self._times.__getitem__)
            if best == here:
                break
            here = best

    def fastest(self, count: int) -> list[Variant]:
        """By what was measured so far, the best first."""
        return sorted(self._times, key=self._times.__getitem__)[:count]

    def best(self) -> Variant:
        """The fastest of the fastest, measured again and again."""
        if not self._times:
            raise MeasurementError("no variant could be built")
        quick = self._options.quick
        if not quick:
            count, n = SEMIFINAL
            self._time(self.fastest(count), n)
        count, n = FINAL_QUICK if quick else FINAL
        last = self.fastest(count)
        with Loads(self._options) as loads:
            for variant in last:
                loads.add_variant(f"final_{variant.key}", self._rig, variant)
            times = loads.rounds(self._timer, n)
        return min(last, key=lambda variant: median(times[f"final_{variant.key}"]))
