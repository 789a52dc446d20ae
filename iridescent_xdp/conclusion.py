# SPDX-License-Identifier: GPL-2.0-only
"""How a search ends: the finalists' last trial decides, is told with its numbers, is applied."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from iridescent_xdp.arms import FIRST_CANDIDATE, GENERIC_ARM, TWIN_ARM, Built, Workshop
from iridescent_xdp.controller import Controller
from iridescent_xdp.errors import MeasurementError, PreflightError, ToolchainError, VerifierError
from iridescent_xdp.fitness import Fitness
from iridescent_xdp.limits import Limits
from iridescent_xdp.measure import ArmResult, Trials
from iridescent_xdp.objectives import SharedObjective, TurnObjective, make_objective
from iridescent_xdp.objectives.judge import Contender, Judgement, judge
from iridescent_xdp.objectives.turns import Entrant, Turns, spread
from iridescent_xdp.saturation import Saturation, saturate
from iridescent_xdp.search.space import Space
from iridescent_xdp.statistics import Candidate, Decision, decide

DRIFT = 0.01  # of all packets: this much difference in verdicts is no accident
RUN_PACKETS = 32
GENERIC, TWIN = "generic", "generic again"

Finalist = tuple[Built, ArmResult]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is to happen: ``built`` is None when the generic variant stays.

    ``decision`` has the times of the last trial, whatever the objective; ``judgement`` has the
    objective's numbers, and is None when they could not be measured.
    """

    decision: Decision
    built: Built | None
    judgement: Judgement | None


