# SPDX-License-Identifier: GPL-2.0-only
"""One search on live traffic: observe, ask, build, measure, tell, decide, swap."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from iridescent_xdp.arms import FIRST_CANDIDATE, Built, Workshop
from iridescent_xdp.conclusion import Conclusion
from iridescent_xdp.controller import Controller
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.live import TablesChangedError
from iridescent_xdp.measure import ArmResult, Standing, Trials
from iridescent_xdp.observe import Observation, observe
from iridescent_xdp.preflight import Preflight
from iridescent_xdp.search import POLICIES
from iridescent_xdp.search.policy import Outcome, Policy, SearchSettings, Status
from iridescent_xdp.search.space import Space
from iridescent_xdp.statistics import Effect, paired_difference
from iridescent_xdp.statistics import trimmed_mean as mean_ns
from iridescent_xdp.summary import Row, Summary
from iridescent_xdp.switchboard import ENTRY, FALLBACK
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant

OBSERVE_S = 0.3
ENOUGH_LOOKS, WANTED_LOOKS = 500, 4000  # packets that were looked at
TRIAL_TIMEOUT_S = 10.0
FINALISTS = 3
FINAL_SAMPLES = 100_000


class Campaign:
    """A search for one controller; ``run`` leaves the best variant live."""

    def __init__(self, controller: Controller, *, stop: Callable[[], bool] = lambda: False) -> None:
        self.controller = controller
        self.plan = controller.plan
        self.settings = self.plan.config.search
        self._rows: dict[Variant, Row] = {}
        self._deadline = time.monotonic() + self.settings.max_seconds
        self.tables_changed = controller.begin_search()
        self._stop: Callable[[], bool] = lambda: stop() or self.tables_changed()
        self.observation = self._observe()
        self.space = self._space()
        self._trials = Trials(controller.board, controller.builder, seed=self.settings.seed)
        packets = self.plan.function.corpus(self.observation.heads, self.settings.seed)
        preflight = Preflight(controller.builder, self.plan.function, self.plan.generic, packets)
        self.workshop = Workshop(controller, preflight)

    # -- before the search -----------------------------------------------------------------

    def _observe(self) -> Observation:
        controller, function = self.controller, self.plan.function
        before = function.hits(controller.state)
        seen = self._look(self.plan.generic["observe_shift"])
        after = function.hits(controller.state)
        if before is not None and after is not None:
            function.learn(after - before)
        function.learn_keys(seen.keys)
        controller.changes.unsettled = True  # hot keys may be kept in a map, too
        controller.changes.settle()
        controller.events.tell(
            "observed", packets=seen.packets, heads=len(seen.heads), values=seen.values
        )
        return seen

    def _look(self, shift: int) -> Observation:
        """One packet in 2^``shift`` is looked at; when that was too few, more of the next ones."""
        controller, function = self.controller, self.plan.function
        code = controller.builder.variant(function, self.plan.generic, Role.OBSERVE)
        with controller.state.load(code, "observing") as observing:
            while True:
                seen = observe(
                    controller.board,
                    controller.builder,
                    observing,
                    controller.live,
                    seconds=OBSERVE_S,
                    shift=shift,
                )
                if not shift or not seen.packets or seen.packets >> shift >= ENOUGH_LOOKS:
                    return seen
                shift = max(0, min(shift - 1, (seen.packets // WANTED_LOOKS).bit_length() - 1))

    def _space(self) -> Space:
        """The operator's space without narrowings that the traffic would miss all the time, and
        without what the tables rule out."""
        observed = {
            p.name: self.observation.candidates(p)
            for p in self.plan.template.points
            if p.kind == "generic" and p.searched
        }
        whole = self.plan.space(observed)
        restrict = dict(self.plan.restrict)
        hopeful = self.observation.hopeful(self.plan.template)
        for name, axis in whole.axes.items():
            good = hopeful.get(name, axis)
            kept = self._possible(name, tuple(v for v in axis if v in good))
            if kept and kept != axis:
                restrict[name] = kept
        space = Space(
            points=self.plan.template.points,
            generic=self.plan.generic,
            restrict=restrict,
            observed=observed,
        )
        self.controller.events.tell("space", size=space.size, axes=dict(space.axes))
        return space

    def _possible(self, name: str, values: tuple[int, ...]) -> tuple[int, ...]:
        why, generic = self.plan.function.infeasible, self.plan.generic
        with self.plan.function.lock:
            return tuple(v for v in values if why(generic.with_values(**{name: v})) is None)

    def _policy(self) -> Policy:
        arms = self.settings.max_arms or 7
        settings = SearchSettings(
            max_arms=arms, seed=self.settings.seed, seeds=self._most_specialized()
        )
        return POLICIES[self.settings.strategy](self.space, settings)

    def _most_specialized(self) -> Sequence[Variant]:
        """The corner in which every narrowing is as narrow as the traffic allows."""
        narrow: dict[str, int] = {}
        for point in self.plan.template.points:
            axis = [v for v in self.space.axes[point.name] if v != point.default]
            if point.point_class == "narrowing" and axis:
                narrow[point.name] = axis[0]
        return [self.plan.generic.with_values(**narrow)] if narrow else []

    # -- the search ------------------------------------------------------------------------

    def run(self) -> Summary:
        """Search until the policy is done, time is up or ``stop`` says so; then decide."""
        began = time.monotonic()
        self.controller.phase("searching")
        policy = self._policy()
        summary = Summary(space_size=self.space.size)
        while not self._over():
            batch = policy.ask()
            if not batch:
                break
            variants = [t.variant for t in batch]
            outcomes = self._batch(variants, max(t.budget for t in batch))
            policy.tell(outcomes)
        summary.interrupted = self._stop()
        self._conclude(policy, summary)
        summary.seconds = time.monotonic() - began
        summary.trials = policy.trials_used
        summary.rows = sorted(
            self._rows.values(), key=lambda r: r.gain.value if r.gain else -1e9, reverse=True
        )
        self.controller.phase("watching")
        return summary

    def _over(self) -> bool:
        return self._stop() or time.monotonic() > self._deadline

    def _batch(self, variants: Sequence[Variant], samples: int) -> list[Outcome]:
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
            self._note(item)  # also those that never get to a trial
        good = [b for b in built if not b.refused]
        if good:
            outcomes += self._measured(good, samples)
        if self.plan.generic in variants:
            zero = Effect(value=0.0, low=0.0, high=0.0, n=0, unit="ns")
            outcomes.append(Outcome(variant=self.plan.generic, status=Status.MEASURED, effect=zero))
        return outcomes

    def _note(self, built: Built) -> None:
        status = "refused" if built.refused else "built"
        self._rows.setdefault(
            built.variant,
            Row(
                variant=built.variant,
                label=built.label,
                status=status,
                reason=built.reason,
                instructions=len(built.measured) // 8,
            ),
        )

    def _measured(self, built: Sequence[Built], samples: int) -> list[Outcome]:
        try:
            results = self.trial(built, samples)
        except MeasurementError as error:
            self.controller.events.tell("trial_failed", reason=str(error))
            return [
                Outcome(variant=b.variant, status=Status.FAILED, reason=str(error)) for b in built
            ]
        generic = results[0]
        return [
            Outcome(
                variant=b.variant,
                status=Status.MEASURED,
                effect=paired_difference(generic.windows, result.windows),
            )
            for b, result in zip(built, results[2:], strict=True)
        ]

    def trial(self, built: Sequence[Built], samples: int) -> list[ArmResult]:
        """Generic, generic again, then the candidates, all on the same traffic."""
        controller, shop = self.controller, self.workshop
        arms = [shop.generic, shop.twin]
        arms += [shop.arm(b, FIRST_CANDIDATE + i) for i, b in enumerate(built)]
        try:
            results = self._trials.run(
                arms,
                standing=Standing(
                    live=controller.live, generic=controller.generic, fallback=shop.fallback
                ),
                samples=samples,
                share=self.settings.share,
                timeout_s=min(TRIAL_TIMEOUT_S, max(1.0, self._deadline - time.monotonic())),
                stop=self._stop,
            )
        finally:
            for arm in arms[2:]:
                arm.program.close()
        for item, result in zip(built, results[2:], strict=True):
            self._note(item)
            self._update(item, result, results[0])
        self._tell_trial(results)
        return results

    def _update(self, built: Built, result: ArmResult, generic: ArmResult) -> None:
        row = self._rows[built.variant]
        row.status = "measured"
        row.time_ns = mean_ns(result.windows)
        row.gain = paired_difference(generic.windows, result.windows)
        row.samples += result.samples
        row.miss_share = result.miss_share

    def _tell_trial(self, results: Sequence[ArmResult]) -> None:
        self.controller.events.tell(
            "trial",
            arms=[
                {
                    "variant": r.name,
                    "time_ns": mean_ns(r.windows),
                    "samples": r.samples,
                    "packets": r.packets,
                    "bytes": r.bytes,
                    "verdicts": r.verdicts,
                    "miss_share": r.miss_share,
                }
                for r in results
            ],
        )

    # -- the decision ----------------------------------------------------------------------

    def _conclude(self, policy: Policy, summary: Summary) -> None:
        ranking = [v for v, _ in policy.ranking() if v != self.plan.generic][:FINALISTS]
        finalists = [self.workshop.build(v) for v in ranking]
        if not finalists or self._stop():
            self.controller.events.tell("kept", reason=self._why_not())
            return
        self._deadline = max(self._deadline, time.monotonic() + TRIAL_TIMEOUT_S)
        try:
            results = self.trial(finalists, FINAL_SAMPLES)
        except MeasurementError as error:
            self.controller.events.tell("kept", reason=str(error))
            return
        conclusion = Conclusion(self.controller, self.workshop, self._trials, self.space)
        choice = conclusion.choose(finalists, results)
        summary.decision, summary.saturation = choice.decision, choice.saturation
        if choice.built is not None:
            summary.winner, summary.winner_label = choice.built.variant, choice.built.label
            try:
                conclusion.apply(choice)
            except TablesChangedError:
                self.controller.events.tell("kept", reason=self._why_not())

    def _why_not(self) -> str:
        if self.tables_changed():
            return "the tables changed while it was searched"
        return "interrupted" if self._stop() else "no candidate was measured"

    def close(self) -> None:
        """Give helper programs back and empty the slots they stood in."""
        board = self.controller.board
        for slot in [s for s in board.expected if s not in (ENTRY, FALLBACK) and board.expected[s]]:
            board.clear(slot)
        self.controller.end_search()
        self.workshop.close()
        self._trials.close()
