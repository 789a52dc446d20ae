# SPDX-License-Identifier: GPL-2.0-only
"""Ask and tell: a policy proposes variants to measure and is told what came out.

A policy is a generator of *rounds*; everything else (batches, retries, the legal order of calls,
what was measured so far) is here, so that a new policy is one short file and one line in
``iridescent_xdp.search.POLICIES``.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from iridescent_xdp.errors import ConfigError, IridescentError, MeasurementError
from iridescent_xdp.search.space import Space
from iridescent_xdp.statistics import Effect, pooled
from iridescent_xdp.variant import Variant

FINAL_ROUNDS = 3  # a final whose favourite was overtaken is repeated with who overtook it
ATTEMPTS = 2  # a failed measurement is repeated once


class TurnError(IridescentError, RuntimeError):
    """``ask`` and ``tell`` were called out of turn: a bug in the caller, not in its data."""


class Status(StrEnum):
    """What became of a trial."""

    MEASURED = "measured"
    REFUSED = "refused"  # by the compiler, the verifier or the preflight; never tried again
    FAILED = "failed"  # the measurement failed, the variant may be good


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A variant to be measured with ``budget`` timed samples."""

    variant: Variant
    budget: int


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a trial; ``effect`` is the gain over generic (larger is better)."""

    variant: Variant
    status: Status
    effect: Effect | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if (self.status is Status.MEASURED) != (self.effect is not None):
            raise MeasurementError(
                f"an outcome has an effect exactly when it was measured, got {self.status} "
                f"with effect {self.effect}"
            )


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How much a search may spend. Budgets are timed samples per arm.

    ``max_arms`` are measured together, besides the generic variant; ``max_trials`` bounds the sum
    over all batches (None: the policy's own bound). ``seeds`` are variants worth a try at once,
    such as the most specialized ones. Raises ConfigError for a setting that cannot work.
    """

    max_arms: int = 7
    seed: int = 0
    first_samples: int = 20_000
    final_samples: int = 80_000
    finalists: int = 5
    max_trials: int | None = None
    seeds: Sequence[Variant] = ()

    def __post_init__(self) -> None:
        for name in ("max_arms", "first_samples", "finalists", "max_trials"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"search: {name} >= 1 must hold, got {value}")
        if self.final_samples < self.first_samples:
            raise ConfigError(
                "search: first_samples <= final_samples must hold, "
                f"got {self.first_samples} and {self.final_samples}"
            )


@dataclass(frozen=True, kw_only=True)
class Round:
    """Variants to be measured with the same budget before the policy thinks again."""

    variants: Iterable[Variant]
    samples: int
    final: bool = False


@dataclass
class _Record:
    effects: list[Effect] = field(default_factory=list)
    failures: int = 0
    excluded: bool = False
    finalist: bool = False


