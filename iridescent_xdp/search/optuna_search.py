# SPDX-License-Identifier: GPL-2.0-only
"""Optuna's sampler for spaces beyond enumeration, with a study that outlives the search.

Tree-structured Parzen estimator (Bergstra, Bardenet, Bengio & Kégl 2011; Optuna: Akiba et al. 2019,
arXiv 1907.10902), by ask and tell. The sampler works on a study in memory and is seeded anew in
each batch, so that the same results lead to the same proposals. What was measured is appended to a
persistent study (``search.study``) when it is told; the next search, here or on another host that
names the same storage, measures its best few first. Old gains are a hint and no result: the traffic
they were measured with may be gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import TYPE_CHECKING

import numpy as np

from iridescent_xdp.search.policy import Policy
from iridescent_xdp.search.settings import SearchSettings
from iridescent_xdp.search.space import Space
from iridescent_xdp.search.study import MEMORY, Archive, quiet_optuna, search_id
from iridescent_xdp.search.trial import Outcome, Round
from iridescent_xdp.variant import Variant

if TYPE_CHECKING:
    import optuna

HINTS = 3  # of the persistent study's best are measured first
STARTUP = 14  # random before the estimator has enough to go by
ATTEMPTS = 4  # a proposal that is known already is answered at once and repeated
PATIENCE = 6  # batches without a better variant end the search


class OptunaPolicy(Policy):
    """Batches of the tree-structured Parzen estimator, then a final."""

    name = "optuna"
    trial_limit = 150

    def __init__(self, space: Space, settings: SearchSettings | None = None) -> None:
        super().__init__(space, settings)
        self._search = ""  # told from the first batch
        where = self.settings.study
        self._archive = None if where == MEMORY else Archive(space, where)

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """As ``Policy.tell``; what was measured is kept. Raises StateError when it cannot be."""
        super().tell(outcomes)
        self._search = self._search or search_id(self.settings.seed, outcomes)
        if self._archive is not None:
            self._archive.append(self._search, outcomes)

    def resume(self, batches: Iterable[Sequence[Outcome]]) -> None:
        """As ``Policy.resume``; what the killed search left in the persistent study is its own."""
        told = list(batches)
        if told:
            self._search = search_id(self.settings.seed, told[0])
        super().resume(told)

    def rounds(self) -> Iterator[Round]:
        """Seeds and hints, then the sampler's batches while they help, then a final."""
        samples = self.settings.first_samples
        first = [seed for seed in self.settings.seeds if seed in self.space]
        if self._archive is not None:
            first += self._archive.best(HINTS, without=self._search)
        sampler = _Sampler(self.space, self.settings.seed)
        best, idle, turn = 0.0, 0, 0
        while self.room() > 0 and idle < PATIENCE:
            batch = list(dict.fromkeys(first)) or self._proposals(sampler, turn)
            if not batch:
                break
            yield Round(variants=batch, samples=samples)
            for variant in batch:
                sampler.tell(variant, self._gain(variant))
            top = self._gain(self.best()) or 0.0
            idle = 0 if top > best else idle + 1
            best, first, turn = max(best, top), [], turn + 1
        yield from self.final(self.simplified(self.best()))

    def _proposals(self, sampler: _Sampler, turn: int) -> list[Variant]:
        """New variants for one batch: the sampler's, and random ones where it repeats itself."""
        count = min(self.settings.max_arms, self.room())
        tried = {*self.tried, self.space.generic}
        if len(tried) >= self.space.size:
            return []
        batch: list[Variant] = []
        sampler.reseed(turn)
        for _ in range(ATTEMPTS * count):
            proposed = sampler.propose(self._gain, tried) if len(batch) < count else None
            if proposed is not None:
                batch.append(proposed)
        rng = np.random.default_rng([self.settings.seed, turn])
        others = self.space.sample(min(self.space.size, len(tried) + count), rng)
        batch += [v for v in others if v not in tried and v not in batch]
        return batch[:count]

    def _gain(self, variant: Variant) -> float | None:
        effect = self.effect(variant)
        return effect.value if effect is not None else None


class _Sampler:
    """A study in memory over the space's axes."""

    def __init__(self, space: Space, seed: int) -> None:
        import optuna

        quiet_optuna()
        self._optuna = optuna
        self._base, self._seed = space.base, seed
        self._axes: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.CategoricalDistribution(axis)
            for name, axis in space.axes.items()
            if len(axis) > 1
        }
        self._study = optuna.create_study(direction="maximize")
        self._running: dict[Variant, optuna.Trial] = {}

    def reseed(self, turn: int) -> None:
        """What it proposes depends on the seed, the turn and what was told, on nothing else."""
        seed = int(np.random.default_rng([self._seed, turn]).integers(2**32))
        self._study.sampler = self._optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=STARTUP, multivariate=True
        )

    def propose(
        self, gain: Callable[[Variant], float | None], tried: Set[Variant]
    ) -> Variant | None:
        """A variant that is not among ``tried``; None when it came to one that is.

        What is tried already is told at once, with its ``gain``, so that it learns from it.
        """
        trial = self._study.ask(self._axes)
        variant = self._base.with_values(**trial.params)
        if variant in tried or variant in self._running:
            self._tell(trial, gain(variant))
            return None
        self._running[variant] = trial
        return variant

    def tell(self, variant: Variant, gain: float | None) -> None:
        """What became of a variant, also of one that it did not propose; None: no result."""
        trial = self._running.pop(variant, None)
        if trial is not None:
            self._tell(trial, gain)
        elif gain is not None:
            params = {name: variant[name] for name in self._axes}
            self._study.add_trial(
                self._optuna.trial.create_trial(params=params, distributions=self._axes, value=gain)
            )

    def _tell(self, trial: optuna.Trial, gain: float | None) -> None:
        if gain is None:
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, gain)
