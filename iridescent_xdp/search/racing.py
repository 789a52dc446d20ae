# SPDX-License-Identifier: GPL-2.0-only
"""Racing: cheap measurements of many, expensive ones of those that can still win.

Successive halving (Jamieson & Talwalkar 2016) with elimination by confidence as in racing
(Maron & Moore 1994), then, in a space that was only sampled, hill climbing by one-point changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from iridescent_xdp.search.policy import Policy, Round
from iridescent_xdp.statistics import Effect
from iridescent_xdp.variant import Variant

WHOLE_SPACE = 32  # up to here every variant takes part
GENERATION = 24  # above, so many are sampled
AHEAD = 0.5  # of the interval of a difference: this much better is better


class RacingPolicy(Policy):
    """Halves a first generation, then climbs from the winner while a neighbour is better."""

    name = "racing"

    def _rounds(self) -> Iterator[Round]:
        arms = self._generation()
        yield from self._halve(arms)
        simpler: list[Variant] = []
        if self.space.size > WHOLE_SPACE:
            incumbent = yield from self._climb()
            simpler = self._simplified(incumbent)
        yield from self._final(simpler)

    def _generation(self) -> list[Variant]:
        if self.space.size <= WHOLE_SPACE:
            return list(self.space)
        seeds = [variant for variant in self.settings.seeds if variant in self.space]
        longest = max(map(len, self.space.axes.values()))
        sampled = self.space.sample(
            max(GENERATION - len(seeds), longest), np.random.default_rng(self.settings.seed)
        )
        return list(dict.fromkeys([*seeds, *sampled]))

    def _halve(self, arms: list[Variant]) -> Iterator[Round]:
        samples = self.settings.first_samples
        while samples < self.settings.final_samples:
            yield Round(variants=arms, samples=samples)
            arms = self._survivors(arms)
            if len(arms) <= self.settings.finalists:
                return
            samples *= 2

    def _survivors(self, arms: Sequence[Variant]) -> list[Variant]:
        """The better half, less those that are surely worse than the best."""
        known = self._known(arms)
        better = sorted(known, key=lambda arm: known[arm].value, reverse=True)
        better = better[: math.ceil(len(arms) / 2)]
        return [arm for arm in better if known[arm].high >= known[better[0]].low]

    def _known(self, arms: Sequence[Variant]) -> dict[Variant, Effect]:
        return {arm: effect for arm in arms if (effect := self.effect(arm)) is not None}

    def _best(self, arms: Sequence[Variant]) -> Variant:
        """The best of these, or the generic variant where nothing beats it."""
        known = self._known([self.space.generic, *arms])
        return max(known, key=lambda arm: known[arm].value)

    def _climb(self) -> Iterator[Round]:
        ...