class Policy(ABC):
    """Proposes batches of variants of ``space``; the same results lead to the same proposals.

    The caller adds the generic variant to each batch; it is never proposed and its gain is 0 by
    definition. Call ``ask`` and ``tell`` in turn until ``ask`` returns nothing.
    """

    name: ClassVar[str]
    trial_limit: ClassVar[int | None] = None  # unless the settings give another

    def __init__(self, space: Space, settings: SearchSettings | None = None) -> None:
        self.space = space
        self.settings = settings or SearchSettings()
        self.trials_used = 0
        self.history: list[Outcome] = []
        self._records: dict[Variant, _Record] = {}
        self._asked: dict[Variant, Trial] = {}
        self._rounds_to_come = self._rounds()
        self._round = Round(variants=(), samples=1)
        self._queue: Iterator[Variant] = iter(())
        self._again: list[Variant] = []

    @abstractmethod
    def _rounds(self) -> Iterator[Round]:
        """The rounds of this policy; after each ``yield`` its results can be looked up."""

    @property
    def variants_tried(self) -> int:
        """How many different variants were proposed, which is what compilation costs."""
        return len(self._records)

    def ask(self) -> list[Trial]:
        """At most ``max_arms`` trials to be measured together; empty when the search is over.

        Raises TurnError while results of the last batch are missing.
        """
        if self._asked:
            raise TurnError("ask: the last batch has no results yet", cure="tell them first")
        batch = self._next_batch()
        while not batch and (self._next_attempt() or self._next_round()):
            batch = self._next_batch()
        self._asked = {trial.variant: trial for trial in batch}
        self.trials_used += len(batch)
        return batch

    def _next_attempt(self) -> bool:
        """Queues what failed once in this round."""
        again, self._again = self._again, []
        self._queue = iter(again)
        return bool(again)

    def _next_round(self) -> bool:
        coming = next(self._rounds_to_come, None)
        if coming is not None:
            self._round, self._queue = coming, iter(coming.variants)
        return coming is not None

    def _next_batch(self) -> list[Trial]:
        line = (v for v in self._queue if v != self.space.generic and self.usable(v))
        chosen = list(itertools.islice(line, min(self.settings.max_arms, self._room())))
        for variant in chosen:
            record = self._records.setdefault(variant, _Record())
            record.finalist |= self._round.final
        return [Trial(variant=v, budget=self._round.samples) for v in chosen]

    def _room(self) -> int:
        """Trials left, of which some are kept for the final."""
        limit = self.settings.max_trials or self.trial_limit
        if limit is None:
            return self.settings.max_arms
        kept = 0 if self._round.final else min(self.settings.finalists, limit // 2)
        return max(0, limit - kept - self.trials_used)

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Results of the whole last batch, in any order.

        Raises TurnError, and changes nothing, for a variant that was not asked, told twice or
        not told at all.
        """
        told = [outcome.variant for outcome in outcomes]
        for variant in told:
            if variant not in self._asked:
                raise TurnError(f"tell: variant {variant.key} was not asked", cure="ask first")
            if told.count(variant) > 1:
                raise TurnError(f"tell: variant {variant.key} is told twice")
        missing = [variant.key for variant in self._asked if variant not in told]
        if missing or not told:
            raise TurnError(
                f"tell: results are missing: {', '.join(missing) or 'nothing was asked'}",
                cure="tell a trial without result as failed",
            )
        self._asked = {}
        for outcome in outcomes:
            self._note(outcome)

    def _note(self, outcome: Outcome) -> None:
        record = self._records[outcome.variant]
        self.history.append(outcome)
        if outcome.effect is not None:
            record.effects.append(outcome.effect)
            record.failures = 0
        elif outcome.status is Status.REFUSED:
            record.excluded = True
        else:
            record.failures += 1
            record.excluded = record.failures >= ATTEMPTS
            if not record.excluded:
                self._again.append(outcome.variant)

    def usable(self, variant: Variant) -> bool:
        """Whether it was neither refused nor failed too often."""
        return variant not in self._records or not self._records[variant].excluded

    def effect(self, variant: Variant) -> Effect | None:
        """All that is known of its gain over generic; None when it was never measured."""
        if variant == self.space.generic:
            return Effect(value=0.0, low=0.0, high=0.0, n=0, unit="ns")
        record = self._records.get(variant)
        if record is None or record.excluded or not record.effects:
            return None
        return pooled(record.effects)

    def ranking(self) -> list[tuple[Variant, Effect]]:
        """Measured variants, best first; those of the final before all others."""
        known = [(v, e) for v in self._records if (e := self.effect(v)) is not None]
        return sorted(
            known,
            key=lambda pair: (self._records[pair[0]].finalist, pair[1].value),
            reverse=True,
        )

    def _contenders(self) -> list[Variant]:
        """For the final: the best, and the simplest of those that cannot be told from the best."""
        ranked = sorted(self.ranking(), key=lambda pair: pair[1].value, reverse=True)
        count = self.settings.finalists
        best = [variant for variant, _ in ranked[: count - count // 2]]
        tied = [v for v, e in ranked[len(best) :] if e.high >= ranked[0][1].low]
        return [*best, *sorted(tied, key=self.space.deviations)][:count]

    def _final(self, extra: Sequence[Variant] = ()) -> Iterator[Round]:
        """The best few with a large budget, until nobody outside is expected to do better."""
        for _ in range(FINAL_ROUNDS):
            invited = dict.fromkeys([*self._contenders(), *extra])
            new = [v for v in invited if v not in self._records or not self._records[v].finalist]
            if not new:
                return
            yield Round(variants=new, samples=self.settings.final_samples, final=True)
            extra = ()
