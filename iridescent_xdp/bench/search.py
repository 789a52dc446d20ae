# SPDX-License-Identifier: GPL-2.0-only
"""Does the search find what an exhaustive offline measurement finds, and does it leave well alone?

Searches run live on a testbed, one seed each; the oracle is in oracle.py.
"""

from __future__ import annotations

import time

from iridescent_xdp.arms import Built
from iridescent_xdp.bench.mixes import edge_traffic
from iridescent_xdp.bench.oracle import filter_plan, loaded, oracle
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.builder import Builder
from iridescent_xdp.campaign import Campaign
from iridescent_xdp.config import PointValue, SearchConfig
from iridescent_xdp.plan import Plan
from iridescent_xdp.statistics import Candidate, decide
from iridescent_xdp.toolchain.base import Role
from traffic.mix_stream import Stream

POINTS: dict[str, tuple[PointValue, ...]] = {
    "vlan_depth": (0, 2),
    "no_ip_options": (False, True),
    "no_fragments": (False,),
    "no_extensions": (False, True),
    "ipv6": (True,),
    "only_protocol": (0,),
    "rule_layout": ("map", "tree", "broad"),
    "set_layout": ("trie",),
    "counter_batch": ("1",),
}
SAMPLES = 50_000


def search(options: Options) -> list[Result]:
    """Winners against the oracle's, and decisions between generic and generic."""
    case = Case(suite="search", name="filter/low")
    builder, stream = Builder("llvm"), edge_traffic("low")
    runs = options.pick(10, 1)
    known = oracle(builder, stream, _plan(0), options)
    right, seconds = 0, []
    for seed in range(runs):
        began, plan = time.monotonic(), _plan(seed)
        with loaded(builder, stream, plan) as controller:
            campaign = Campaign(controller)
            try:
                winner = campaign.run().winner or plan.generic
            finally:
                campaign.close()
        seconds.append(time.monotonic() - began)
        right += known.right(winner)
        lag_ns = known.lag_ns(winner)
        options.tell(f"search: run {seed}: {plan.label(winner)}, {lag_ns:.1f} ns behind the oracle")
    swaps, decisions = _false_swaps(builder, stream, options)
    return [
        case.count("right_share", "", right / runs, runs),
        case.count("false_swaps", "decisions", swaps, decisions),
        case.median("search_s", "s", seconds),
        case.count("variants", "", len(known.times), 1),
        case.count("noise_ns", "ns", known.noise_ns, 1),
    ]


def _plan(seed: int) -> Plan:
    return filter_plan(SearchConfig(seed=seed, points=POINTS, max_seconds=60.0))


def _false_swaps(builder: Builder, stream: Stream, options: Options) -> tuple[int, int]:
    """Decisions in which the only candidate is generic once more."""
    count = options.pick(10, 2)
    swaps, plan = 0, _plan(0)
    with loaded(builder, stream, plan) as controller:
        campaign = Campaign(controller)
        try:
            code = builder.variant(plan.function, plan.generic, Role.ARM)
            same = Built(variant=plan.generic, label="generic, a third time", measured=code)
            for _ in range(count):
                results = campaign.trial([same], SAMPLES)
                third = Candidate(name=same.label, windows=results[2].windows, deviations=0)
                decision = decide(results[0].windows, results[1].windows, [third])
                swaps += decision.winner is not None
                options.tell(f"search: generic against itself: {decision.reason}")
        finally:
            campaign.close()
    return swaps, count
