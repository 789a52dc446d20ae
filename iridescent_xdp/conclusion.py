# SPDX-License-Identifier: GPL-2.0-only
"""How a search ends: the finalists' last trial decides, is told with its numbers, is applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from iridescent_xdp.arms import FIRST_CANDIDATE, Built, Workshop
from iridescent_xdp.controller import Controller
from iridescent_xdp.measure import ArmResult, Trials
from iridescent_xdp.saturation import Saturation, saturate
from iridescent_xdp.search.space import Space
from iridescent_xdp.statistics import MINIMAL_GAIN, Candidate, Decision, Effect, decide

DRIFT = 0.01  # of all packets: this much difference in verdicts is no accident
RUN_PACKETS = 32


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is to happen: ``built`` is None when the generic variant stays."""

    decision: Decision
    built: Built | None
    saturation: Saturation | None


class Conclusion:
    """Chooses among finalists by the operator's objective, and makes the choice live."""

    def __init__(
        self, controller: Controller, workshop: Workshop, trials: Trials, space: Space
    ) -> None:
        self._controller = controller
        self._workshop = workshop
        self._trials = trials
        self._space = space

    def choose(self, finalists: Sequence[Built], results: Sequence[ArmResult]) -> Choice:
        """``results`` are those of generic, generic again, and the finalists, of one trial."""
        honest = [
            (b, r)
            for b, r in zip(finalists, results[2:], strict=True)
            if not self._drifts(results[0], r)
        ]
        candidates = [
            Candidate(name=b.label, windows=r.windows, deviations=self._space.deviations(b.variant))
            for b, r in honest
        ]
        decision = decide(results[0].windows, results[1].windows, candidates)
        if self._controller.plan.config.objective.kind == "throughput":
            choice = self._by_throughput([b for b, _ in honest], decision)
        else:
            choice = self._by_time([b for b, _ in honest], decision)
        self._tell(choice)
        return choice

    def _by_time(self, built: Sequence[Built], decision: Decision) -> Choice:
        chosen = next((b for b in built if b.label == decision.winner), None)
        saturation = self._saturate(chosen) if chosen is not None else None
        return Choice(decision=decision, built=chosen, saturation=saturation)

    def _by_throughput(self, built: Sequence[Built], decision: Decision) -> Choice:
        """The best by packets per second, if ahead by more than generic is of itself."""
        floor = _floor(
            saturate(self._controller, self._workshop, self._trials, self._workshop.twin)
        )
        best: tuple[Built, Saturation, Effect] | None = None
        for item in built:
            seen = self._saturate(item)
            gain = seen.throughput if seen is not None else None
            if seen is not None and gain is not None and (best is None or gain.low > best[2].low):
                best = (item, seen, gain)
        if floor is None or best is None or best[2].low <= 1 + floor:
            told = f"{best[0].label} {best[2]}" if best is not None else "no traffic"
            reason = f"generic stays: best throughput {told}, noise {floor or 0:.3f}"
            return Choice(
                decision=replace(decision, winner=None, reason=reason),
                built=None,
                saturation=best[1] if best is not None else None,
            )
        reason = f"{best[0].label} has throughput {best[2]} of generic; noise {floor:.3f}"
        return Choice(
            decision=replace(decision, winner=best[0].label, reason=reason),
            built=best[0],
            saturation=best[1],
        )

    def _saturate(self, built: Built) -> Saturation | None:
        arm = self._workshop.arm(built, FIRST_CANDIDATE)
        try:
            return saturate(self._controller, self._workshop, self._trials, arm)
        finally:
            arm.program.close()

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
        )
        if choice.saturation is not None:
            name = choice.built.label if choice.built is not None else "generic"
            events.tell("second_observer", variant=name, **choice.saturation.numbers())

    def apply(self, choice: Choice) -> None:
        """Swap the winner's steady build in; in advice mode only say so."""
        chosen, decision = choice.built, choice.decision
        if chosen is None:
            return
        if self._controller.plan.config.apply == "advice":
            self._controller.events.tell("advice", variant=chosen.label, reason=decision.reason)
            return
        self._controller.swap(
            chosen.variant,
            self._workshop.steady(chosen.variant),
            reason=decision.reason,
            gain=decision.gains[chosen.label],
        )


def _floor(twin: Saturation | None) -> float | None:
    """How far generic is from itself in throughput; at least the smallest gain worth a swap."""
    if twin is None or twin.throughput is None:
        return None
    effect = twin.throughput
    return max(MINIMAL_GAIN, abs(effect.value - 1) + effect.half_width)
