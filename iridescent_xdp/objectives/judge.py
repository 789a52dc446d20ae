# SPDX-License-Identifier: GPL-2.0-only
"""Whether a candidate replaces the generic variant, and which: the same rule for any objective.

A candidate must be better by more than generic differs from itself, and by more than MINIMAL_GAIN
of generic's value, with the *lower* bound of its gain. Among those that tie with the best the one
with the fewest deviations wins: what does not pay is not assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from iridescent_xdp.objectives.base import Objective
from iridescent_xdp.statistics import MINIMAL_GAIN, RELIABLE_N, Effect

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Contender(Generic[R]):
    """A variant and what was measured of it; ``deviations`` counts its points that differ."""

    name: str
    deviations: int
    measured: R


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """All numbers in ``unit``; ``winner`` is None when the generic variant stays."""

    objective: str
    unit: str
    winner: str | None
    generic: float
    noise_floor: float
    needed: float
    gains: dict[str, Effect]
    values: dict[str, float]
    reason: str

    def numbers(self) -> dict[str, object]:
        """For an event."""
        return {
            "objective": self.objective,
            "unit": self.unit,
            "generic": self.generic,
            "noise_floor": self.noise_floor,
            "needed": self.needed,
            "values": self.values,
            "objective_gains": self.gains,
        }


def noise_floor(objective: Objective[R], generic: R, twin: R) -> float:
    """How much generic differs from itself: |difference| + half-width, in the unit."""
    effect = objective.gain(twin, generic)
    return abs(effect.value) + effect.half_width


def judge(
    objective: Objective[R], generic: R, twin: R, contenders: Sequence[Contender[R]]
) -> Judgement:
    """Compare everybody with generic. Raises MeasurementError as the objective does."""
    floor = noise_floor(objective, generic, twin)
    value = objective.value(generic)
    needed = max(floor, MINIMAL_GAIN * abs(value))
    gains = {c.name: objective.gain(c.measured, generic) for c in contenders}
    better = [c for c in contenders if gains[c.name].reliable and gains[c.name].low > needed]
    better.sort(key=lambda c: -gains[c.name].value)
    tied = better[:1] + [c for c in better[1:] if not _behind(objective, c, better[0], floor)]
    winner = min(tied, key=lambda c: c.deviations, default=None)
    if winner is None:
        reason = _kept_because(objective, gains, needed)
    else:
        reason = f"{winner.name} {_verb(objective)} {gains[winner.name]}"
        reason += f", generic has {objective.name} {_number(value)} {objective.unit}"
        if winner is not better[0]:
            reason += f", ties with {better[0].name} and deviates less from generic"
    return Judgement(
        objective=objective.name,
        unit=objective.unit,
        winner=winner.name if winner else None,
        generic=value,
        noise_floor=floor,
        needed=needed,
        gains=gains,
        values={c.name: objective.value(c.measured) for c in contenders},
        reason=f"{reason}; needed: {_number(needed)}, noise floor: {_number(floor)}",
    )


def _behind(
    objective: Objective[R], candidate: Contender[R], best: Contender[R], floor: float
) -> bool:
    """Beyond doubt, and by more than a variant differs from itself."""
    lag = objective.gain(best.measured, candidate.measured)
    return lag.low > 0 and lag.value > floor


def _verb(objective: Objective[R]) -> str:
    return "saves" if objective.direction == "lower" else "adds"


def _number(value: float) -> str:
    """Four digits or more, without an exponent where people would not write one."""
    return f"{value:.2f}" if 0.1 <= abs(value) < 1e9 else f"{value:.4g}"


def _kept_because(objective: Objective[R], gains: dict[str, Effect], needed: float) -> str:
    if not gains:
        return "generic stays: there is no candidate"
    name = max(gains, key=lambda name: gains[name].value)
    gain = gains[name]
    if gain.low > needed:
        told = f"{_verb(objective)} {gain}, but {RELIABLE_N} measurements are needed"
        return f"generic stays: {name} {told}"
    told = f"{_verb(objective)} {gain}, not surely enough"
    return f"generic stays: the best candidate, {name}, {told}"
