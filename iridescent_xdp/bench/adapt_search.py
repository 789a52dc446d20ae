# SPDX-License-Identifier: GPL-2.0-only
"""`bench adapt`, single searches at full load: how long they take, whether they are right, and
whether they leave well alone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from tempfile import TemporaryDirectory
from typing import Any

from iridescent_xdp.arms import Built
from iridescent_xdp.bench.mixes import edge_traffic
from iridescent_xdp.bench.oracle import filter_plan, loaded, oracle
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.builder import Builder
from iridescent_xdp.campaign import FINAL_COPIES, FINAL_SAMPLES, Campaign
from iridescent_xdp.config import PointValue, SearchConfig
from iridescent_xdp.controller import Controller
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.measure import ArmResult
from iridescent_xdp.statistics import Candidate, decide
from iridescent_xdp.summary import Summary
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.trial_end import FINAL_PRECISION
from traffic.mix_stream import Stream
from traffic.scenario import Scenario
from traffic.scenario_tables import TableSource

SUITE = "adapt"
Points = dict[str, tuple[PointValue, ...]]
_FIXED: Points = {
    "no_fragments": (False,),
    "ipv6": (True,),
    "only_protocol": (0,),
    "set_layout": ("trie",),
    "counter_batch": ("1",),
}
SEVEN: Points = {  # seven candidates beside generic
    **_FIXED,
    "vlan_depth": (0, 2),
    "no_ip_options": (False, True),
    "no_extensions": (False,),
    "rule_layout": ("map", "tree"),
}
QUICK_RULES = 12
FEW: Points = {**SEVEN, "no_ip_options": (False,)}  # four variants, for the short form
SPACE: Points = {  # 24 variants, for the oracle
    **_FIXED,
    "vlan_depth": (0, 2),
    "no_ip_options": (False, True),
    "no_extensions": (False, True),
    "rule_layout": ("map", "tree", "broad"),
}


def few(options: Options) -> Points:
    """What the short form searches in: little."""
    return FEW if options.quick else {}


def tables(options: Options) -> FilterTables:
    """The 64 rules; in the short form the first of them, which are built and proven sooner."""
    return FilterTables(rules=RULES[:QUICK_RULES] if options.quick else RULES)


def shortened(scenario: Scenario, options: Options) -> Scenario:
    """In the short form a scenario of the filter meets few rules; its traffic stays."""
    if not options.quick or scenario.function != "filter":
        return scenario
    return replace(scenario, source=TableSource(function="filter", own=tables(options)))


@dataclass(kw_only=True)
class Regrets:
    """What all searches of the run have cost, told by their ``regret`` events."""

    found: list[tuple[float, int]] = field(default_factory=list)  # percent, packets

    def __call__(self, event: dict[str, Any]) -> None:
        """Take one event, of any kind."""
        if event["event"] == "regret":
            self.found.append((event["regret_pct"], event["packets"]))

    def results(self) -> list[Result]:
        """All searches together, weighted by their packets, the median one, and the worst."""
        case = Case(suite=SUITE, name="all searches")
        shares = [share for share, _ in self.found]
        packets = sum(packets for _, packets in self.found)
        whole = sum(share * packets for share, packets in self.found) / max(1, packets)
        return [
            case.count("regret_pct", "%", whole, len(shares)),
            case.median("regret_pct_p50", "%", shares),
            case.count("regret_pct_max", "%", max(shares), len(shares)),
        ]


class _Timed(Campaign):
    """Knows how long its trials took."""

    trials_s = 0.0

    def trial(
        self,
        built: Sequence[Built],
        samples: int,
        *,
        precision: float | None = None,
        copies: int = 1,
    ) -> list[ArmResult]:
        began = time.monotonic()
        try:
            return super().trial(built, samples, precision=precision, copies=copies)
        finally:
            self.trials_s += time.monotonic() - began


class _Clock:
    """When the decision was told; None when there was none yet."""

    def __init__(self, regrets: Regrets) -> None:
        self._regrets = regrets
        self.decided: float | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        self._regrets(event)
        if event["event"] == "decision":
            self.decided = time.monotonic()


@contextmanager
def own_cache(options: Options) -> Iterator[None]:
    """Objects are kept in a directory of their own, empty at first; not so in the short form."""
    if options.quick:
        yield
        return
    name = "IRIDESCENT_CACHE"
    before = os.environ.get(name)
    with TemporaryDirectory() as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            del os.environ[name]
            if before is not None:
                os.environ[name] = before


def searches(builder: Builder, options: Options, regrets: Regrets) -> list[Result]:
    """Seven candidates to a decision; winners against the oracle's; generic against itself."""
    stream = edge_traffic("low")
    return [
        *_converge(builder, stream, options, regrets),
        *_right(builder, stream, options, regrets),
        *_false_swaps(builder, stream, options),
    ]


