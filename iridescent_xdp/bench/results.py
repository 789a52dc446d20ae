# SPDX-License-Identifier: GPL-2.0-only
"""What a suite gives: figures with their interval, and what is asked of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from rich.table import Table

from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.statistics import CONFIDENCE, Effect


@dataclass(frozen=True, kw_only=True)
class Result:
    """One figure. ``low`` and ``high`` bound the 99 % interval (a single reading has none and
    repeats its value); ``n`` counts repetitions, or things counted."""

    suite: str
    case: str
    metric: str
    unit: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Need:
    """What is asked of a metric: ``value`` at least or at most ``bound``."""

    bound: float
    at_least: bool = True

    def holds(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {show(self.bound)}"


def _at_most(bound: float) -> Need:
    return Need(bound=bound, at_least=False)


# by suite and metric, or by suite, case and metric; for the throughput of a function what Morpheus
# (ASPLOS'22) has for the same locality, and at least 1.8 at high locality
NEEDS: Mapping[tuple[str, ...], Need] = {
    ("compile", "filter", "speedup"): Need(bound=10),
    ("compile", "filter", "llvm_ms"): _at_most(40),
    ("compile", "router", "llvm_ms"): _at_most(60),
    ("compile", "l4lb", "llvm_ms"): _at_most(60),
    ("compile", "cached_ms"): _at_most(5),
    ("swap", "swaps"): Need(bound=10_000),
    ("swap", "pps"): Need(bound=3e6),
    ("swap", "lost"): _at_most(0),
    ("swap", "duplicated"): _at_most(0),
    ("swap", "wrong_counters"): _at_most(0),
    ("swap", "swap_us_p99"): _at_most(1000),
    ("functions", "time_ratio"): Need(bound=1),
    ("functions", "filter/high", "time_ratio"): Need(bound=3),
    ("functions", "filter/low", "time_ratio"): Need(bound=2.3),
    ("functions", "filter/none", "time_ratio"): Need(bound=2.3),
    ("functions", "router/high", "time_ratio"): Need(bound=2.3),
    ("functions", "l4lb/high", "time_ratio"): Need(bound=2.3),
    ("functions", "filter/high", "throughput_ratio"): Need(bound=1.8),
    ("functions", "filter/low", "throughput_ratio"): Need(bound=1.5),
    ("functions", "filter/none", "throughput_ratio"): Need(bound=1.5),
    ("functions", "router/high", "throughput_ratio"): Need(bound=1.94),
    ("functions", "router/low", "throughput_ratio"): Need(bound=1.77),
    ("functions", "router/none", "throughput_ratio"): Need(bound=1.10),
    ("functions", "l4lb/high", "throughput_ratio"): Need(bound=1.8),
    ("functions", "l4lb/low", "throughput_ratio"): Need(bound=1.21),
    ("functions", "l4lb/none", "throughput_ratio"): Need(bound=1.11),
    ("functions", "throughput_ratio"): Need(bound=1),
    ("functions", "throughput_ratio_inline"): Need(bound=1),
    ("functions", "handwritten_ratio"): _at_most(1.05),
    ("functions", "router/high", "lookup_ratio_ifs"): Need(bound=6),
    ("functions", "router/high", "lookup_ratio_hot"): Need(bound=10),
    ("guards", "pass_ns"): _at_most(1),
    ("guards", "miss_ns"): _at_most(30),
    ("guards", "instrumentation_pct"): _at_most(2),
    ("peers", "peer_ratio"): Need(bound=1),
    ("overhead", "steady_pct"): _at_most(2),
    ("overhead", "sensing", "sensing_pct"): _at_most(0.5),
    ("search", "right_share"): Need(bound=0.9),
    ("search", "false_swaps"): _at_most(0),
    ("adapt", "converge_s"): _at_most(0.7),
    ("adapt", "right_of_30"): Need(bound=29),
    ("adapt", "false_swaps"): _at_most(1),
    ("adapt", "detect_ms_p50"): _at_most(200),
    ("adapt", "detect_ms_p99"): _at_most(1000),
    ("adapt", "recall_ms"): _at_most(150),
    ("adapt", "false_alarms"): _at_most(0),
    ("adapt", "regret_pct"): _at_most(2),
    ("adapt", "oracle_share"): Need(bound=0.95),
    ("adapt", "vs_fixed"): Need(bound=1),
    ("adapt", "adversarial", "vs_generic"): Need(bound=0.98),
    ("adapt", "large_space_hits"): Need(bound=8),
}


def need_of(result: Result) -> Need | None:
    """What is asked of a figure, if anything."""
    special = NEEDS.get((result.suite, result.case, result.metric))
    return special or NEEDS.get((result.suite, result.metric))


PATIENCE = 2.0


@dataclass(kw_only=True)
class Options:
    """How suites run. They tell their progress, and which variants won, by case."""

    quick: bool = False
    function: str = ""  # only this one, of suites about several
    tell: Callable[[str], None] = lambda _: None
    winners: dict[str, str] = field(default_factory=dict)

    @property
    def patience(self) -> float:
        """How much longer a measurement may take on a busy host (traffic/calm.py)."""
        return 0.0 if self.quick else PATIENCE

    def wants(self, function: str) -> bool:
        """Whether a function is to be measured."""
        return self.function in ("", function)

    def pick(self, full: int, quick: int) -> int:
        """A number of repetitions."""
        return quick if self.quick else full


@dataclass(frozen=True, kw_only=True)
class Case:
    """Makes the results of one case of a suite."""

    suite: str
    name: str

    def of(self, metric: str, effect: Effect) -> Result:
        """A figure that has an interval already."""
        return Result(
            suite=self.suite,
            case=self.name,
            metric=metric,
            unit=effect.unit,
            value=effect.value,
            low=effect.low,
            high=effect.high,
            n=effect.n,
        )

    def median(self, metric: str, unit: str, values: Sequence[float]) -> Result:
        """The median of repetitions."""
        return self.of(metric, quantile_of(values, 0.5, unit))

    def count(self, metric: str, unit: str, value: float, n: int) -> Result:
        """A figure without an interval, over ``n`` things."""
        return self.of(metric, Effect(value=value, low=value, high=value, n=n, unit=unit))


def quantile_of(values: Sequence[float], q: float, unit: str) -> Effect:
    """A quantile between the order statistics that hold it with 99 % (by the binomial
    distribution; any textbook). With few values the extremes are the interval and hold it with
    less. Raises MeasurementError without values.
    """
    if not values:
        raise MeasurementError("nothing was measured", cure="measure at least once")
    from scipy.stats import binom  # slow to import

    ordered, n = np.sort(np.asarray(values, dtype=np.float64)), len(values)
    tail = (1 - CONFIDENCE) / 2
    low = max(int(binom.ppf(tail, n, q)) - 1, 0)
    high = min(int(binom.ppf(1 - tail, n, q)), n - 1)
    value = float(np.quantile(ordered, q))
    return Effect(
        value=value,
        low=min(value, float(ordered[low])),
        high=max(value, float(ordered[high])),
        n=n,
        unit=unit,
    )


def percent(effect: Effect) -> Effect:
    """A ratio of costs as what is paid on top."""
    value, low, high = ((x - 1) * 100 for x in (effect.value, effect.low, effect.high))
    return Effect(value=value, low=low, high=high, n=effect.n, unit="%")


def document(environment: Mapping[str, object], results: Iterable[Result]) -> dict[str, object]:
    """What ``--json`` writes."""
    return {"environment": dict(environment), "results": [asdict(result) for result in results]}


def table(results: Iterable[Result]) -> Table:
    """The same figures for people, with what is asked of them."""
    shown = Table("suite", "case", title="bench")
    shown.add_column("metric", no_wrap=True)
    for heading in ("value", "99 % interval", "n"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("needed")
    for result in results:
        need = need_of(result)
        interval = f"{show(result.low)} .. {show(result.high)}"
        shown.add_row(
            *(result.suite, result.case, result.metric),
            f"{show(result.value)} {_short(result.unit)}".rstrip(),
            interval if result.low < result.high else "",
            f"{result.n:,}",
            "" if need is None else f"{need} {'met' if need.holds(result.value) else 'MISSED'}",
        )
    return shown


def _short(unit: str) -> str:
    """A unit that the name of the metric does not tell."""
    return unit if len(unit) <= 4 else ""


def show(value: float) -> str:
    """Three digits at least, all digits before the point, and no zeros behind the last."""
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
