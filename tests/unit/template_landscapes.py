# SPDX-License-Identifier: GPL-2.0-only
"""Large spaces as the templates have them, and machines on which their points matter as measured.

Times are sums over the parts of a path, as in ``bpf/filter.bpf.c``, ``l4lb.bpf.c`` and
``router.bpf.c``, with what is typical besides: points that matter only behind another one, hot keys
whose best number lies in the middle and that make a cache useless, guards that some packets miss,
and a difference of about a per cent for the same code at another address. The ranges
that costs are drawn from were set by hand, in the order of the README's figures; they are not
fitted to measurements, and a hit here is no live result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from iridescent_xdp.points import Point, PointClass, PointKind
from iridescent_xdp.search.policy import Outcome, Trial
from iridescent_xdp.search.space import Space
from iridescent_xdp.variant import Variant
from tests.unit.landscape_model import SAMPLES_PER_WINDOW, WIDTH, measured

ADDRESS = 0.005  # deviation of the time between two addresses, relative
# Deviation of an arm's mean in one window, live: as 49.33 ns (48.95 to 49.71, n=41) in the README.
WINDOW_NS = 0.67
HOPELESS = 0.05  # of the generic time: a narrowing that alone costs more is missed by many packets
Times = Callable[[Mapping[str, int]], float]


def _point(name: str, kind: PointKind, default: int, domain: Sequence[int]) -> Point:
    tuning = kind is PointKind.ENUM
    return Point(
        name=name,
        point_class=PointClass.TUNING if tuning else PointClass.NARROWING,
        kind=kind,
        default=default,
        domain=tuple(domain),
        doc="as in the template",
    )


def _space(enums: Mapping[str, int], others: Sequence[Point]) -> Space:
    points = [_point(name, PointKind.ENUM, 0, range(size)) for name, size in enums.items()]
    points += others
    return Space(
        points=points, generic=Variant.generic(points), observed={"only_protocol": (17, 6)}
    )


_COMMON = [
    _point("vlan_depth", PointKind.RANGE, 2, range(3)),
    _point("ipv6", PointKind.BOOL, 1, (0, 1)),
    _point("no_ip_options", PointKind.ASSUME, 0, (0, 1)),
    _point("no_fragments", PointKind.ASSUME, 0, (0, 1)),
    _point("no_extensions", PointKind.ASSUME, 0, (0, 1)),
    _point("only_protocol", PointKind.GENERIC, 0, (0,)),
]

FILTER = _space(
    {"rule_layout": 4, "set_layout": 3, "counter_batch": 3, "prefetch": 2}, _COMMON
)  # 10,368
L4LB = _space(
    {"service_layout": 2, "hot_flows": 8, "flow_cache": 2, "encapsulation": 3, "counter_batch": 3},
    [p for p in _COMMON if p.name != "no_extensions"],
)  # 20,736
ROUTER = _space(
    {"lookup": 3, "hot_keys": 6, "checksum_update": 2, "counter_batch": 3, "prefetch": 2}, _COMMON
)  # 31,104


class TemplateLandscape:
    """One machine and one traffic for a template, drawn from ``seed``."""

    def __init__(self, space: Space, times: Callable[[np.random.Generator], Times], seed: int):
        self.space = space
        self._rng = np.random.default_rng(seed)
        self._times = times(self._rng)
        self._seed = seed
        self.generic_ns = self.time_ns(space.generic)

    def time_ns(self, variant: Variant) -> float:
        """The truth, in ns per packet; addresses included."""
        rng = np.random.default_rng([int(variant.key, 16), self._seed])
        return self._times(dict(variant.values)) * (1 + ADDRESS * float(rng.normal()))

    def best_ns(self) -> float:
        """The least time of the space (every variant is looked at)."""
        return min(self.time_ns(variant) for variant in self.space)

    def corner(self) -> Variant:
        """What a campaign tries first: all narrowings that the observer would not call hopeless."""
        generic, chosen = self.space.generic, dict[str, int]()
        for point in self.space.points:
            if point.point_class is PointClass.NARROWING:
                axis = [v for v in self.space.axes[point.name] if v != point.default]
                narrow = dict(generic.values) | {point.name: axis[0]}
                if self._times(narrow) < (1 + HOPELESS) * self._times(dict(generic.values)):
                    chosen[point.name] = axis[0]
        return generic.with_values(**chosen)

    def measure(self, batch: Sequence[Trial]) -> list[Outcome]:
        """Every arm against the same generic arm, whose error all of them share."""
        windows = max(2, batch[0].budget // SAMPLES_PER_WINDOW)
        deviation = WINDOW_NS / windows**0.5
        shared = self._rng.normal(0, deviation)
        return [
            measured(
                trial.variant,
                self.generic_ns
                - self.time_ns(trial.variant)
                + shared
                + float(self._rng.normal(0, deviation)),
                WIDTH * deviation,
                windows,
            )
            for trial in batch
        ]


def _parsing(rng: np.random.Generator) -> Times:
    """Headers: what each check costs, and what its guard costs where packets miss it."""
    vlan, six, options, fragments = rng.uniform(1, 4, 4)
    extensions, protocol = rng.uniform(1, 6), rng.uniform(1, 5)
    missed = {
        name: float(rng.choice([0, 0, 0, 0.003, 0.05, 0.3]))
        for name in ("vlan", "ipv6", "options", "fragments", "extensions")
    }
    udp = float(rng.choice([1.0, 0.99, 0.7]))
    miss_ns = rng.uniform(60, 120)

    def times(v: Mapping[str, int]) -> float:
        total = vlan * v["vlan_depth"] + miss_ns * missed["vlan"] * (2 - v["vlan_depth"]) / 2
        total += six if v["ipv6"] else miss_ns * missed["ipv6"]
        total += miss_ns * missed["options"] if v["no_ip_options"] else options
        total += miss_ns * missed["fragments"] if v["no_fragments"] else fragments
        if v["ipv6"]:
            short = v.get("no_extensions", 1)
            total += miss_ns * missed["extensions"] if short else extensions
        if v["only_protocol"]:
            share = udp if v["only_protocol"] == 17 else 1 - udp
            total += miss_ns * (1 - share) - protocol
        return float(total)

    return times


def filter_times(rng: np.random.Generator) -> Times:
    """bpf/filter.bpf.c with 64 rules and sets."""
    parsing = _parsing(rng)
    rules = [rng.uniform(40, 60), rng.uniform(10, 25), rng.uniform(7, 14), rng.uniform(6, 14)]
    sets = [rng.uniform(12, 25), rng.uniform(6, 12), rng.uniform(2, 20)]
    batches, compiled_gain = rng.uniform(1, 5, 3), rng.uniform(0, 4)
    prefetch = rng.normal(0, 1.5)

    def times(v: Mapping[str, int]) -> float:
        total = 26 + parsing(v) + rules[v["rule_layout"]] + sets[v["set_layout"]]
        if v["rule_layout"] and v["only_protocol"]:
            total -= compiled_gain  # the compiled rules of other protocols are gone
        if v["rule_layout"] == 2 and v["set_layout"] == 2:
            total += compiled_gain  # too much code for the cache
        return float(total + batches[v["counter_batch"]] + prefetch * v["prefetch"])

    return times


def _hot(rng: np.random.Generator, sizes: Sequence[int], lookup_ns: float) -> list[float]:
    """Time of a look-up behind so many compares, flows drawn by Zipf's law."""
    weights = np.arange(1, 1025, dtype=float) ** -rng.uniform(0.2, 1.6)
    share = np.cumsum(weights / weights.sum())
    compare = rng.uniform(0.4, 0.9)
    times = []
    for size in sizes:
        hits = share[size - 1] if size else 0.0
        times.append(float((1 - hits) * lookup_ns + compare * size * (1 - 0.6 * hits)))
    return times


