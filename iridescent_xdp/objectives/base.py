# SPDX-License-Identifier: GPL-2.0-only
"""What is made better: a name, a direction, a unit, and how two variants are compared.

Some objectives follow from the trial in which all arms share the traffic (``SharedObjective``):
nothing else has to be measured. The others need each variant alone on the interface
(``TurnObjective``): variants take turns, and one number comes out of each turn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.config.objective import Direction
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.measure import ArmResult
from iridescent_xdp.statistics import Effect, t_interval

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
        """Mean difference of the turns of the same round, with its t-interval."""
        if len(measured) != len(over) or len(over) < 2:
            raise MeasurementError(
                f"equally many turns, 2 or more, are needed, got {len(measured)} and {len(over)}"
            )
        sign = 1.0 if self.direction == "higher" else -1.0
        weight = np.full(len(over), 1 / len(over))
        return t_interval(sign * (measured - over), weight, self.unit)
