# SPDX-License-Identifier: GPL-2.0-only
"""Screening: one change at a time, then all that pay together, then each taken out again.

For many points, where trials must grow with the number of values and not with their product. Most
of a path's time is a sum over its parts, so that what pays alone mostly pays together (effects are
sparse and low-order: Box & Meyer 1986). Three steps:

1. *Screen*: each value alone against the generic variant, as one factor at a time (Daniel 1973),
   or, where there are more values than trials, a balanced fraction of all combinations whose main
   effects a model works out (``search.surrogate``).
2. *Combine* for each point the value that surely gains most. "Surely" accounts for the number of
   values looked at (``search.sequential``): of a hundred that do nothing one looks good.
3. *Check* the combination against itself without one of its changes, and with one more. What is
   better becomes the combination, as often as something is. This is the second end from which
   each change is seen alone, where interactions show.

A final compares the best with what is simpler and cannot be told from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from iridescent_xdp.search.coding import Coding
from iridescent_xdp.search.policy import WHOLE_SPACE, Policy
from iridescent_xdp.search.sequential import anytime
from iridescent_xdp.search.surrogate import Surrogate, suggest
from iridescent_xdp.search.trial import Round
from iridescent_xdp.statistics import Effect
from iridescent_xdp.variant import Variant

CHECKS = 4  # combinations at most
SCREEN_SHARE = 0.6  # of the trials, before the rest is a fraction of the combinations
GUESSES = 3  # of the model, in each check: what it expects of changes that were not seen together


class ScreeningPolicy(Policy):
    """Main effects first, then their combination, then its neighbours."""

    name = "screening"
    trial_limit = 400

    def rounds(self) -> Iterator[Round]:
        """The screen, combinations while they get better, a final."""
        samples = self.settings.first_samples
        if self.space.size <= WHOLE_SPACE:
            yield Round(variants=self.space, samples=samples)
            yield from self.final()
            return
        singles = self._singles()
        yield Round(variants=self._design(singles), samples=samples)
        combined = self._combination(singles)
        visited: set[Variant] = set()
        while combined not in visited and len(visited) < CHECKS:
            visited.add(combined)
            yield Round(variants=self._checks(combined, len(visited) == 1), samples=samples)
            together = self._improved(combined)
            yield Round(variants=[combined, together], samples=2 * samples)
            combined = self._better(combined, together)
        yield from self.final(self.simplified(combined))

    def _singles(self) -> list[Variant]:
        return [v for v in self.space.neighbours(self.space.base) if v != self.space.generic]

    def _design(self, singles: Sequence[Variant]) -> list[Variant]:
        """What is measured first: all singles, or a fraction of the combinations."""
        seeds = [seed for seed in self.settings.seeds if seed in self.space]
        affordable = int(SCREEN_SHARE * self.room())
        if len(singles) + len(seeds) + 1 <= affordable:
            return list(dict.fromkeys([*seeds, self.space.base, *singles]))
        rng = np.random.default_rng(self.settings.seed)
        return [*seeds, *self.space.sample(max(2, affordable - len(seeds)), rng)]

    def _combination(self, singles: Sequence[Variant]) -> Variant:
        """For each point the value that surely gains most, if there is one."""
        base = self.space.base
        gains = self._main_effects(singles)
        chosen: dict[str, tuple[float, int]] = {}
        for single, gain in gains.items():
            name = _changed(base, single)
            if gain.low > 0 and gain.value > chosen.get(name, (0.0, 0))[0]:
                chosen[name] = (gain.value, single[name])
        return base.with_values(**{name: value for name, (_, value) in chosen.items()})

    def _main_effects(self, singles: Sequence[Variant]) -> dict[Variant, Effect]:
        """What each change gains over the base: measured, or else what the model makes of it."""
        base, known = self.space.base, self.known()
        mark = self.effect(base)
        modelled = [single for single in singles if single not in known]
        gains = {
            single: anytime(_less(known[single], mark), look=1, arms=len(singles))
            for single in singles
            if single in known and mark is not None
        }
        if modelled and known:
            coding = Coding(self.space)
            rows = coding.encode([base, *modelled])
            mean, deviation = Surrogate(coding, known).predict(rows)
            for single, value, error in zip(modelled, mean[1:], deviation[1:], strict=True):
                gain = float(value - mean[0])
                gains[single] = Effect(
                    value=gain, low=gain - float(error), high=gain + float(error), n=1, unit="ns"
                )
        return gains

    def _checks(self, combined: Variant, first: bool) -> list[Variant]:
        """The combination, it without one change, guesses of the model, and the first time it with
        one other change, those first that did best alone."""
        base, known = self.space.base, self.known()
        around = [v for v in self.space.neighbours(combined) if self.effect(v) is None]
        fewer, more = list[Variant](), list[tuple[float, Variant]]()
        for variant in around:
            name = _changed(combined, variant)
            if variant[name] == base[name]:
                fewer.append(variant)
            elif first:
                alone = known.get(base.with_values(**{name: variant[name]}))
                more.append((alone.value if alone else -math.inf, variant))
        more.sort(key=lambda pair: -pair[0])
        guesses = suggest(self.space, known, GUESSES, seed=self.settings.seed)
        return list(dict.fromkeys([combined, *fewer, *guesses, *(v for _, v in more)]))

    def _improved(self, combined: Variant) -> Variant:
        """The combination with every change that made it better, or what is better than that."""
        around = self.known(self.space.neighbours(combined))
        mark = self.effect(combined)
        best = self.best()
        if mark is None:
            return best
        better = sorted(
            (v for v, e in around.items() if e.value - mark.value > e.half_width / 2),
            key=lambda v: -around[v].value,
        )
        steps: dict[str, int] = {}
        for neighbour in better:
            name = _changed(combined, neighbour)
            steps.setdefault(name, neighbour[name])
        together = combined.with_values(**steps)
        return together if len(steps) > 1 and self.usable(together) else best

    def _better(self, combined: Variant, together: Variant) -> Variant:
        known = self.known([combined, together])
        best = self.best()
        return max([*known, best], key=lambda v: e.value if (e := self.effect(v)) else 0.0)


def _changed(one: Variant, other: Variant) -> str:
    return next(name for name, value in one.values if other[name] != value)


def _less(effect: Effect, mark: Effect) -> Effect:
    """The difference of two gains."""
    half = math.hypot(effect.half_width, mark.half_width)
    value = effect.value - mark.value
    return Effect(value=value, low=value - half, high=value + half, n=effect.n, unit=effect.unit)
