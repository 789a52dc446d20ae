# SPDX-License-Identifier: GPL-2.0-only
"""Racing: cheap measurements of many, expensive ones of those that can still win.

Successive halving (Jamieson & Talwalkar 2016) with elimination by confidence as in racing
(Maron & Moore 1994). In a space that was only sampled hill climbing follows: by one-point changes,
and where these lead no further by what a model of all measurements expects.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence

import numpy as np

from iridescent_xdp.search.model import promising
from iridescent_xdp.search.policy import Policy, Round
from iridescent_xdp.statistics import Effect
from iridescent_xdp.variant import Variant

WHOLE_SPACE = 32  # up to here every variant takes part
GENERATION = 24  # above, so many are sampled
AHEAD = 0.5  # of the interval of a difference: this much better is better


class RacingPolicy(Policy):
    """Halves a first generation, then climbs from the winner while a neighbour is better."""

    name = "racing"
    trial_limit = 400

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
        yield Round(variants=arms, samples=samples)
        arms = self._survivors(arms)
        while len(arms) > self.settings.finalists and 2 * samples < self.settings.final_samples:
            samples *= 2
            yield Round(variants=arms, samples=samples)
            arms = self._survivors(arms)

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

    def _climb(self) -> Generator[Round, None, Variant]:
        """Moves to a better variant until neither a neighbour nor a guess is better."""
        samples = self.settings.first_samples
        incumbent = self._best(list(self._records))
        visited: set[Variant] = set()
        while incumbent not in visited:
            visited.add(incumbent)
            neighbours = self.space.neighbours(incumbent)
            yield from self._against(incumbent, self._unmeasured(neighbours), samples)
            challengers = self._challengers(incumbent, neighbours)
            yield from self._against(incumbent, challengers, 2 * samples)
            incumbent = self._leader(incumbent, challengers)
            if incumbent in visited:  # no single change helps; perhaps several together do
                guesses = self._guesses()
                yield from self._against(incumbent, guesses, samples)
                incumbent = self._leader(incumbent, guesses)
        return incumbent

    @staticmethod
    def _against(incumbent: Variant, others: Sequence[Variant], samples: int) -> Iterator[Round]:
        if others:
            yield Round(variants=[incumbent, *others], samples=samples)

    def _unmeasured(self, arms: Sequence[Variant]) -> list[Variant]:
        return [arm for arm in arms if self.effect(arm) is None and self.usable(arm)]

    def _challengers(self, incumbent: Variant, neighbours: Sequence[Variant]) -> list[Variant]:
        """The neighbours that look better, and one variant with all their changes together."""
        known, mark = self._known(neighbours), self.effect(incumbent)
        if mark is None:
            return []
        better = [n for n in known if known[n].value > mark.value]
        better.sort(key=lambda n: known[n].value, reverse=True)
        steps: dict[str, int] = {}
        for neighbour in better:
            name = self._changed(incumbent, neighbour)
            steps.setdefault(name, neighbour[name])
        together = incumbent.with_values(**steps)
        chosen = better[: max(1, self.settings.max_arms - 2)]
        if len(steps) > 1 and together in self.space and self.usable(together):
            chosen.append(together)
        return chosen

    def _guesses(self) -> list[Variant]:
        """Unmeasured variants that should be good, going by all that were measured."""
        known = self._known([self.space.generic, *self._records])
        gains = {variant: effect.value for variant, effect in known.items()}
        count = max(1, self.settings.max_arms - 1)
        return promising(self.space, gains, count, self.settings.seed)

    @staticmethod
    def _changed(one: Variant, other: Variant) -> str:
        return next(name for name, value in one.values if other[name] != value)

    def _leader(self, incumbent: Variant, challengers: Sequence[Variant]) -> Variant:
        """The best challenger if it is ahead of the incumbent, else the incumbent."""
        mark = self.effect(incumbent)
        if mark is None:  # it failed when it was measured again
            return self._best(list(self._records))
        best = self._best([incumbent, *challengers])
        lead = self.effect(best) or mark
        margin = AHEAD * math.hypot(lead.half_width, mark.half_width)
        return best if lead.value - mark.value > margin else incumbent

    def _simplified(self, variant: Variant) -> list[Variant]:
        """``variant`` without the deviations from generic that do not show in the times."""
        mark, generic = self.effect(variant), self.space.generic
        useless: dict[str, int] = {}
        for name, value in variant.values:
            without = variant.with_values(**{name: generic[name]})
            effect = self.effect(without) if value != generic[name] else None
            if mark is not None and effect is not None and effect.high >= mark.low:
                useless[name] = generic[name]
        simpler = variant.with_values(**useless)
        return [simpler] if useless and simpler in self.space else []
