# SPDX-License-Identifier: GPL-2.0-only
"""`bench adapt`, a space beyond enumeration: forty trials, live, against the best that is known.

The filter's whole space on plain UDP over IPv4, where no narrowing is hopeless, and six protocols
to choose from: 13,824 variants. The best known is the fastest, by the stream's clock, of all
winners and of what long walks find that begin at each of them and at the narrowest corner.
"""

from __future__ import annotations

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
LOADS = (3, 1)  # in the short form
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
    times = _times(builder, stream, [*winners, *measured], options)
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
    builder: Builder, stream: Stream, known: list[Variant], options: Options
) -> dict[Variant, float]:
    """ns per packet of the ``known`` variants, of generic, and of the best one that walks find."""
    rules, copies = _tables(options), range(options.pick(*LOADS))
    drop = {"default_action": filter_plan(SearchConfig(), rules).generic["default_action"]}
    with (
        Rig(builder, rules, policy=drop) as rig,
        on_cpu(cpus()[1]),
        StreamTimer(builder, stream) as timer,
    ):
        rig.learn(timer)
        space = possible(rig)
        hunt = Hunt(rig, timer, options)
        for start in dict.fromkeys([narrowest(rig, space), *known]):
            if start in space and not options.quick:
                hunt.walk(space, start)
        found = [] if options.quick else [hunt.best()]
        wanted = dict.fromkeys([rig.variant, *known, *found])
        programs = {
            f"{v.key} {load}": rig.place(builder.variant(rig.function, v, Role.STEADY), v.key)
            for v in wanted
            for load in copies
        }
        rounds = timer.rounds(programs, options.pick(15, 2))
        for program in programs.values():
            program.close()
    return {v: median(median(rounds[f"{v.key} {n}"]) for n in copies) for v in wanted}
