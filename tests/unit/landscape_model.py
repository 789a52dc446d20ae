# SPDX-License-Identifier: GPL-2.0-only
"""A made-up machine that policies are tried on: gains per point value, interactions, noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from iridescent_xdp.points import Point, PointClass, PointKind
from iridescent_xdp.search.policy import Outcome, Policy, Status, Trial
from iridescent_xdp.search.space import Space
from iridescent_xdp.statistics import Effect
from iridescent_xdp.variant import Variant

SAMPLES_PER_WINDOW = 2000
ARM_NS = 0.5  # deviation of an arm's mean in one window
WIDTH = 2.85 * 2**0.5  # half-width of the 99 % interval of a difference, in its deviations


def space_of(*sizes: int, restrict: Mapping[str, tuple[int, ...]] | None = None) -> Space:
    """Points p0, p1, ... with so many values, and a policy point that is set to 1."""
    points = [
        Point(
            name=f"p{i}",
            point_class=PointClass.TUNING,
            kind=PointKind.RANGE,
            default=0,
            domain=tuple(range(size)),
            doc="a test point",
        )
        for i, size in enumerate(sizes)
    ]
    policy = Point(
        name="policy",
        point_class=PointClass.POLICY,
        kind=PointKind.BOOL,
        default=0,
        domain=(0, 1),
        doc="set by the operator",
    )
    points.append(policy)
    generic = Variant.generic(points, {"policy": 1})
    return Space(points=points, generic=generic, restrict=restrict or {})


SPACE_24 = space_of(3, 2, 2, 2)
SPACE_864 = space_of(3, 2, 2, 2, 2, 3, 2, 3)


@dataclass
class Landscape:
    """Gains in ns over generic: ``single`` per (point, value), ``pair`` for two together."""

    single: Mapping[tuple[str, int], float]
    pair: Mapping[tuple[tuple[str, int], tuple[str, int]], float] = field(default_factory=dict)
    noise: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    @classmethod
    def random(cls, space: Space, seed: int) -> Landscape:
        """Most values gain or lose some ns; two points interact, as strongly as they matter."""
        rng = np.random.default_rng(seed)
        values = [(n, v) for n, axis in space.axes.items() for v in axis if v != space.generic[n]]
        single = {value: rng.normal(3, 6) * (rng.random() < 0.7) for value in values}
        names = sorted({name for name, _ in values})
        pair = {}
        if len(names) > 1:
            chosen = [names[int(i)] for i in rng.choice(len(names), 2, replace=False)]
            one, other = ([value for value in values if value[0] == name] for name in chosen)
            pair = {(a, b): rng.normal(0, 10) for a in one for b in other}
        return cls(single, pair, seed=seed)

    def gain_ns(self, variant: Variant) -> float:
        """The truth."""
        have = set(variant.values)
        singles = sum(gain for value, gain in self.single.items() if value in have)
        return singles + sum(gain for (a, b), gain in self.pair.items() if a in have and b in have)

    def measure(self, batch: Sequence[Trial]) -> list[Outcome]:
        """Every arm against the same generic arm, whose error all of them share."""
        windows = max(2, batch[0].budget // SAMPLES_PER_WINDOW)
        deviation = self.noise * ARM_NS / windows**0.5
        shared = self._rng.normal(0, deviation)
        return [
            measured(
                trial.variant,
                self.gain_ns(trial.variant) + shared + self._rng.normal(0, deviation),
                WIDTH * deviation,
                windows,
            )
            for trial in batch
        ]


def measured(variant: Variant, gain_ns: float, half_ns: float = 0.0, n: int = 20) -> Outcome:
    """An outcome with an effect."""
    effect = Effect(value=gain_ns, low=gain_ns - half_ns, high=gain_ns + half_ns, n=n, unit="ns")
    return Outcome(variant=variant, status=Status.MEASURED, effect=effect)


def refuse(batch: Sequence[Trial]) -> list[Outcome]:
    """Every variant refused, as by the verifier."""
    return [Outcome(variant=t.variant, status=Status.REFUSED, reason="as told") for t in batch]


def fail(batch: Sequence[Trial]) -> list[Outcome]:
    """Every measurement failed."""
    return [Outcome(variant=t.variant, status=Status.FAILED, reason="as told") for t in batch]


def run(
    policy: Policy, measure: Callable[[Sequence[Trial]], list[Outcome]], limit: int = 2000
) -> list[list[Trial]]:
    """Ask and tell until the policy is finished; all batches, in order."""
    batches = []
    while batch := policy.ask():
        batches.append(batch)
        assert len(batches) <= limit, "the policy does not come to an end"
        policy.tell(measure(batch))
    return batches


def regret_ns(policy: Policy, space: Space, landscape: Landscape) -> float:
    """How much slower the policy's first choice is than the best variant of the space."""
    best = max(landscape.gain_ns(variant) for variant in space)
    ranking = policy.ranking()
    chosen = ranking[0][0] if ranking[0][1].value > 0 else space.generic
    return best - landscape.gain_ns(chosen)