# -- how long ------------------------------------------------------------------------------


def _converge(builder: Builder, stream: Stream, options: Options, regrets: Regrets) -> list[Result]:
    """A first search, which builds and proves; then the same search once more."""
    case = Case(suite=SUITE, name="seven candidates")
    cold: list[float] = []
    warm: list[float] = []
    measured: list[float] = []
    seeds, undecided = options.pick(20, 1), 0
    for seed in range(seeds):
        plan = filter_plan(SearchConfig(seed=seed, points=few(options) or SEVEN), tables(options))
        clock = _Clock(regrets)
        with own_cache(options), loaded(builder, stream, plan, clock) as controller:
            first_s, _, first = _decided_s(controller, clock)
            took_s, trials_s, again = _decided_s(controller, clock)
        cold.append(first_s)
        warm.append(took_s)
        measured.append(trials_s)
        undecided += 2 - first - again
        options.tell(
            f"adapt: seven candidates, seed {seed}: {first_s:.2f} s, then {took_s:.2f} s, "
            f"{trials_s:.2f} s of them trials{'' if first and again else '; not both decided'}"
        )
    return [
        case.median("converge_s", "s", warm),
        case.median("measure_s", "s", measured),
        case.median("converge_cold_s", "s", cold),
        case.count("converge_max_s", "s", max(warm), len(warm)),
        case.count("undecided", "searches", undecided, 2 * seeds),
        case.count("seed", "first", 0, seeds),
    ]


def _decided_s(controller: Controller, clock: _Clock) -> tuple[float, float, bool]:
    """Seconds from a search's begin to its decision, those of its trials, and whether there was a
    decision; without one it is the whole search."""
    began, clock.decided = time.monotonic(), None
    campaign = _Timed(controller)
    try:
        campaign.run()
        ended = clock.decided or time.monotonic()
    finally:
        campaign.close()
    return ended - began, campaign.trials_s, clock.decided is not None


# -- how right -----------------------------------------------------------------------------


def _right(builder: Builder, stream: Stream, options: Options, regrets: Regrets) -> list[Result]:
    case = Case(suite=SUITE, name="24 variants")
    points, rules = few(options) or SPACE, tables(options)
    known = oracle(builder, stream, filter_plan(SearchConfig(points=points), rules), options)
    right, lags, seconds, seeds = 0, [], [], options.pick(30, 1)
    for seed in range(seeds):
        plan = filter_plan(SearchConfig(seed=seed, points=points), rules)
        with loaded(builder, stream, plan, regrets) as controller:
            summary = searched(controller)
        winner = summary.winner or plan.generic
        right += known.right(winner)
        lags.append(known.lag_ns(winner))
        seconds.append(summary.seconds)
        options.tell(
            f"adapt: right winner, seed {seed}: {plan.label(winner)}, {lags[-1]:.1f} ns behind "
            f"the oracle's, noise {known.noise_ns:.1f} ns"
        )
    return [
        case.count("right_of_30", "searches", right, seeds),
        case.median("lag_ns", "ns", lags),
        case.count("lag_max_ns", "ns", max(lags), seeds),
        case.count("noise_ns", "ns", known.noise_ns, 1),
        case.median("search_s", "s", seconds),
        case.count("seed", "first", 0, seeds),
    ]


def searched(controller: Controller) -> Summary:
    """One search."""
    campaign = Campaign(controller)
    try:
        return campaign.run()
    finally:
        campaign.close()


# -- generic against itself ----------------------------------------------------------------


def _false_swaps(builder: Builder, stream: Stream, options: Options) -> list[Result]:
    """Decisions in which the only candidate is generic a third time, measured as finalists are."""
    case = Case(suite=SUITE, name="generic against itself")
    count, swaps, gains = options.pick(100, 2), 0, []
    plan = filter_plan(SearchConfig(points=FEW), tables(options))
    with loaded(builder, stream, plan) as controller:
        campaign = Campaign(controller)
        try:
            code = builder.variant(plan.function, plan.generic, Role.ARM)
            same = Built(variant=plan.generic, label="generic, a third time", measured=code)
            for number in range(count):
                results = campaign.trial(
                    [same], FINAL_SAMPLES, precision=FINAL_PRECISION, copies=FINAL_COPIES
                )
                third = Candidate(name=same.label, windows=results[2].windows, deviations=0)
                decision = decide(results[0].windows, results[1].windows, [third])
                swaps += decision.winner is not None
                gains.append(decision.gains[same.label].value)
                if decision.winner is not None or number % 20 == 0:
                    options.tell(f"adapt: generic against itself, {number}: {decision.reason}")
        finally:
            campaign.close()
    return [
        case.count("false_swaps", "decisions", swaps, count),
        case.median("gain_ns", "ns", gains),
        case.count("gain_max_ns", "ns", max(gains, key=abs), count),
        case.count("seed", "first", 0, 1),
    ]
