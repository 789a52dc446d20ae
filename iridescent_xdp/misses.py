# SPDX-License-Identifier: GPL-2.0-only
"""After a search: does what is live still fit the traffic?

Guards and hot-key sets count their misses, also in the steady build, where nothing else is
counted. A point that too many packets miss costs more than it saves; it goes back to its default.
How many are too many follows from what the search measured, where that is known (``break_evens``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.controller import STEADY_ARM, Controller
from iridescent_xdp.plan import Plan
from iridescent_xdp.points import PointClass
from iridescent_xdp.search.prediction import COMPARE_NS, LOOKUP_NS, Costs, break_even_share
from iridescent_xdp.statistics import Effect
from iridescent_xdp.summary import Summary
from iridescent_xdp.variant import Variant

DROP_SHARE = 0.5  # a point that more packets miss is given up, where no better limit is known
MOST_SHARE = 0.98  # a limit that a set of keys can reach that nobody asks for any more
ENOUGH_PACKETS = 1000  # between two judgements, or the next look decides

Counts = Mapping[str, tuple[int, int]]  # by point: packets that missed, packets that were counted
NO_LIMITS: Mapping[str, float] = {}


@dataclass(frozen=True, kw_only=True)
class Missed:
    """Points that too many packets miss: ``share`` of them the first, where ``limit`` may."""

    points: tuple[str, ...]
    share: float
    limit: float

    @property
    def reason(self) -> str:
        """For people."""
        names = ", ".join(self.points)
        return f"{self.share:.0%} of the packets miss {names}, at most {self.limit:.0%} may"


class MissWatch:
    """Judges the misses of the live variant; made anew when another one is live.

    ``look`` counts by itself, every second or so; ``add`` is told what others have counted.
    ``limits`` are shares by point (``break_evens``).
    """

    def __init__(self, controller: Controller, limits: Mapping[str, float] = NO_LIMITS) -> None:
        self._controller = controller
        self._limits = limits
        self._begin()

    def _begin(self) -> None:
        self._misses = self._read()
        self._counted: dict[str, tuple[int, int]] = {}
        self._variant = self._controller.live_variant

    def look(self, packets: int) -> tuple[str, ...]:
        """Give up the points that too many of ``packets``, those since the last look, missed.

        Returns their names. The generic code decides until the smaller variant is proven.
        """
        before, self._misses = self._misses, self._read()
        points = self._controller.plan.template.points
        counts = {
            point.name: (int(count), packets)
            for point, count in zip(points, self._misses - before, strict=False)
        }
        missed = self.add(counts)
        if missed is None:
            return ()
        self.give_up(missed)
        return missed.points

    def add(self, counts: Counts) -> Missed | None:
        """Misses and packets since the last call; what too many missed, when enough came."""
        if self._variant != self._controller.live_variant:
            self._begin()
            return None
        for name, (misses, packets) in counts.items():
            had = self._counted.get(name, (0, 0))
            self._counted[name] = (had[0] + misses, had[1] + packets)
        if max((packets for _, packets in self._counted.values()), default=0) < ENOUGH_PACKETS:
            return None
        seen, self._counted = self._counted, {}
        generic = self._controller.plan.generic
        shares = {
            name: min(1.0, misses / packets)
            for name, (misses, packets) in seen.items()
            if packets and self._variant[name] != generic[name]
        }
        bad = [name for name, share in shares.items() if share > self._limit(name)]
        bad.sort(key=lambda name: -shares[name])
        if not bad:
            return None
        return Missed(points=tuple(bad), share=shares[bad[0]], limit=self._limit(bad[0]))

    def _limit(self, point: str) -> float:
        return self._limits.get(point, DROP_SHARE)

    def give_up(self, missed: Missed) -> None:
        """The generic code decides until the variant without these points is proven."""
        controller = self._controller
        generic = controller.plan.generic
        controller.give_up(
            controller.live_variant.with_values(**{name: generic[name] for name in missed.points}),
            reason=missed.reason,
            miss_share=missed.share,
        )

    def _read(self) -> NDArray[np.int64]:
        rows = self._controller.state["arm_stats"].read(STEADY_ARM)
        assert rows is not None
        return np.asarray(rows["misses"].sum(axis=0), dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Won:
    """What is known of a variant that won: its gain, and misses among all packets, by then.

    ``generic_ns`` is 0 where it is not known.
    """

    gain_ns: float
    generic_ns: float = 0.0
    miss_share: float = field(default=0.0)


def break_evens(plan: Plan, variant: Variant, won: Won) -> dict[str, float]:
    """For each point that may miss the share of misses up to which ``variant`` pays; at least
    DROP_SHARE, because what a miss costs is an upper bound.

    A packet that misses a guard has run part of the variant in vain, so at most all of it; one that
    misses hot keys has run all compares in vain. What a hit saves is the whole gain, which it is of
    a guard: what misses it is the generic code's. Points of which nothing is known are left out.
    """
    found = {}
    for point in plan.template.points:
        if variant[point.name] == plan.generic[point.name] or won.gain_ns <= 0:
            continue
        missed_ns = 0.0
        if point.name.startswith("hot_"):
            keys = str(point.show(variant[point.name]))
            missed_ns = int(keys) * COMPARE_NS if keys.isdigit() else LOOKUP_NS
        elif point.point_class is PointClass.NARROWING:
            missed_ns = max(0.0, won.generic_ns - won.gain_ns)
        if missed_ns:
            share = min(won.miss_share, MOST_SHARE)
            saved_ns = Costs.learnt(won.gain_ns, share, missed_ns).saved_ns
            limit = break_even_share(saved_ns, missed_ns)
            found[point.name] = min(MOST_SHARE, max(DROP_SHARE, limit))
    return found


def won_by(summary: Summary | None, gain: Effect | None) -> Won | None:
    """What a search found out about its winner."""
    if summary is None or summary.decision is None or gain is None:
        return None
    shares = [row.miss_share for row in summary.rows if row.variant == summary.winner]
    return Won(
        gain_ns=gain.value,
        generic_ns=summary.decision.generic_ns,
        miss_share=shares[0] if shares else 0.0,
    )
