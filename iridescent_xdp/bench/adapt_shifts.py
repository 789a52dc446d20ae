# SPDX-License-Identifier: GPL-2.0-only
"""`bench adapt`, changes of the workload: how soon they are seen, how soon a known workload has its
winner back, and how often a change is seen where there is none.

The player says when the traffic changed, to the nanosecond; the controller's events say when that
was noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from iridescent_xdp.bench.adapt_bed import Bed, Event, Played
from iridescent_xdp.bench.adapt_search import SUITE, Regrets, few, shortened
from iridescent_xdp.bench.results import Case, Options, Result, quantile_of
from iridescent_xdp.builder import Builder
from traffic.scenario import load_scenario

CHANGING = {  # phases are so long that a search is over before the next change, as time_scale
    "diurnal": 0.6,
    "vlan_appears": 0.6,
    "ipv6_migration": 0.6,
    "hot_set": 2.0,
    "flash_crowd": 0.6,
    "syn_flood": 0.6,
}
LEARN_S, TURN_S = 60.0, 2.0  # at most until a winner is remembered; to know the workload again


def shifts(builder: Builder, options: Options, regrets: Regrets) -> list[Result]:
    """Detection, recall (not in the short form: a winner is remembered late) and false alarms."""
    return [
        *_detection(builder, options, regrets),
        *([] if options.quick else _recall(builder, options, regrets)),
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
    searching: list[float] = []
    unseen = 0
    scales = {"vlan_appears": 0.15} if options.quick else CHANGING
    for name, scale in scales.items():
        scenario = shortened(load_scenario(name), options)
        if options.quick:
            scenario = replace(scenario, phases=scenario.phases[:3:2])
        with Bed(builder, scenario, seed=scenario.seed, points=few(options)) as bed:
            played = bed.adapt(time_scale=scale)
        note_all(played.events, regrets)
        case = Case(suite=SUITE, name=name)
        changes = _changes(played, name, options)
        found = [change.took_ms for change in changes]
        everything += found
        searching += [change.took_ms for change in changes if change.searching]
        unseen += sum(not change.seen for change in changes)
        results += _quantiles(case, found)
        results.append(case.count("seed", "first", scenario.seed, 1))
    case = Case(suite=SUITE, name="all changes")
    results += [
        *_quantiles(case, everything),
        case.count("unseen", "changes", unseen, len(everything)),
        case.count("during_search", "changes", len(searching), len(everything)),
    ]
    if searching:
        results.append(case.median("detect_searching_ms", "ms", searching))
    return results


def _quantiles(case: Case, found_ms: Sequence[float]) -> list[Result]:
    return [
        case.of("detect_ms_p50", quantile_of(found_ms, 0.5, "ms")),
        case.of("detect_ms_p99", quantile_of(found_ms, 0.99, "ms")),
    ]


@dataclass(frozen=True, kw_only=True)
class _Change:
    """One switch of phases: how long until it was noticed, or the whole phase; whether a search was
    on when it came."""

    took_ms: float
    seen: bool
    searching: bool


def _changes(played: Played, name: str, options: Options) -> list[_Change]:
    """All switches but the first. Searches go on meanwhile, as many as come."""
    found = []
    ends = [*(s.at_ns for s in played.switches), played.end_ns]
    for phase in range(1, len(played.switches)):
        switch = played.switches[phase]
        noticed = next((e for e in played.during(phase) if shows_change(e)), None)
        at_ns = noticed["at_ns"] if noticed is not None else ends[phase + 1]
        change = _Change(
            took_ms=(at_ns - switch.at_ns) / 1e6,
            seen=noticed is not None,
            searching=_searching(played, switch.at_ns),
        )
        found.append(change)
        before = "a search was on" if change.searching else "watching"
        how = noticed["reason"] if noticed is not None else "not noticed"
        options.tell(f"adapt: {name}: {switch.name} ({before}): {change.took_ms:.0f} ms: {how}")
    return found


def shows_change(event: Event) -> bool:
    """A shift, a variant given up for its misses or its time, or a search that ended because the
    traffic changed. Retreats for other reasons (a search begins, tables change) show nothing."""
    match event["event"]:
        case "shift":
            return True
        case "retreat":
            return "miss_share" in event or event["reason"].startswith("it takes")
        case "kept":
            return "traffic changed" in event["reason"]
    return False


def _searching(played: Played, at_ns: int) -> bool:
    told = [e for e in played.events if e["event"] in ("search_begins", "search_ends")]
    last = [e for e in told if e["at_ns"] <= at_ns]
    return bool(last) and last[-1]["event"] == "search_begins"


# -- recall --------------------------------------------------------------------------------


def _recall(builder: Builder, options: Options, regrets: Regrets) -> list[Result]:
    """From the event that shows the change to the one that says that the winner is live again.

    The workloads are the two phases of `alternating`; each is played until its winner is
    remembered, then both by turns.
    """
    scenario = shortened(load_scenario("alternating"), options)
    case = Case(suite=SUITE, name="alternating")
    one, two = scenario.phases[:2]
    turns = tuple(replace(phase, seconds=TURN_S) for phase in (one, two))
    with Bed(builder, scenario, seed=scenario.seed, points=few(options)) as bed:
        for phase in (one, two):
            learn = replace(scenario, phases=(replace(phase, seconds=LEARN_S),))
            note_all(bed.adapt(learn, until="remembered").events, regrets)
        again = replace(scenario, phases=turns * 11)
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
    scenario = shortened(load_scenario("steady"), options)
    case = Case(suite=SUITE, name=scenario.name)
    with Bed(builder, scenario, seed=scenario.seed, points=few(options)) as bed:
        played = bed.adapt(time_scale=options.pick(600, 1) / scenario.seconds)
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