class Conclusion:
    """Chooses among finalists by the operator's objective and constraints; makes it live."""

    def __init__(
        self,
        controller: Controller,
        workshop: Workshop,
        trials: Trials,
        space: Space,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """``limits`` are the interface's, and know what was swapped before; ``clock`` gives
        seconds since the epoch; ``stop`` ends a measurement by turns, which may take long.
        """
        self._controller = controller
        self._workshop = workshop
        self._trials = trials
        self._space = space
        self._config = controller.plan.config
        self._limits = limits or Limits(self._config.limits)
        self._clock = clock
        self._stop = stop
        self._fitness = Fitness(controller, workshop)

    # -- choosing --------------------------------------------------------------------------

    def choose(self, finalists: Sequence[Built], results: Sequence[ArmResult]) -> Choice:
        """``results`` are those of generic, generic again, and the finalists, of one trial."""
        generic, twin = results[:2]
        honest = [
            (built, result)
            for built, result in zip(finalists, results[2:], strict=True)
            if not result.behind and not self._drifts(generic, result)
        ]
        candidates = [
            Candidate(name=b.label, windows=r.windows, deviations=self._deviations(b))
            for b, r in honest
        ]
        times = decide(generic.windows, twin.windows, candidates)
        fit = [(b, r) for b, r in honest if self._fitness.keeps(b, r, generic)]
        if honest and not fit:
            reason = "generic stays: no finalist keeps the constraints"
            choice = _kept(times, reason)
        else:
            choice = self._judged(times, generic, twin, fit)
        self._tell(choice)
        return choice

    def _judged(
        self, times: Decision, generic: ArmResult, twin: ArmResult, fit: Sequence[Finalist]
    ) -> Choice:
        objective = make_objective(self._config.objective)
        try:
            if isinstance(objective, SharedObjective):
                contenders = [
                    Contender(name=b.label, deviations=self._deviations(b), measured=r)
                    for b, r in fit
                ]
                judgement = judge(objective, generic, twin, contenders)
            else:
                judgement = self._by_turns(objective, [b for b, _ in fit])
        except MeasurementError as error:
            self._controller.events.tell(
                "measurement_failed", objective=objective.name, reason=str(error)
            )
            return _kept(times, f"generic stays: its objective could not be measured: {error}")
        chosen = next((b for b, _ in fit if b.label == judgement.winner), None)
        return Choice(
            decision=replace(times, winner=judgement.winner, reason=judgement.reason),
            built=chosen,
            judgement=judgement,
        )

    def _by_turns(self, objective: TurnObjective, built: Sequence[Built]) -> Judgement:
        """Generic, generic again and ``built``, each alone on the interface by turns."""
        if not built:
            raise MeasurementError("there is no candidate")
        with contextlib.ExitStack() as loaded:
            if objective.counting:
                entrants = self._counting(built)
                fallback = self._workshop.fallback
            else:
                entrants = self._steady(built, loaded)
                fallback = self._controller.generic
            turns = Turns(
                self._controller, self._trials, fallback=fallback, stop=self._stop,
                seed=self._config.search.seed,
            )  # fmt: skip
            numbers = turns.measure(objective, entrants)
        self._controller.events.tell(
            "turns", objective=objective.name, unit=objective.unit, values=spread(numbers)
        )
        contenders = [
            Contender(name=b.label, deviations=self._deviations(b), measured=numbers[b.label])
            for b in built
            if b.label in numbers
        ]
        return judge(objective, numbers[GENERIC], numbers[TWIN], contenders)

    def _counting(self, built: Sequence[Built]) -> list[Entrant]:
        """Measured builds."""
        shop = self._workshop
        entrants = [
            Entrant(name=GENERIC, number=GENERIC_ARM, program=shop.generic.program),
            Entrant(name=TWIN, number=TWIN_ARM, program=shop.twin.program),
        ]
        for item, arm in zip(built, shop.arms(built), strict=True):
            entrants.append(Entrant(name=item.label, number=arm.number, program=arm.program))
        return entrants

    def _steady(self, built: Sequence[Built], loaded: contextlib.ExitStack) -> list[Entrant]:
        """The builds that would be swapped in; one that cannot be made is told and left out."""
        generic = self._controller.plan.generic
        entrants = []
        for number, name in ((GENERIC_ARM, GENERIC), (TWIN_ARM, TWIN)):
            program = loaded.enter_context(self._fitness.load(generic))
            entrants.append(Entrant(name=name, number=number, program=program))
        for number, item in enumerate(built, FIRST_CANDIDATE):
            try:
                program = loaded.enter_context(self._fitness.load(item.variant))
            except (PreflightError, ToolchainError, VerifierError) as error:
                self._fitness.refuse(item, error)
                continue
            entrants.append(Entrant(name=item.label, number=number, program=program))
        return entrants

    def _deviations(self, built: Built) -> int:
        return self._space.deviations(built.variant)

    def _drifts(self, generic: ArmResult, arm: ArmResult) -> bool:
        """Afterwards once more: did the arm decide as generic did? Same traffic, same shares.

        The packets of a run may belong together, so the standard error is taken of runs.
        """
        shares = [r.verdicts / max(1, r.packets) for r in (generic, arm)]
        runs = max(1.0, min(generic.packets, arm.packets) / RUN_PACKETS)
        worst = float(np.abs(shares[0] - shares[1]).max())
        if worst <= DRIFT + 6 * 0.5 / runs**0.5:
            return False
        self._controller.events.tell("drift", variant=arm.name, verdict_share=worst)
        return True

    # -- telling and applying --------------------------------------------------------------

    def _tell(self, choice: Choice) -> None:
        decision, events = choice.decision, self._controller.events
        events.tell(
            "decision",
            winner=decision.winner or "generic",
            generic_ns=decision.generic_ns,
            noise_floor_ns=decision.noise_floor_ns,
            needed_ns=decision.needed_ns,
            gains=dict(decision.gains),
            reason=decision.reason,
            **(choice.judgement.numbers() if choice.judgement is not None else {}),
        )

    def confirm(self, choice: Choice) -> Saturation | None:
        """After the swap: what the kernel's own clock and counters say about the winner.

        Throughput and the kernel's times, told as an event; None without a winner, and where all
        packets to one program is more than the operator allows.
        """
        built, share = choice.built, self._config.limits.max_share
        if built is None:
            return None
        if share < 1:
            self._controller.events.tell(
                "second_observer_left_out",
                variant=built.label,
                reason=f"it needs all packets, limits.max_share is {share:g}",
            )
            return None
        (arm,) = self._workshop.arms([built])
        seen = saturate(self._controller, self._workshop, self._trials, arm)
        if seen is not None:
            self._controller.events.tell("second_observer", variant=built.label, **seen.numbers())
        return seen

    def apply(self, choice: Choice) -> bool:
        """Swap the winner's steady build in; returns whether that was done.

        In advice mode, and when a limit forbids a swap now, it is only said.
        """
        chosen, decision, events = choice.built, choice.decision, self._controller.events
        if chosen is None:
            return False
        if self._config.apply == "advice":
            events.tell("advice", variant=chosen.label, reason=decision.reason)
            return False
        if chosen.variant == self._controller.live_variant:  # it was the best so far already
            events.tell("confirmed", variant=chosen.label, reason=decision.reason)
            return True
        now = self._clock()
        forbidden = self._limits.allow_swap(now)
        if forbidden is not None:
            events.tell("held_back", variant=chosen.label, reason=forbidden)
            return False
        self._controller.swap(
            chosen.variant,
            self._fitness.steady(chosen.variant),
            reason=decision.reason,
            gain=decision.gains[chosen.label],
            direct=False,  # the search goes on through the root; its end lets the link hold it
        )
        self._limits.note_swap(now)
        return True


def _kept(times: Decision, reason: str) -> Choice:
    return Choice(
        decision=replace(times, winner=None, reason=reason),
        built=None,
        judgement=None,
    )
