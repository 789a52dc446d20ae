# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel has counted for a sensor, read and turned into groups of a signature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.adapt.reading import Histogram
from iridescent_xdp.adapt.signature import MISSES, Group
from iridescent_xdp.adapt.stand_ins import REFERENCE_ARM, SENSED_ARM
from iridescent_xdp.controller import STEADY_ARM, Controller
from iridescent_xdp.kernel.maps import Records
from iridescent_xdp.points import PointClass
from iridescent_xdp.state import State

VERDICTS = ("aborted", "drop", "pass", "tx", "redirect")
_SUMMED = ("packets", "verdicts", "misses", "histogram")


@dataclass(frozen=True, kw_only=True, eq=False)
class New:
    """What was counted between two readings."""

    misses: NDArray[np.int64]  # by point, of the live variant's two builds
    aside: int  # packets that the reference decided about: nobody counted their misses
    verdicts: NDArray[np.int64]  # of sampled packets, by number
    times: Histogram
    reference_times: Histogram
    seen: int
    samples: Records  # struct sample, of all CPUs one after the other


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """All that has been counted so far; counts never go back but when a search zeroes arms."""

    steady: Mapping[str, NDArray[np.int64]]
    sensed: Mapping[str, NDArray[np.int64]]
    reference: Mapping[str, NDArray[np.int64]]
    looks: Records

    @classmethod
    def read(cls, state: State) -> Self:
        """The counts now."""
        looks = state["looks"].read()
        assert looks is not None
        steady, sensed, reference = (
            _summed(state, arm) for arm in (STEADY_ARM, SENSED_ARM, REFERENCE_ARM)
        )
        return cls(steady=steady, sensed=sensed, reference=reference, looks=looks)

    def since(self, before: Counts) -> New:
        """What came after ``before``."""
        steady, sensed, reference = (
            {name: np.maximum(0, now[name] - then[name]) for name in _SUMMED}
            for now, then in (
                (self.steady, before.steady),
                (self.sensed, before.sensed),
                (self.reference, before.reference),
            )
        )
        return New(
            misses=steady["misses"] + sensed["misses"],
            aside=int(reference["packets"]),
            verdicts=sensed["verdicts"] + reference["verdicts"],
            times=sensed["histogram"],
            reference_times=reference["histogram"],
            seen=int(self.looks["seen"].sum() - before.looks["seen"].sum()),
            samples=np.concatenate(
                [_ring(now, then) for now, then in zip(self.looks, before.looks, strict=True)]
            ),
        )


def _summed(state: State, arm: int) -> dict[str, NDArray[np.int64]]:
    """An arm's counts, all CPUs together."""
    rows = state["arm_stats"].read(arm)
    assert rows is not None
    return {name: rows[name].sum(axis=0, dtype=np.int64) for name in _SUMMED}


def _ring(now: Records, then: Records) -> Records:
    """The samples that one CPU took after ``then``: the last ones, if it took more than fit."""
    size = len(now["samples"])
    last, first = int(now["taken"]), int(then["taken"])
    return now["samples"][np.arange(max(first, last - size), last) % size]


def verdict_group(new: New) -> dict[str, Group]:
    """How sampled packets were decided; empty when they were not counted."""
    counts = tuple(int(c) for c in new.verdicts[: len(VERDICTS)])
    return {"verdict": Group(names=VERDICTS, counts=counts)} if any(counts) else {}


def miss_groups(new: New, packets: int, points: Mapping[str, int]) -> dict[str, Group]:
    """For each point its misses among ``packets``: those that came since the reading before."""
    counted = max(0, packets - new.aside)
    found = {}
    for name, index in points.items():
        missed = min(counted, int(new.misses[index]))
        if counted:
            found[MISSES + name] = Group(names=("miss", "hit"), counts=(missed, counted - missed))
    return found


def missable(controller: Controller) -> dict[str, int]:
    """Points whose misses the live variant may count, with their index: guards, and hot keys."""
    template, live = controller.plan.template, controller.live_variant
    hot = any(table.hot for table in template.tables)
    return {
        point.name: index
        for index, point in enumerate(template.points)
        if live[point.name] != controller.plan.generic[point.name]
        and point.searched
        and (hot or point.point_class is PointClass.NARROWING)
    }
