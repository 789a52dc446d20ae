# SPDX-License-Identifier: GPL-2.0-only
"""Ask and tell: a policy proposes variants to measure and is told what came out.

A policy is a generator of *rounds*; everything else (batches, retries, the legal order of calls,
what was measured so far) is here, so that a new policy is one short file and one line in
``iridescent_xdp.search.POLICIES``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from iridescent_xdp.errors import IridescentError
from iridescent_xdp.search.rescale import rescaled
from iridescent_xdp.search.settings import SearchSettings
from iridescent_xdp.search.space import Space
from iridescent_xdp.search.trial import Outcome, Round, Status, Trial
from iridescent_xdp.statistics import Effect, pooled
from iridescent_xdp.variant import Variant

__all__ = [
    "Outcome",
    "Policy",
    "ProposalError",
    "ResumeError",
    "Round",
    "SearchSettings",
    "Status",
    "Trial",
    "TurnError",
]

WHOLE_SPACE = 32  # up to here every variant takes part
IDLE_ROUNDS = 100  # so many rounds without a proposal are the end
FINAL_ROUNDS = 3  # a final whose favourite was overtaken is repeated with who overtook it
ATTEMPTS = 2  # a failed measurement is repeated once


class TurnError(IridescentError, RuntimeError):
    """``ask`` and ``tell`` were called out of turn: a bug in the caller, not in its data."""


class ProposalError(IridescentError, ValueError):
    """A policy proposed a variant that its space does not have: a bug in the policy."""


class ResumeError(IridescentError, ValueError):
    """A log does not belong to this search, or is damaged; the search can be started anew."""


@dataclass
class _Record:
    effects: list[Effect] = field(default_factory=list)
    generic_ns: list[float] = field(default_factory=list)  # in the trial of each effect
    failures: int = 0
    excluded: bool = False  # refused, or failed too often
    stopped: bool = False  # known to be far worse
    finalist: bool = False


def _keys(variants: Iterable[Variant]) -> str:
    return ", ".join(sorted(variant.key for variant in variants)) or "nothing"


class Policy(ABC):
    """Proposes batches of variants of ``space``; the same results lead to the same proposals.

    The caller adds the generic variant to each batch; it is never proposed and its gain is 0 by
    definition. Call ``ask`` and ``tell`` in turn until ``ask`` returns nothing.
    """

    name: ClassVar[str]
    trial_limit: ClassVar[int | None] = None  # unless the settings give another
    endless: ClassVar[bool] = False  # it goes on until the caller has enough, without a final

    def __init__(self, space: Space, settings: SearchSettings | None = None) -> None:
        self.space = space
        self.settings = settings or SearchSettings()
        self.trials_used = 0
        self.history: list[Outcome] = []
        self._records: dict[Variant, _Record] = {}
        self._calm_ns = 0.0  # the least that generic took in a trial; 0: not known
        self._asked: dict[Variant, Trial] = {}
        self._rounds_to_come = self.rounds()
        self._round = Round(variants=(), samples=1)
        self._queue: Iterator[Variant] = iter(())
        self._again: list[Variant] = []

    @abstractmethod
    def rounds(self) -> Iterator[Round]:
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
        for _ in range(IDLE_ROUNDS):
            if batch or not (self._next_attempt() or self._next_round()):
                break
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
        chosen: dict[Variant, None] = {}
        places = min(self.settings.max_arms, self.room())
        while len(chosen) < places and (variant := next(self._queue, None)) is not None:
            if variant not in self.space:
                raise ProposalError(
                    f"policy '{self.name}' proposed {dict(variant.values)}, not in its space",
                    cure="take values from self.space.axes, or ask 'variant in self.space'",
                )
            if variant != self.space.generic and self.usable(variant):
                chosen[variant] = None
        for variant in chosen:
            record = self._records.setdefault(variant, _Record())
            record.finalist |= self._round.final
        return [
            Trial(variant=v, budget=self._round.samples, final=self._round.final) for v in chosen
        ]

    def room(self) -> int:
        """Trials left, of which some are kept for the final."""
        limit = self.settings.max_trials or self.trial_limit
        if limit is None:
            return self.settings.max_arms
        kept = 0 if self._round.final or self.endless else min(self.settings.finalists, limit // 2)
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

    def resume(self, batches: Iterable[Sequence[Outcome]]) -> None:
        """Go on where a killed search was: ask and tell again what its log holds.

        ``batches`` are those of ``search.resume.outcomes_from``, from the first batch on; space,
        settings and seed must be those of that search. Raises ResumeError at the first batch that
        this policy would not have asked; it is of no use then, and a new one is needed.
        """
        for number, outcomes in enumerate(batches, start=1):
            asked = {trial.variant for trial in self.ask()}
            told = {outcome.variant for outcome in outcomes}
            if asked != told or len(outcomes) != len(told):
                raise ResumeError(
                    f"batch {number} of the log is {_keys(told)}, but policy '{self.name}' asks "
                    f"for {_keys(asked)}",
                    cure="resume with the settings, seed and version of that search, or start anew",
                )
            self.tell(outcomes)

    def _note(self, outcome: Outcome) -> None:
        record = self._records[outcome.variant]
        self.history.append(outcome)
        if outcome.effect is not None:
            record.effects.append(outcome.effect)
            record.generic_ns.append(outcome.generic_ns)
            known = [ns for ns in (self._calm_ns, outcome.generic_ns) if ns]
            self._calm_ns = min(known, default=0.0)
            record.failures = 0
            record.stopped |= outcome.stopped
            record.finalist &= not outcome.stopped
        elif outcome.status is Status.REFUSED:
            record.excluded = True
        else:
            record.failures += 1
            record.excluded = record.failures >= ATTEMPTS
            if not record.excluded:
                self._again.append(outcome.variant)

    def usable(self, variant: Variant) -> bool:
        """Whether it may be proposed: neither refused, nor failed too often, nor stopped."""
        record = self._records.get(variant)
        return record is None or not (record.excluded or record.stopped)

    def effect(self, variant: Variant) -> Effect | None:
        """All that is known of its gain over generic; None when it was never measured."""
        if variant == self.space.generic:
            return Effect(value=0.0, low=0.0, high=0.0, n=0, unit="ns")
        record = self._records.get(variant)
        if record is None or record.excluded or not record.effects:
            return None
        return pooled(self._effects(record))

    def _effects(self, record: _Record) -> list[Effect]:
        """One for each of its trials, all on the scale of the calmest one."""
        pairs = zip(record.effects, record.generic_ns, strict=True)
        return [rescaled(effect, generic_ns, self._calm_ns) for effect, generic_ns in pairs]

    def looks(self, variant: Variant) -> int:
        """How often its gain was measured."""
        record = self._records.get(variant)
        return len(record.effects) if record else 0

    def finalist(self, variant: Variant) -> bool:
        """Whether it was measured in a final."""
        record = self._records.get(variant)
        return record is not None and record.finalist

    def ranking(self) -> list[tuple[Variant, Effect]]:
        """Measured variants, best first; those of the final before all others."""
        known = [(v, e) for v in self._records if (e := self.effect(v)) is not None]
        return sorted(
            known,
            key=lambda pair: (self._records[pair[0]].finalist, pair[1].value),
            reverse=True,
        )

    @property
    def tried(self) -> list[Variant]:
        """Every variant that was proposed, in the order of the first time."""
        return list(self._records)

    def known(self, arms: Iterable[Variant] | None = None) -> dict[Variant, Effect]:
        """Gains of those of ``arms`` (default: all that were tried) that were measured."""
        arms = self._records if arms is None else arms
        return {arm: effect for arm in arms if (effect := self.effect(arm)) is not None}

    def best(self, arms: Iterable[Variant] | None = None) -> Variant:
        """The best of these (default: of all), or the generic variant where nothing beats it."""
        arms = self._records if arms is None else arms
        known = self.known([self.space.generic, *arms])
        return max(known, key=lambda arm: known[arm].value)

    def simplified(self, variant: Variant) -> list[Variant]:
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

    def _contenders(self) -> list[Variant]:
        """For the final: the best, and the simplest of those that cannot be told from the best."""
        usable = [(variant, effect) for variant, effect in self.ranking() if self.usable(variant)]
        ranked = sorted(usable, key=lambda pair: pair[1].value, reverse=True)
        count = self.settings.finalists
        best = [variant for variant, _ in ranked[: count - count // 2]]
        tied = [v for v, e in ranked[len(best) :] if e.high >= ranked[0][1].low]
        return [*best, *sorted(tied, key=self.space.deviations)][:count]

    def final(self, extra: Sequence[Variant] = ()) -> Iterator[Round]:
        """The best few with a large budget, until nobody outside is expected to do better."""
        for _ in range(FINAL_ROUNDS):
            invited = dict.fromkeys([*self._contenders(), *extra])
            new = [v for v in invited if v not in self._records or not self._records[v].finalist]
            if not new:
                return
            yield Round(variants=new, samples=self.settings.final_samples, final=True)
            extra = ()
