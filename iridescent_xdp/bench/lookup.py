# SPDX-License-Identifier: GPL-2.0-only
"""What a router's look-up alone costs: a program less the same program whose look-up is a constant.

The constant comes out of the nested ifs: a decision without a question. What is compared is the
longest prefix match in the kernel's trie with generated ifs, and with the hot-prefix path in front
of whatever is fastest behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

import numpy as np

from iridescent_xdp.bench.loads import MANY, Loads
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.decision.nodes import Result as Leaf
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.statistics import CONFIDENCE, Effect
from iridescent_xdp.toolchain.base import Request, Role
from iridescent_xdp.variant import Variant
from traffic.generator import StreamTimer

BOOTSTRAPS = 4000


def lookup(case: Case, rig: Rig, timer: StreamTimer, options: Options) -> list[Result]:
    """``lookup_ratio`` of each way to look up, and the nanoseconds behind it."""
    options.tell(f"{case.suite}/{case.name}: the look-up alone")
    hot = _hottest(rig, timer, options)
    with Loads(options, MANY) as loads:
        loads.add("constant", rig, _constant(rig))
        loads.add_variant("trie", rig, rig.variant)
        for name in ("flat", "ifs"):
            loads.add_variant(name, rig, rig.changed({"lookup": name}))
        loads.add_variant("hot", rig, hot)
        times = loads.by_load(timer, options.pick(7, 5))
    options.winners[f"{case.suite}/{case.name} (hot look-up)"] = rig.label(hot)
    return list(_results(case, times))


def _results(case: Case, times: dict[str, list[float]]) -> Iterator[Result]:
    base = times["constant"]
    for name in ("trie", "flat", "ifs", "hot"):
        alone = [t - b for t, b in zip(times[name], base, strict=True)]
        yield case.median(f"lookup_{name}_ns", "ns", alone)
    for name in ("flat", "ifs", "hot"):
        yield case.of(f"lookup_ratio_{name}", difference_ratio(times["trie"], times[name], base))


def difference_ratio(a: Sequence[float], b: Sequence[float], base: Sequence[float]) -> Effect:
    """Median of ``a - base`` over that of ``b - base``, with a bootstrap interval.

    Item i of all three ran side by side, so the bootstrap draws them together. Raises
    MeasurementError when ``b`` is not above ``base``.
    """
    above = np.array([a, b]) - np.array(base)
    picks = np.random.default_rng(0).integers(len(base), size=(BOOTSTRAPS, len(base)))
    first, second = (np.median(row[picks], axis=1) for row in above)
    below = median(above[1])
    if below <= 0:
        raise MeasurementError(
            f"the look-up took {below:.2f} ns, less than none", cure="measure on a quiet machine"
        )
    value = float(median(above[0]) / below)
    ratios = first[second > 0] / second[second > 0]
    tails = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    low, high = min(value, float(tails[0])), max(value, float(tails[1]))
    return Effect(value=value, low=low, high=high, n=len(base), unit="ratio")


def _constant(rig: Rig) -> bytes:
    """Every destination leads to the first hop."""
    template = rig.function.template
    leaf = Leaf(template.constants["FIRST_HOP"])
    request = Request(
        template=template,
        variant=rig.changed({"lookup": "ifs"}),
        role=Role.STEADY,
        tables={"ifs4": leaf, "ifs6": leaf},
        tables_digest="constant",
    )
    return rig.builder.toolchain.compile(request)


def _hottest(rig: Rig, timer: StreamTimer, options: Options) -> Variant:
    """The best number of hot destinations with the best look-up behind them."""
    template = rig.function.template
    keys, ways = template.point("hot_keys"), template.point("lookup")
    variants = [
        rig.variant.with_values(hot_keys=count, lookup=way)
        for count in keys.domain
        for way in ways.domain
        if count != keys.default
    ]
    good = [v for v in variants if rig.function.infeasible(v) is None]
    times = timer.rounds({v.key: rig.load(v) for v in good}, options.pick(15, 1))
    return min(good, key=lambda v: median(times[v.key]))