def l4lb_times(rng: np.random.Generator) -> Times:
    """bpf/l4lb.bpf.c: hot flows and the flow cache save the same look-up."""
    parsing = _parsing(rng)
    lookup_ns = rng.uniform(25, 40)
    hot = _hot(rng, (0, 1, 2, 4, 8, 16, 32, 64), lookup_ns)
    services = [rng.uniform(14, 22), rng.uniform(3, 8)]
    encapsulation = [rng.uniform(4, 8), rng.uniform(1, 3), 60.0]
    batches, cached = rng.uniform(1, 4, 3), rng.uniform(8, 30)

    def times(v: Mapping[str, int]) -> float:
        found = hot[v["hot_flows"]]
        if v["flow_cache"]:
            found = min(hot[v["hot_flows"]], lookup_ns) / lookup_ns * cached + 3
        total = 28 + parsing(v) + found + services[v["service_layout"]]
        return float(total + encapsulation[v["encapsulation"]] + batches[v["counter_batch"]])

    return times


def router_times(rng: np.random.Generator) -> Times:
    """bpf/router.bpf.c: the better the look-up, the less hot keys are worth."""
    parsing = _parsing(rng)
    lookups = [rng.uniform(60, 110), rng.uniform(4, 14), rng.uniform(9, 30)]
    hots = [_hot(np.random.default_rng(7), (0, 1, 4, 16, 64, 4), ns) for ns in lookups]
    checksum, batches = rng.uniform(1, 5), rng.uniform(1, 4, 3)
    table, prefetch = rng.uniform(-2, 4), rng.normal(0, 1.5)

    def times(v: Mapping[str, int]) -> float:
        found = hots[v["lookup"]][v["hot_keys"]] + table * (v["hot_keys"] == 5)
        total = 30 + parsing(v) + found + checksum * v["checksum_update"]
        return float(
            total + batches[v["counter_batch"]] + prefetch * v["prefetch"] * (v["lookup"] == 1)
        )

    return times


LANDSCAPES: Mapping[str, Callable[[int], TemplateLandscape]] = {
    "filter": lambda seed: TemplateLandscape(FILTER, filter_times, seed),
    "l4lb": lambda seed: TemplateLandscape(L4LB, l4lb_times, seed),
    "router": lambda seed: TemplateLandscape(ROUTER, router_times, seed),
}
