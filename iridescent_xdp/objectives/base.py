# SPDX-License-Identifier: GPL-2.0-only
"""What is made better: a name, a direction, a unit, and how two variants are compared.

Some objectives follow from the trial in which all arms share the traffic (``SharedObjective``):
nothing else has to be measured. The others need each variant alone on the interface
(``TurnObjective``): variants take turns, and one number comes out of each turn.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.config.objective import Direction
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.measure import ArmResult
from iridescent_xdp.statistics import CONFIDENCE, Effect

Values = NDArray[np.float64]  # one number per turn
R = TypeVar("R")


class Objective(ABC, Generic[R]):
    """Compares what was measured of two variants; ``R`` is what was measured of one."""

    name: ClassVar[str]
    direction: Direction
    unit: str

    @abstractmethod
    def value(self, measured: R) -> float:
        """The objective itself, in ``unit``. Raises MeasurementError when there is none."""

    @abstractmethod
    def gain(self, measured: R, over: R) -> Effect:
        """By how much ``measured`` is better than ``over``, in ``unit``; below 0 it is worse.

        Both were measured together. Raises MeasurementError when they cannot be compared.
        """


class SharedObjective(Objective[ArmResult]):
    """Follows from a trial in which all variants shared the traffic."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one variant is measured with while it has all packets to itself.

    ``packets`` reads the variant's own counter, if the objective asked for ``counting``; ``stop``
    says that the measurement has to end now.
    """

    interface: str
    variant: str
    packets: Callable[[], int]
    stop: Callable[[], bool]


class TurnObjective(Objective[Values]):
    """Needs each variant alone on the interface, ``repetitions`` times, by turns.

    Before each turn the variant runs alone for ``settle_s``. With ``counting`` it is the measured
    build, which counts its packets; else the one that would be swapped in.
    """

    counting: ClassVar[bool] = False
    repetitions: int
    settle_s: float

    @abstractmethod
    def measure(self, turn: Turn) -> float:
        """One number, in ``unit``. Raises MeasurementError when there is none; never a guess."""

    def value(self, measured: Values) -> float:
        """The median over turns."""
        return float(np.median(measured))

    def gain(self, measured: Values, over: Values) -> Effect:
        """Median difference of the turns of the same round, with its sign-test interval."""
        if len(measured) != len(over) or len(over) < 2:
            raise MeasurementError(
                f"equally many turns, 2 or more, are needed, got {len(measured)} and {len(over)}"
            )
        sign = 1.0 if self.direction == "higher" else -1.0
        return median_interval(sign * (measured - over), self.unit)


def median_interval(values: Values, unit: str) -> Effect:
    """The median with the interval of the sign test: two of the values themselves, exact for any
    distribution (Conover, Practical Nonparametric Statistics, 3.2).

    From 12 values on the interval does not depend on the lowest and highest one, so one turn that
    was disturbed decides nothing. Below 8 values even the whole range covers less than 99 %.
    """
    ordered, n = np.sort(values), len(values)
    outside, below = 0, 0.0
    while (below := below + math.comb(n, outside) / 2**n) <= (1 - CONFIDENCE) / 2:
        outside += 1
    first = max(0, outside - 1)
    return Effect(
        value=float(np.median(ordered)),
        low=float(ordered[first]),
        high=float(ordered[n - 1 - first]),
        n=n,
        unit=unit,
    )
