# SPDX-License-Identifier: GPL-2.0-only
"""`bench adapt`, changes of the workload: how soon they are seen, how soon a known workload has its
winner back, and how often a change is seen where there is none.

The player says when the traffic changed, to the nanosecond; the controller's events say when that
was noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from iridescent_xdp.bench.adapt_bed import Bed, Event, Played
from iridescent_xdp.bench.adapt_search import SUITE, Regrets, few
from iridescent_xdp.bench.results import Case, Options, Result, quantile_of
from iridescent_xdp.builder import Builder
from iridescent_xdp.config import AdaptConfig
from traffic.scenario import Phase, Scenario, load_scenario

CHANGING = (
    *("diurnal", "vlan_appears", "ipv6_migration", "hot_set", "flash_crowd", "syn_flood"),
    "five_phases",
)
PHASE_S = 3.0  # of a change; the detector knows a workload after a second
LEARN_S, TURN_S = 60.0, 2.0  # at most until a winner is there; a workload that returns
TOO_SMALL = {("ipv6_migration", "first users")}  # 2 % of the packets; 3 % are worth noticing


def shifts(builder: Builder, options: Options, regrets: Regrets) -> list[Result]:
    """Detection, recall and false alarms."""
    return [
        *_detection(builder, options, regrets),
        *_recall(builder, options, regrets),
        *_steady(builder, options, regrets),
    ]


def note_all(events: Sequence[Event], regrets: Regrets) -> None:
    """Take what searches have cost."""
    for event in events:
        regrets(dict(event))


# -- detection -----------------------------------------------------------------------------


def _detection(builder: Builder, options: Options, regrets: Regrets) -> list[Result]:
    results: list[Result] = []
    everything: list[float] = []
    unseen = too_small = 0
    for name in ("vlan_appears",) if options.quick else CHANGING:
        scenario = load_scenario(name)
        phases = scenario.phases[:3:2] if options.quick else scenario.phases
        played = _once_searched(builder, replace(scenario, phases=phases), options, regrets)
        case = Case(suite=SUITE, name=name)
        found, missed, small = _latencies_ms(played, name, options)
        everything += found
        unseen += missed
        too_small += small
        results += _quantiles(case, found)
        results.append(case.count("seed", "first", scenario.seed, 1))
    case = Case(suite=SUITE, name="all changes")
    return [
        *results,
        *_quantiles(case, everything),
        case.count("unseen", "changes", unseen, len(everything)),
        case.count("too_small", "changes", too_small, len(everything) + too_small),
    ]


def _once_searched(
    builder: Builder, scenario: Scenario, options: Options, regrets: Regrets
) -> Played:
    """Its first phase until a search is over; then all phases, each PHASE_S long. An operator
    allows one search, so that no change comes during another one."""
    adapt = AdaptConfig(max_searches_per_hour=1)
    seconds = PHASE_S / options.pick(1, 2)
    first = replace(scenario.phases[0], seconds=LEARN_S, changes=())
    phases = tuple(_lasting(phase, seconds) for phase in scenario.phases)
    with Bed(
        builder, scenario, seed=scenario.seed, points=few(options, scenario), adapt=adapt
    ) as bed:
        learnt = bed.adapt(replace(scenario, phases=(first,)), until="search_ends")
        note_all(learnt.events, regrets)
        return bed.adapt(replace(scenario, phases=phases))


def _lasting(phase: Phase, seconds: float) -> Phase:
    """With its changes of tables as early as they were."""
    scale = seconds / phase.seconds
    changes = tuple(replace(change, at_s=change.at_s * scale) for change in phase.changes)
    return replace(phase, seconds=seconds, changes=changes)


def _quantiles(case: Case, found_ms: Sequence[float]) -> list[Result]:
    return [
        case.of("detect_ms_p50", quantile_of(found_ms, 0.5, "ms")),
        case.of("detect_ms_p99", quantile_of(found_ms, 0.99, "ms")),
    ]


def _latencies_ms(played: Played, name: str, options: Options) -> tuple[list[float], int, int]:
    """From each switch but the first. What was not noticed counts as the whole phase, and how
    often that was; how many changes were too small, which are not among them."""
    found: list[float] = []
    unseen = too_small = 0
    ends = [*(s.at_ns for s in played.switches), played.end_ns]
    for phase in range(1, len(played.switches)):
        switch = played.switches[phase]
        noticed = next((e for e in played.during(phase) if shows_change(e)), None)
        at_ns = noticed["at_ns"] if noticed is not None else ends[phase + 1]
        took_ms = (at_ns - switch.at_ns) / 1e6
        how = noticed["reason"] if noticed is not None else "not noticed"
        options.tell(f"adapt: {name}: {switch.name}: {took_ms:.0f} ms: {how}")
        if (name, switch.name) in TOO_SMALL:
            too_small += 1
            continue
        found.append(took_ms)
        unseen += noticed is None
    return found, unseen, too_small


def shows_change(event: Event) -> bool:
    """A shift, a variant given up for its misses or its time, or a search that ended because the
    traffic changed."""
    match event["event"]:
        case "shift":
            return True
        case "retreat":
            return "miss_share" in event or event["reason"].startswith("it takes")
        case "kept":
            return "traffic changed" in event["reason"]
    return False


# -- recall --------------------------------------------------------------------------------


def _recall(builder: Builder, options: Options, regrets: Regrets) -> list[Result]:
    """From the event that shows the change to the one that says that the winner is live again.

    The workloads are the first two phases of five_phases; each is played until its winner is
    remembered, then both by turns.
    """
    scenario = load_scenario("five_phases")
    case = Case(suite=SUITE, name="alternating")
    one, two = scenario.phases[:2]
    turns = tuple(replace(phase, seconds=TURN_S / options.pick(1, 2)) for phase in (one, two))
    with Bed(builder, scenario, seed=scenario.seed, points=few(options, scenario)) as bed:
        for phase in (one, two):
            learn = replace(scenario, phases=(replace(phase, seconds=LEARN_S),))
            note_all(bed.adapt(learn, until="remembered").events, regrets)
        again = replace(scenario, phases=turns * options.pick(11, 1))
        played = bed.adapt(again)
    note_all(played.events, regrets)
    recall: list[float] = []
    detect: list[float] = []
    made: list[float] = []
    for turn in range(len(played.switches)):
        during = played.during(turn)
        seen = next((e for e in during if shows_change(e)), None)
        live = next((e for e in during if e["event"] == "recalled"), None)
        if seen is None or live is None:
            told = [e["event"] for e in during if e["event"] not in ("phase", "reading")]
            options.tell(f"adapt: {case.name}: turn {turn}: not recalled; {', '.join(told)}")
            continue
        detect.append((seen["at_ns"] - played.switches[turn].at_ns) / 1e6)
        recall.append((live["at_ns"] - seen["at_ns"]) / 1e6)
        made.append(live["took_ms"])
        options.tell(
            f"adapt: {case.name}: turn {turn}: {seen['event']} after {detect[-1]:.0f} ms, "
            f"{live['variant']} {recall[-1]:.0f} ms later"
        )
    results = [
        case.count("recalled", "turns", len(recall), len(played.switches)),
        case.count("seed", "first", scenario.seed, 1),
    ]
    if recall:
        results += [
            case.median("recall_ms", "ms", recall),
            case.count("recall_max_ms", "ms", max(recall), len(recall)),
            case.median("recall_swap_ms", "ms", made),
            case.median("recall_detect_ms", "ms", detect),
        ]
    return results


# -- false alarms --------------------------------------------------------------------------


def _steady(builder: Builder, options: Options, regrets: Regrets) -> list[Result]:
    """Shifts, and variants given up, while the traffic stays the same."""
    scenario = load_scenario("steady")
    case = Case(suite=SUITE, name=scenario.name)
    with Bed(builder, scenario, seed=scenario.seed, points=few(options, scenario)) as bed:
        played = bed.adapt(time_scale=options.pick(600, 2) / scenario.seconds)
    note_all(played.events, regrets)
    alarms = [e for e in played.events if shows_change(e)]
    for alarm in alarms:
        options.tell(f"adapt: steady: false alarm: {alarm['reason']}")
    seconds = (played.end_ns - played.switches[0].at_ns) / 1e9
    searches = sum(e["event"] == "search_begins" for e in played.events)
    return [
        case.count("false_alarms", "shifts", len(alarms), 1),
        case.count("seconds", "s", seconds, 1),
        case.count("looks", "", played.looks, 1),
        case.count("searches", "", searches, 1),
        case.count("seed", "first", scenario.seed, 1),
    ]
