# SPDX-License-Identifier: GPL-2.0-only
"""Variants alone on the interface, one after the other, round by round.

The dispatcher stands in slot 0 and gives all packets to one slot. Each round has every variant
once, in an order of its own, so that what moves slowly (clock speed, the rate of the traffic)
moves all of them. Slots 0 and 1 are put back afterwards, also after an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from iridescent_xdp.controller import Controller
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.measure import Trials
from iridescent_xdp.objectives.base import Turn, TurnObjective, Values
from iridescent_xdp.switchboard import ENTRY, FALLBACK, FIRST_ARM

POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A loaded program that takes turns; ``number`` is the arm that it counts itself in."""

    name: str
    number: int
    program: Program


class Turns:
    """Measures entrants by a TurnObjective."""

    def __init__(
        self,
        controller: Controller,
        trials: Trials,
        *,
        fallback: Program,
        stop: Callable[[], bool] = lambda: False,
        seed: int = 0,
    ) -> None:
        """``fallback`` is where missed guards continue: it must fit the entrants' builds."""
        self._controller = controller
        self._trials = trials
        self._fallback = fallback
        self._stop = stop
        self._rng = np.random.default_rng(seed)

    def measure(self, objective: TurnObjective, entrants: Sequence[Entrant]) -> dict[str, Values]:
        """``repetitions`` numbers of each entrant, in the order of the rounds.

        The first failure ends everything: MeasurementError says whose turn it was.
        """
        numbers: dict[str, list[float]] = {entrant.name: [] for entrant in entrants}
        with self._stage(entrants):
            for _ in range(objective.repetitions):
                for place in self._rng.permutation(len(entrants)):
                    entrant = entrants[place]
                    numbers[entrant.name].append(self._turn(objective, entrant))
        return {name: np.array(values, dtype=np.float64) for name, values in numbers.items()}

    def _turn(self, objective: TurnObjective, entrant: Entrant) -> float:
        controller = self._controller
        version = controller.plan.function.version
        self._trials.only(FIRST_ARM + entrant.number)
        try:
            self._settle(objective.settle_s)
            number = objective.measure(
                Turn(
                    interface=controller.plan.config.name,
                    variant=entrant.name,
                    packets=lambda: self._packets(entrant.number),
                    stop=self._stop,
                )
            )
            if controller.plan.function.version != version:
                raise MeasurementError("the tables changed, generic code was live meanwhile")
        except MeasurementError as error:
            raise MeasurementError(
                f"{objective.name} of {entrant.name}: {error.message}", cure=error.cure
            ) from error
        return number

    def _settle(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            if self._stop():
                raise MeasurementError("interrupted")
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(POLL_S, left))

    def _packets(self, number: int) -> int:
        rows = self._controller.state["arm_stats"].read(number)
        return int(rows["packets"].sum()) if rows is not None else 0

    @contextmanager
    def _stage(self, entrants: Sequence[Entrant]) -> Iterator[None]:
        controller = self._controller
        for entrant in entrants:
            controller.board.put(FIRST_ARM + entrant.number, entrant.program)
        controller.board.put(FALLBACK, self._fallback)
        try:
            self._trials.only(FIRST_ARM + entrants[0].number)
            self._trials.enter()
            yield
        finally:
            controller.board.put(ENTRY, controller.live)
            controller.board.put(FALLBACK, controller.generic)


def spread(numbers: Mapping[str, Values]) -> dict[str, list[float]]:
    """All numbers, for an event."""
    return {name: [float(v) for v in values] for name, values in numbers.items()}
