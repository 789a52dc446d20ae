# SPDX-License-Identifier: GPL-2.0-only
"""A bandit: it never stops, follows a machine and a traffic that change, and bounds exploring.

Discounted Thompson sampling (Raj & Kalyani 2017, arXiv 1707.09727), in batches of arms that are
measured together. A result loses weight with each later batch, so that an arm that was not
measured for long is uncertain again. Each batch holds

- the *leader*, the arm with the best gain as it is known now: one has to notice when it gets worse;
- *explorers*, a bounded share (``settings.explore``): in turn variants that were never measured
  and those that were not measured for longest;
- *contenders*: arms whose gain, drawn from what is known of it, exceeds the leader's draw.

``effect`` and ``ranking`` say what is known now, old results counting less. The caller bounds it in
time or in trials (``max_trials``); there is no final. The only other end is that no variant is
left that may be measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np

from iridescent_xdp.search.policy import WHOLE_SPACE, Policy
from iridescent_xdp.search.settings import SearchSettings
from iridescent_xdp.search.space import Space
from iridescent_xdp.search.surrogate import suggest
from iridescent_xdp.search.trial import Outcome, Round, Trial
from iridescent_xdp.statistics import CONFIDENCE, Effect, pooled
from iridescent_xdp.variant import Variant

GENERATION = 21  # of a large space so many are measured first
REMEMBERED = 20  # results of one arm; older ones weigh 1 % at most
MOST_VARIANTS = 4096  # tried at all: each is compiled, and its record is kept
MODELLED = 40  # the latest arms, from which a new one is guessed
HISTORY = 10_000  # outcomes that are kept
_DRAWS = 50
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


class BanditPolicy(Policy):
    """Leader, contenders and a bounded share of explorers, batch after batch."""

    name = "bandit"
    endless = True

    def __init__(self, space: Space, settings: SearchSettings | None = None) -> None:
        super().__init__(space, settings)
        self._turn = 0  # batches told
        self._told_at: dict[Variant, list[int]] = {}  # turns, one for each effect that is kept

    def ask(self) -> list[Trial]:
        """As ``Policy.ask``; empty when the caller's trials are used up or nothing is usable."""
        return super().ask() if self.room() or self._asked else []

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """As ``Policy.tell``; every other arm's results grow older."""
        super().tell(outcomes)
        self._turn += 1
        del self.history[:-HISTORY]

    def _note(self, outcome: Outcome) -> None:
        super()._note(outcome)
        if outcome.effect is not None:
            turns = self._told_at.setdefault(outcome.variant, [])
            turns.append(self._turn)
            del turns[:-REMEMBERED]
            record = self._records[outcome.variant]
            del record.effects[:-REMEMBERED], record.generic_ns[:-REMEMBERED]

    def effect(self, variant: Variant) -> Effect | None:
        """What is known now of its gain over generic: old results have wider intervals."""
        record = self._records.get(variant)
        if record is None or record.excluded or not record.effects:
            return super().effect(variant)
        told_at = self._told_at[variant]
        return pooled(
            [
                _aged(effect, self.settings.discount ** (self._turn - 1 - turn))
                for effect, turn in zip(self._effects(record), told_at, strict=True)
            ]
        )

    def rounds(self) -> Iterator[Round]:
        """A first generation, then leader, contenders and explorers without end."""
        samples = self.settings.first_samples
        yield Round(variants=self._generation(), samples=samples)
        while arms := self._arms():
            yield Round(variants=arms, samples=samples)

    def _generation(self) -> list[Variant]:
        """A small space whole, of a large one the seeds and a sample in which each value occurs."""
        if self.space.size <= WHOLE_SPACE:
            return list(self.space)
        seeds = [variant for variant in self.settings.seeds if variant in self.space]
        rng = np.random.default_rng(self.settings.seed)
        return list(dict.fromkeys([*seeds, *self.space.sample(GENERATION - len(seeds), rng)]))

    def _arms(self) -> list[Variant]:
        """Explorers, leader and contenders of the next batch; no more than fit into one."""
        places, share = self.settings.max_arms, self.settings.explore * self.settings.max_arms
        explorers = int(share * (self._turn + 1)) - int(share * self._turn)
        known = {
            variant: effect
            for variant in self.tried
            if self.usable(variant) and (effect := self.effect(variant)) is not None
        }
        if not known:  # everything failed or was refused so far
            return self._fresh(places)
        leader = max(known, key=lambda arm: known[arm].value)
        rng = np.random.default_rng([self.settings.seed, self._turn])
        drawn = {arm: rng.normal(e.value, e.half_width / _Z) for arm, e in known.items()}
        contenders = [arm for arm in known if drawn[arm] > drawn[leader]]
        contenders.sort(key=lambda arm: -drawn[arm])
        first = self._explorers(leader, explorers) if explorers else []
        return list(dict.fromkeys([*first, leader, *contenders]))[:places]

    def _explorers(self, leader: Variant, count: int) -> list[Variant]:
        """New and long unmeasured variants in turn; one kind alone where the other has none."""
        stale = sorted(
            (arm for arm in self._told_at if arm != leader and self.usable(arm)),
            key=lambda arm: self._told_at[arm][-1],
        )
        fresh = self._fresh(count)
        mixed: list[Variant] = []
        for place in range(count):
            lines = (fresh, stale) if (self._turn + place) % 2 else (stale, fresh)
            line = lines[0] or lines[1]
            if line:
                mixed.append(line.pop(0))
        return mixed

    def _fresh(self, count: int) -> list[Variant]:
        """Variants that were never tried: one that the model expects much of, others at random."""
        if self.variants_tried >= min(MOST_VARIANTS, self.space.size - 1):
            return []
        latest = sorted(self._told_at, key=lambda arm: self._told_at[arm][-1])[-MODELLED:]
        known = {arm: effect for arm in latest if (effect := self.effect(arm)) is not None}
        barred = [arm for arm in self.tried if arm not in known]
        seed = [self.settings.seed, self._turn]
        found = suggest(self.space, known, 1, seed=seed, barred=barred)
        return list(dict.fromkeys([*found, *self._unseen(count, seed)]))[:count]

    def _unseen(self, count: int, seed: Sequence[int]) -> list[Variant]:
        if self.space.size <= WHOLE_SPACE:
            return [v for v in self.space if v not in self._records and v != self.space.generic]
        drawn = self.space.sample(_DRAWS, np.random.default_rng(seed))
        return [v for v in drawn if v not in self._records and v != self.space.generic][:count]


def _aged(effect: Effect, weight: float) -> Effect:
    """``effect`` with an interval so wide that it counts only ``weight`` (0 to 1) as much."""
    half = effect.half_width / weight**0.5
    return Effect(
        value=effect.value,
        low=effect.value - half,
        high=effect.value + half,
        n=effect.n,
        unit=effect.unit,
    )
