# SPDX-License-Identifier: GPL-2.0-only
"""Racing: cheap measurements of many, expensive ones of those that can still win.

Successive halving (Jamieson & Talwalkar 2016), and besides a sequential test
(``search.sequential``) that drops what is surely worse than the best, however often one looks. In
a space that was only sampled hill climbing follows: by one-point changes, and where these lead no
further by what a model of all measurements expects. Where trials are too few to look at all
neighbours (``max_trials``), the model leads from the first generation on.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from statistics import median

import numpy as np

from iridescent_xdp.search.policy import WHOLE_SPACE, Policy, Round
from iridescent_xdp.search.sequential import not_surely_worse
from iridescent_xdp.search.surrogate import lasting_gains, most_lasting, suggest
from iridescent_xdp.statistics import Effect
from iridescent_xdp.variant import Variant

GENERATION = 24  # above, so many are sampled
LEAN_SHARE = 0.2  # of few trials, that the first generation takes
LEAN_ARMS = 3  # then measured together: the model learns from each batch what the next should be
LEAN_TRIALS = 100  # these are few
SEMIFINAL = 8  # times as many trials as finalists, or more: there is a semifinal
SPARE = 4  # times as many as the finalists are thought of: some may be refused
VAGUE = 4  # an interval so many times as wide as the median one says little
LEAST = 0.002  # of the best gain: an improvement that is not worth a trial
AHEAD = 0.5  # of the interval of a difference: this much better is better


class RacingPolicy(Policy):
    """Halves a first generation, then climbs from the winner while a neighbour is better."""

    name = "racing"
    trial_limit = 400

    def rounds(self) -> Iterator[Round]:
        """The seeds, which may go live at once, unless one batch has room for all; a generation,
        halving and climbing, or guessing where trials are few; a final."""
        simpler: list[Variant] = []
        if self.space.size > self.settings.max_arms + 1:
            yield Round(variants=self._seeds(), samples=self.settings.first_samples)
        if self._lean():
            yield from self._guess_on()
            yield from self._semifinal()
            yield from self._lean_final()
            return
        yield from self._halve(self._generation())
        if self.space.size > WHOLE_SPACE:
            incumbent = yield from self._climb()
            simpler = self.simplified(incumbent)
        yield from self.final(simpler)

    def _lean(self) -> bool:
        """Whether trials are too few for halving and climbing."""
        limit = self.settings.max_trials
        return self.space.size > WHOLE_SPACE and limit is not None and limit < LEAN_TRIALS

    def _seeds(self) -> list[Variant]:
        return [variant for variant in self.settings.seeds if variant in self.space]

    def _guess_on(self) -> Iterator[Round]:
        """A small first generation, then what the model expects most of, batch by batch."""
        samples = self.settings.first_samples
        count = max(2, round(LEAN_SHARE * (self.settings.max_trials or LEAN_TRIALS)))
        rng = np.random.default_rng(self.settings.seed)
        sampled = self.space.sample(max(2, count - len(self._seeds())), rng)
        yield Round(variants=self._unmeasured(sampled), samples=samples)
        while (room := self.room() - self._semifinalists()) > 0:
            if vague := self._vague()[: min(LEAN_ARMS, room)]:
                yield Round(variants=vague, samples=samples)
                continue
            guesses = self._promising(min(LEAN_ARMS, room))
            if not guesses:
                break
            yield Round(variants=guesses, samples=samples)

    def _promising(self, count: int) -> list[Variant]:
        """Unmeasured, and expected to be better by what is worth a trial."""
        known = self.known()
        best = max([0.0, *(effect.value for effect in known.values())])
        return suggest(
            self.space,
            known,
            count,
            seed=self.settings.seed,
            least_ns=LEAST * best,
            barred=[v for v in self.tried if v not in known],
        )

    def _semifinalists(self) -> int:
        """Where there are trials enough, so many of them are measured like finalists before."""
        count = self.settings.finalists
        return count if (self.settings.max_trials or 0) >= SEMIFINAL * count else 0

    def _semifinal(self) -> Iterator[Round]:
        """The best, and what may be better, measured well: the model learns small gains from it."""
        count = min(self._semifinalists(), max(0, self.room()))
        best = self._lasting(count // 2)
        others = [v for v in self._promising(count) if v not in best]
        if count and best:
            arms = [*best, *others][:count]
            yield Round(variants=arms, samples=self.settings.final_samples, final=True)

    def _vague(self) -> list[Variant]:
        """Measured once, in a batch so disturbed that they may still be the best."""
        known = {v: e for v, e in self.known().items() if self.usable(v)}
        if not known:
            return []
        usual = median(effect.half_width for effect in known.values())
        best = max(known.values(), key=lambda effect: effect.low)
        return [
            arm
            for arm, effect in known.items()
            if effect.half_width > VAGUE * usual and effect.high > best.low and self.looks(arm) == 1
        ]

    def _lean_final(self) -> Iterator[Round]:
        """What the model expects most of, measured or not."""
        if best := self._lasting(self.settings.finalists):
            yield Round(variants=best, samples=self.settings.final_samples, final=True)

    def _lasting(self, count: int) -> list[Variant]:
        """So many of what the model expects most of, loaded again."""
        known = self.known()
        if not known:
            return []
        wanted = most_lasting(self.space, known, SPARE * count, seed=self.settings.seed)
        return [v for v in wanted if v != self.space.generic and self.usable(v)][:count]

    def ranking(self) -> list[tuple[Variant, Effect]]:
        """As ``Policy.ranking``; where trials are few, finalists by what the model expects."""
        ranked = super().ranking()
        finalists = [v for v, _ in ranked if self.finalist(v)]
        if not self._lean() or not finalists:
            return ranked
        gains = lasting_gains(self.space, self.known(), finalists)
        return sorted(ranked, key=lambda pair: -gains.get(pair[0], -math.inf))

    def _generation(self) -> list[Variant]:
        seeds = self._seeds()
        if self.space.size <= WHOLE_SPACE:
            rest = [v for v in self.space if v not in seeds]
            order = np.random.default_rng(self.settings.seed).permutation(len(rest))
            return [*seeds, *(rest[int(place)] for place in order)]
        longest = max(map(len, self.space.axes.values()))
        sampled = self.space.sample(
            max(GENERATION - len(seeds), longest), np.random.default_rng(self.settings.seed)
        )
        return list(dict.fromkeys([*seeds, *sampled]))

    def _halve(self, arms: list[Variant]) -> Iterator[Round]:
        samples = self.settings.first_samples
        yield Round(variants=self._unmeasured(arms), samples=samples)
        arms = self._survivors(arms)
        while len(arms) > self.settings.finalists and 2 * samples < self.settings.final_samples:
            samples *= 2
            yield Round(variants=arms, samples=samples)
            arms = self._survivors(arms)

    def _survivors(self, arms: Sequence[Variant]) -> list[Variant]:
        """The better half, less those that are surely worse than the best."""
        known = self.known(arms)
        open_arms = not_surely_worse(
            known, {arm: self.looks(arm) for arm in known}, max(1, self.variants_tried)
        )
        open_arms.sort(key=lambda arm: known[arm].value, reverse=True)
        return open_arms[: math.ceil(len(arms) / 2)]

    def _climb(self) -> Generator[Round, None, Variant]:
        """Moves to a better variant until neither a neighbour nor a guess is better."""
        samples = self.settings.first_samples
        incumbent = self.best()
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
        known, mark = self.known(neighbours), self.effect(incumbent)
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
        known = self.known()
        barred = [variant for variant in self.tried if variant not in known]
        count = max(1, self.settings.max_arms - 1)
        return suggest(self.space, known, count, seed=self.settings.seed, barred=barred)

    @staticmethod
    def _changed(one: Variant, other: Variant) -> str:
        return next(name for name, value in one.values if other[name] != value)

    def _leader(self, incumbent: Variant, challengers: Sequence[Variant]) -> Variant:
        """The best challenger if it is ahead of the incumbent, else the incumbent."""
        mark = self.effect(incumbent)
        if mark is None:  # it failed when it was measured again
            return self.best()
        best = self.best([incumbent, *challengers])
        lead = self.effect(best) or mark
        margin = AHEAD * math.hypot(lead.half_width, mark.half_width)
        return best if lead.value - mark.value > margin else incumbent
