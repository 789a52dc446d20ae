# SPDX-License-Identifier: GPL-2.0-only
"""One search on live traffic: observe, ask, build, measure, tell, decide, swap."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from iridescent_xdp.arms import Built, Workshop
from iridescent_xdp.asking import asked_policy, first_tries, search_settings
from iridescent_xdp.candidates import look_and_learn, predict, space_of
from iridescent_xdp.conclusion import Conclusion
from iridescent_xdp.controller import Controller
from iridescent_xdp.disturbed import Disturbed
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.ledger import Ledger
from iridescent_xdp.limits import Limits
from iridescent_xdp.live import TablesChangedError
from iridescent_xdp.measure import ArmResult, Standing, Trials
from iridescent_xdp.preflight import Preflight
from iridescent_xdp.promotion import Promotion
from iridescent_xdp.search.policy import Policy
from iridescent_xdp.search.resume import TOLD, told_event
from iridescent_xdp.search.trial import Outcome, Status, Trial
from iridescent_xdp.statistics import Effect, paired_difference, trimmed_mean
from iridescent_xdp.summary import Summary
from iridescent_xdp.switchboard import ENTRY, FALLBACK
from iridescent_xdp.trial_end import BATCH_PRECISION, FINAL_PRECISION, TrialEnd
from iridescent_xdp.variant import Variant

TRIAL_TIMEOUT_S = 10.0
FINALISTS = 3
FINAL_SAMPLES = 100_000
FINAL_COPIES = 3  # of each finalist's code: at another address it is not equally fast
WIDE, FINER = 1000, 2  # in a space of more variants trials are few, and so many times as precise


class Campaign:
    """A search for one controller; ``run`` leaves the best variant live.

    ``limits`` are the interface's, and know what was done before; ``events`` are those of a search
    that was killed (search/resume.py); ``seeds`` are variants that are tried first; ``watch`` says
    how the traffic has changed meanwhile, which ends the search; a ``quick`` search makes few
    trials, guided by a model: traffic that changed once may change again.
    """

    def __init__(
        self,
        controller: Controller,
        *,
        stop: Callable[[], bool] = lambda: False,
        limits: Limits | None = None,
        events: Iterable[Mapping[str, Any]] = (),
        seeds: Sequence[Variant] = (),
        watch: Callable[[], str] = lambda: "",
        quick: bool = False,
    ) -> None:
        self.controller = controller
        self.plan = controller.plan
        self.settings = self.plan.config.search
        self.limits = limits or Limits(self.plan.config.limits)
        self.ledger = Ledger(controller.events, self.limits.regret())
        self._deadline = time.monotonic() + self.settings.max_seconds
        self.tables_changed = controller.begin_search()
        self._watch = watch
        self._stop: Callable[[], bool] = lambda: stop() or self.tables_changed() or self._moved()
        self.observation = look_and_learn(controller)
        predicted = predict(self.plan, self.observation)
        if predicted:
            controller.events.tell("predicted", predictions=predicted)
        self._killed = list(events)  # before this search writes its own
        self.space = space_of(controller, self.observation, predicted)
        tries = first_tries(self.plan, self.space, predicted, seeds)
        self._asking = search_settings(self.settings, tries, quick=quick)
        self._trials = Trials(controller.board, controller.builder, seed=self.settings.seed)
        self.workshop = Workshop(controller, self._preflight(), self._stop)
        self.promotion = Promotion(controller, self.workshop)
        self._disturbed = Disturbed()
        self._controls: list[ArmResult] = []  # of the last final: generic, generic again,
        self._decided: dict[Variant, ArmResult] = {}  # and the others

    def _preflight(self) -> Preflight:
        controller, function = self.controller, self.plan.function
        packets = function.corpus(self.observation.heads, self.settings.seed)
        kept = controller.changes.proof.take()
        if kept is None:
            return Preflight(controller.builder, function, self.plan.generic, packets)
        kept.expect(packets)
        return kept

    # -- the search ------------------------------------------------------------------------

    def run(self) -> Summary:
        """Search until the policy is done, time is up or ``stop`` says so; then decide."""
        began = time.monotonic()
        self.controller.phase("searching")
        policy = asked_policy(
            self.settings.strategy, self.space, self._asking, self._killed, self.controller.events
        )
        summary = Summary(space_size=self.space.size)
        while not self._over():
            batch = policy.ask()
            if not batch:
                break
            outcomes = self._batch(batch)
            policy.tell(outcomes)
            budget = max(trial.budget for trial in batch)
            self.controller.events.tell(TOLD, **told_event(outcomes, budget=budget))
            if not self._over():
                self.promotion.consider(policy, self.ledger.generic_ns)
        stopped, summary.moved = self._stop(), self.ledger.moved
        summary.interrupted = stopped and not summary.moved
        self._conclude(policy, summary)
        if summary.decision is None and self.promotion.done:  # it was ahead for sure, and stays
            summary.winner = self.controller.live_variant
            summary.winner_label = self.plan.label(summary.winner)
        self.ledger.tell_regret(self.limits.share(self.settings.share))
        summary.seconds = time.monotonic() - began
        summary.trials = policy.trials_used
        summary.rows = self.ledger.rows()
        self.controller.phase("watching")
        return summary

    def _over(self) -> bool:
        ended = self._stop() or bool(self.ledger.moved or self.ledger.regret.over_budget())
        return ended or time.monotonic() > self._deadline

    def _moved(self) -> bool:
        self.ledger.moved = self.ledger.moved or self._watch()
        return bool(self.ledger.moved)

    @property
    def _by_time(self) -> bool:
        return self.plan.config.objective.kind == "time_per_packet"

    def _batch(self, batch: Sequence[Trial]) -> list[Outcome]:
        variants = [trial.variant for trial in batch]
        built = [
            self.workshop.build(v) for v in variants if v != self.plan.generic and not self._over()
        ]
        late = {*variants} - {b.variant for b in built} - {self.plan.generic}
        outcomes = [Outcome(variant=v, status=Status.FAILED, reason="time is up") for v in late]
        outcomes += [
            Outcome(variant=b.variant, status=Status.REFUSED, reason=b.reason)
            for b in built
            if b.refused
        ]
        for item in built:
            self.ledger.note(item)  # also those that never get to a trial
        good = [b for b in built if not b.refused]
        if good:
            outcomes += self._measured(good, batch)
        if self.plan.generic in variants:
            zero = Effect(value=0.0, low=0.0, high=0.0, n=0, unit="ns")
            outcomes.append(Outcome(variant=self.plan.generic, status=Status.MEASURED, effect=zero))
        return outcomes

    def _measured(self, built: Sequence[Built], batch: Sequence[Trial]) -> list[Outcome]:
        try:
            if all(trial.final for trial in batch):
                results = self._final(built)
            else:
                samples = max(trial.budget for trial in batch)
                results = self.trial(built, samples, precision=BATCH_PRECISION)
        except MeasurementError as error:
            self.controller.events.tell("trial_failed", reason=str(error))
            return [
                Outcome(variant=b.variant, status=Status.FAILED, reason=str(error)) for b in built
            ]
        generic, twin = results[:2]
        generic_ns = trimmed_mean(generic.windows + twin.windows)
        return [
            Outcome(
                variant=b.variant,
                status=Status.MEASURED,
                effect=paired_difference(generic.windows, result.windows),
                stopped=result.stopped,
                reason="far worse than generic" if result.stopped else "",
                generic_ns=generic_ns if self._by_time else 0.0,
            )
            for b, result in zip(built, results[2:], strict=True)
        ]

    def trial(
        self,
        built: Sequence[Built],
        samples: int,
        *,
        precision: float | None = None,
        copies: int = 1,
    ) -> list[ArmResult]:
        """Generic, generic again, then the candidates, all on the same traffic, each loaded
        ``copies`` times.

        Ends with ``samples`` for each arm, or when times are known to ``precision``, a share of the
        generic time; in a wide space with more of them.
        """
        finer = FINER if self.space.size > WIDE else 1
        controller, shop = self.controller, self.workshop
        results = self._trials.run(
            [*shop.controls(copies), *shop.arms(built, copies)],
            standing=Standing(
                live=controller.live, generic=controller.generic, fallback=shop.fallback
            ),
            samples=samples * finer**2,
            share=self.limits.share(self.settings.share),
            end=TrialEnd(
                settings=self._asking,
                precision=self._needed(precision, finer),
                disturbed=self._disturbed,
            ),
            timeout_s=min(TRIAL_TIMEOUT_S, max(1.0, self._deadline - time.monotonic())),
            stop=self._stop,
        )
        self._disturbed.trial_ends()
        self.ledger.add(built, results)
        return results

    def _final(self, built: Sequence[Built]) -> list[ArmResult]:
        """A trial that may decide."""
        copies = self.workshop.affordable(built, FINAL_COPIES)
        results = self.trial(built, FINAL_SAMPLES, precision=FINAL_PRECISION, copies=copies)
        self._decided = dict(zip((b.variant for b in built), results[2:], strict=True))
        self._controls = results[:2]
        return results

    def _needed(self, precision: float | None, finer: int = 1) -> float | None:
        """Times decide nothing where the objective is another one."""
        return precision / finer if precision is not None and self._by_time else None

    # -- the decision ----------------------------------------------------------------------

    def _conclude(self, policy: Policy, summary: Summary) -> None:
        finalists = [self.workshop.build(v) for v in self._finalists(policy)]
        if not finalists or self._stop() or self.ledger.moved:
            self.controller.events.tell("kept", reason=self._why_not())
            return
        self._deadline = max(self._deadline, time.monotonic() + TRIAL_TIMEOUT_S)
        try:
            results = self._known(finalists) or self._final(finalists)
        except MeasurementError as error:
            self.controller.events.tell("kept", reason=str(error))
            return
        if self.ledger.moved:
            summary.moved = self.ledger.moved
            self.controller.events.tell("kept", reason=self._why_not())
            return
        conclusion = Conclusion(
            self.controller,
            self.workshop,
            self._trials,
            self.space,
            limits=self.limits,
            stop=self._stop,
        )
        choice = conclusion.choose(finalists, results)
        summary.decision = choice.decision
        if choice.built is not None:
            summary.winner, summary.winner_label = choice.built.variant, choice.built.label
        try:
            if choice.built is None:
                self.promotion.undo(choice.decision.reason)
            else:
                conclusion.apply(choice)
                summary.saturation = conclusion.confirm(choice)
        except TablesChangedError:
            self.controller.events.tell("kept", reason=self._why_not())

    def _known(self, finalists: Sequence[Built]) -> list[ArmResult]:
        """What the policy's own final has measured, if all finalists were in its last batch."""
        if not all(item.variant in self._decided for item in finalists):
            return []
        return [*self._controls, *(self._decided[item.variant] for item in finalists)]

    def _finalists(self, policy: Policy) -> list[Variant]:
        """The best few, without those that surely are not the best."""
        ranking = [(v, e) for v, e in policy.ranking() if v != self.plan.generic][:FINALISTS]
        if self._needed(FINAL_PRECISION) is None:
            return [v for v, _ in ranking]
        best = max((e.low for _, e in ranking), default=0.0)
        return [v for v, e in ranking if e.high >= best]

    def _why_not(self) -> str:
        if self.tables_changed():
            return "the tables changed while it was searched"
        if self.ledger.moved:
            return f"the traffic changed while it was searched: {self.ledger.moved}"
        return "interrupted" if self._stop() else "no candidate was measured"

    def close(self) -> None:
        """Give helper programs back and empty the slots they stood in."""
        board = self.controller.board
        for slot in [s for s in board.expected if s not in (ENTRY, FALLBACK) and board.expected[s]]:
            board.clear(slot)
        self.controller.end_search()
        self.workshop.close()
        self._trials.close()
