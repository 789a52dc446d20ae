# SPDX-License-Identifier: GPL-2.0-only
"""`bench adapt`, a space beyond enumeration: forty trials, live, against the best that is known.

The filter's whole space on plain UDP over IPv4, where no narrowing is hopeless, and six protocols
to choose from: 13,824 variants. The best known is the fastest, by the stream's clock, of all
winners and of what long walks find that begin at each of them and at the narrowest corner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_network
from statistics import median

from iridescent_xdp.bench.adapt_rivals import narrowest, possible
from iridescent_xdp.bench.adapt_search import SUITE, Regrets, searched, tables
from iridescent_xdp.bench.live import cpus
from iridescent_xdp.bench.oracle import filter_plan, loaded
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.bench.winner import Hunt
from iridescent_xdp.builder import Builder
from iridescent_xdp.config import SearchConfig
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import SCTP, TCP, UDP
from iridescent_xdp.preflight import on_cpu
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import StreamTimer
from traffic.mix_stream import Stream
from traffic.mixes import Mix, build
from traffic.scenario_tables import fitting

TRIALS = 40
WITHIN = 1.05  # of the best known
STRATEGY = "racing"
PROTOCOLS = (0, TCP, UDP, SCTP, 1, 47)  # any, and six that IPv4 may carry
SHARES = (0.0, 1.0, 0.0, 0.0)
DENIED = tuple(ip_network(f"203.0.113.{host}/32") for host in range(64))
LOADS, LOADS_AGAIN = (3, 1), (11, 1)  # of the same code; in the short form
ROUNDS, ROUNDS_AGAIN = (5, 3), (9, 3)  # measurements of each load
FASTEST = 6  # are measured once more
BEST = 3  # of each search's variants are measured again offline


def large_space(builder: Builder, options: Options, regrets: Regrets) -> list[Result]:
    """Ten seeds."""
    case = Case(suite=SUITE, name="13,824 variants")
    stream, seeds, rules = _stream(), options.pick(10, 1), _tables(options)
    winners: list[Variant] = []
    measured: list[Variant] = []
    trials, seconds, size = [], [], 0
    for seed in range(seeds):
        search = SearchConfig(
            seed=seed,
            strategy=STRATEGY,
            points={"only_protocol": PROTOCOLS},
            max_trials=options.pick(TRIALS, 3),
        )
        plan = filter_plan(search, rules)
        with loaded(builder, stream, plan, regrets) as controller:
            summary = searched(controller)
        winners.append(summary.winner or plan.generic)
        measured += [row.variant for row in summary.rows[:BEST]]
        trials.append(summary.trials)
        seconds.append(summary.seconds)
        size = summary.space_size
    times = _times(builder, stream, winners, measured, options)
    best = min(times, key=times.__getitem__)
    label = plan.label
    options.tell(f"adapt: {size:,} variants: the best known is {label(best)}, {times[best]:.1f} ns")
    lags = [times[winner] / times[best] for winner in winners]
    for seed, (winner, lag) in enumerate(zip(winners, lags, strict=True)):
        options.tell(f"adapt: {size:,} variants, seed {seed}: {label(winner)}, {lag - 1:+.1%}")
    return [
        case.count("large_space_hits", "searches", sum(lag <= WITHIN for lag in lags), seeds),
        case.median("lag_ratio", "ratio", lags),
        case.count("lag_ratio_max", "ratio", max(lags), seeds),
        case.count("generic_ratio", "ratio", times[plan.generic] / times[best], 1),
        case.count("trials_max", "", max(trials), seeds),
        case.median("search_s", "s", seconds),
        case.count("space", "variants", size, 1),
        case.count("seed", "first", 0, seeds),
    ]


def _tables(options: Options) -> FilterTables:
    """The 64 rules (fewer in the short form), and a list of denied hosts."""
    return replace(tables(options), deny=DENIED)


def _stream() -> Stream:
    """64-byte UDP packets over IPv4; four of five match no rule."""
    return build(
        Mix(
            name="plain UDP",
            flows=1024,
            locality="low",
            protocol_shares=SHARES,
            hits=fitting(RULES, SHARES, 0.0),
            default_share=0.8,
            seed=1,
        )
    )


def _times(
    builder: Builder,
    stream: Stream,
    winners: list[Variant],
    measured: list[Variant],
    options: Options,
) -> dict[Variant, float]:
    """ns per packet of the ``winners``, of generic, and of the fastest that are known: of the
    ``measured`` and of what walks find. Who is the fastest is measured anew, because the best of
    many was lucky, and at many addresses, because one load of a variant says little."""
    rules = _tables(options)
    drop = {"default_action": filter_plan(SearchConfig(), rules).generic["default_action"]}
    with (
        Rig(builder, rules, policy=drop) as rig,
        on_cpu(cpus()[1]),
        StreamTimer(builder, stream) as timer,
    ):
        rig.learn(timer)
        timer.patience = options.patience
        known = list(dict.fromkeys([*winners, *measured]))
        if not options.quick:
            known += _walked(rig, timer, winners, options)
        few, many = options.pick(*LOADS), options.pick(*LOADS_AGAIN)
        first = _by_address(rig, timer, dict.fromkeys(known), few, options.pick(*ROUNDS))
        fastest = sorted(first, key=first.__getitem__)[:FASTEST]
        wanted = dict.fromkeys([rig.variant, *winners, *fastest])
        return _by_address(rig, timer, wanted, many, options.pick(*ROUNDS_AGAIN))


def _walked(
    rig: Rig, timer: StreamTimer, winners: list[Variant], options: Options
) -> list[Variant]:
    """The fastest that walks from the winners and from the narrowest corner find."""
    space, hunt = possible(rig), Hunt(rig, timer, options)
    for start in dict.fromkeys([narrowest(rig, space), *winners]):
        if start in space:
            hunt.walk(space, start)
    return hunt.fastest(FASTEST)


def _by_address(
    rig: Rig, timer: StreamTimer, variants: Iterable[Variant], loads: int, n: int
) -> dict[Variant, float]:
    """The median of so many loads of each, which lie at different addresses, ``n`` times each."""
    wanted = list(variants)
    programs = {
        f"{v.key} {load}": rig.place(rig.builder.variant(rig.function, v, Role.STEADY), v.key)
        for load in range(loads)
        for v in wanted
    }
    rounds = timer.rounds(programs, n)
    for program in programs.values():
        program.close()
    return {v: median(t for at in range(loads) for t in rounds[f"{v.key} {at}"]) for v in wanted}
