# SPDX-License-Identifier: GPL-2.0-only
"""What a report says of a log: searches, variants, costs, shifts, changes, problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from iridescent_xdp.report import words
from iridescent_xdp.report.collect import collect
from iridescent_xdp.report.log import read_log
from iridescent_xdp.report.model import Run
from tests.unit.report_events import CHAIN, TREE, arm, gain, scenario, search, write_log
from tests.unit.search_events import SEARCH, event

Events = Iterable[Mapping[str, Any]]


@pytest.fixture(name="run_of")
def _run_of(tmp_path: Path) -> Any:
    def run_of(events: Events) -> Run:
        (run,) = collect(read_log(write_log(tmp_path / "events.jsonl", events))).runs
        return run

    return run_of


def test_a_scenario_is_told_whole(run_of: Any) -> None:
    run = run_of(scenario())
    assert (run.function, run.mode, run.live, run.swaps) == ("filter", "native", TREE, 4)
    assert [(s.outcome, s.winner, s.why_begun) for s in run.searches] == [
        ("swapped", TREE, "the first traffic"),
        ("swapped", CHAIN, "the traffic shifted"),
    ]
    assert [(p.name, p.live, p.looks) for p in run.phases] == [
        ("night", TREE, 79),
        ("day", CHAIN, 78),
        ("night again", TREE, 98),
    ]
    assert not run.problems and not run.others


def test_variants_have_the_gain_that_was_decided_by(run_of: Any) -> None:
    rows = {row.label: row for row in run_of(scenario()).searches[0].variants}
    assert list(rows) == [TREE, CHAIN, "rule_layout=wide", "rule_layout=hash"]
    statuses = ["winner", "finalist", "measured", "refused"]
    assert [row.status for row in rows.values()] == statuses
    best = rows[TREE]
    assert best.gain is not None
    assert (best.gain.low, best.gain_ns, best.gain.high, best.gain_pct) == (49, 50, 51, 50)
    assert (best.packets, best.samples, best.trials) == (50_000, 6_250, 2)
    assert (best.key, best.instructions, best.build_ms) == ("aaaaaaaa", 700, 31.0)
    wide = rows["rule_layout=wide"]
    assert (wide.gain, wide.gain_ns, wide.instructions) == (None, -20.0, None)
    assert rows["rule_layout=hash"].reason.startswith("packet 'x' differs")


def test_an_interval_that_a_trial_told_is_kept(run_of: Any) -> None:
    arms = [arm("generic", 100.0), arm(TREE, 60.0, gain=gain(41.0, 2.0), miss_share=0.25)]
    (row,) = run_of([event(1.0, "trial", arms=arms)]).searches[0].variants
    assert row.gain is not None and (row.gain.low, row.gain_ns, row.gain.high) == (39, 41, 43)
    assert row.miss_share == 0.25


def test_cost_is_weighted_by_packets(run_of: Any) -> None:
    """By hand: 10,000 packets lost 1 ns twice, 5,000 lost 20 ns; 145,000 take generic 100 ns."""
    cost = run_of(search(1.0, tree=50.0, chain=75.0, reason="")).cost
    assert cost.packets == 145_000
    assert cost.lost_pct == pytest.approx(100 * (2 * 10_000 + 5_000 * 20) / 14_500_000)
    saved = 50_000 * 50 + 50_000 * 25
    assert cost.net_pct == pytest.approx(100 * (120_000 - saved) / 14_500_000)
    assert (cost.told_pct, cost.explored_share) == (None, None)


def test_the_controllers_own_account_is_kept_beside(run_of: Any) -> None:
    cost = run_of(scenario()).cost
    assert (cost.told_pct, cost.explored_share) == (0.42, 0.0035)
    cost = run_of(e for e in scenario() if e["event"] != "regret").cost
    assert (cost.told_pct, cost.explored_share) == (None, 0.004)  # of the last reading


def test_a_trial_without_generic_costs_nothing_that_is_known(run_of: Any) -> None:
    run = run_of([event(1.0, "trial", arms=[arm(TREE, 60.0)])])
    assert (run.cost.packets, run.cost.lost_pct, run.cost.net_pct) == (10_000, None, None)
    assert run.searches[0].variants[0].gain_ns is None


def test_shifts_tell_what_moved_and_what_was_recalled(run_of: Any) -> None:
    first, second = run_of(scenario()).shifts
    assert (first.phase, second.phase) == ("day", "night again")
    assert (first.after_phase_ms, second.after_phase_ms) == (
        pytest.approx(150.0),
        pytest.approx(120.0),
    )
    assert first.changed == {"tcp": (0.1, 0.8), "udp": (0.9, 0.2)}
    # that event holds no shares: they come from the readings around it
    assert second.changed["protocol.udp"] == (0.2, 0.9)
    assert (first.recalled, second.recalled, second.distance) == ("", TREE, 0.02)
    assert second.recall_ms == pytest.approx(80.0)


def test_changes_of_tables_are_told_with_their_numbers(run_of: Any) -> None:
    rows = run_of(scenario()).changes
    assert [row.what for row in rows] == [
        f"back to generic from {CHAIN}",
        "3 changes",
        f"specialized again: {CHAIN}",
    ]
    assert "210.0 µs" in rows[0].detail and "its tables change" in rows[0].detail
    assert "72 ms after the last change" in rows[2].detail


def test_marks_are_numbered_in_their_order(run_of: Any) -> None:
    marks = run_of(scenario()).marks
    assert [mark.number for mark in marks] == list(range(1, len(marks) + 1))
    swaps = [mark.at_s for mark in marks if mark.kind == "swap"]
    assert swaps == [2.9, 12.1, 15.09, 20.2]


def test_a_swap_after_a_recall_is_no_search(run_of: Any) -> None:
    run = run_of(scenario())
    assert [round(s.end_s, 1) for s in run.searches] == [3.0, 12.2]


def test_searches_without_marks_are_told_apart_by_what_they_begin_with(run_of: Any) -> None:
    once = [e for e in SEARCH if e["event"] != "attached"]
    later = [{**e, "elapsed_s": e["elapsed_s"] + 10} for e in once]
    run = run_of([*once, *later])
    assert [(s.outcome, len(s.trials), s.winner) for s in run.searches] == [
        ("swapped", 2, TREE)
    ] * 2


def test_an_interrupted_search_is_said(run_of: Any) -> None:
    run = run_of(e for e in SEARCH if e["elapsed_s"] < 3.0)
    assert run.searches[0].outcome == "unfinished"
    assert run.problems == ("search 1 was not finished: before anything was decided",)
    assert "No decision" in words.headline(run.searches[0])
    stopped = run_of([*SEARCH[:-2], event(3.6, "kept", reason="interrupted")])
    assert words.headline(stopped.searches[0]) == "The generic program stays: interrupted."


def test_advice_is_no_swap(run_of: Any) -> None:
    told = run_of([*SEARCH[:-1], event(4.0, "advice", variant=TREE, reason="it saves 51 ns")])
    assert told.searches[0].outcome == "advice" and not told.swaps
    assert "would replace the generic program" in words.headline(told.searches[0])


def test_a_decision_for_generic_is_told_with_its_reason(run_of: Any) -> None:
    reason = "generic stays: the best candidate, x, saves 1 ns, not surely enough"
    decision = event(3.6, "decision", winner="generic", gains={TREE: gain(1.0)}, reason=reason)
    (found,) = run_of([*SEARCH[:-2], decision]).searches
    assert (found.outcome, found.winner, found.best) == ("kept", "generic", None)
    assert words.headline(found).startswith("The generic program stays: the best candidate, x,")


def test_a_headline_has_interval_noise_and_what_was_needed(run_of: Any) -> None:
    assert words.headline(run_of(scenario()).searches[0]) == (
        "rule_layout=tree replaced the generic program: it saves 50.0 ns per packet (99 % interval "
        "49.0 to 51.0, 40 windows) of 100.0 ns; a gain had to exceed 3.5 ns, and generic differed "
        "from itself by 3.0 ns (noise floor)."
    )


def test_troubles_are_problems(run_of: Any) -> None:
    told = [
        event(1.0, "trial_failed", reason="no traffic"),
        event(2.0, "drift", variant=TREE, verdict_share=0.2),
        event(3.0, "second_observer", variant=TREE, agrees=False),
    ]
    assert run_of([SEARCH[0], *told]).problems == (
        "at 1.00 s: a trial failed: no traffic",
        f"at 2.00 s: an arm decided otherwise than generic on the same traffic: {TREE}",
        f"at 3.00 s: the kernel's statistics do not see {TREE} ahead",
    )


@pytest.mark.parametrize(
    ("kind", "numbers", "place"),
    [
        ("trial", {}, "arms"),
        ("trial", {"arms": []}, "arms"),
        ("trial", {"arms": [{"variant": "generic", "packets": 5}]}, "arms.0.time_ns"),
        ("trial", {"arms": [arm("generic", float("nan"))]}, "arms.0.time_ns"),
        ("reading", {"pps": -1.0}, "pps"),
        ("swap", {"variant": None}, "variant"),
        ("decision", {"winner": "x", "reason": "", "gains": {"x": {"value": 1}}}, "gains.x.low"),
    ],
)
def test_an_event_that_breaks_its_form_is_left_out_and_named(
    run_of: Any, kind: str, numbers: dict[str, Any], place: str
) -> None:
    run = run_of([SEARCH[0], event(1.0, kind, **numbers)])
    (problem,) = run.problems
    assert problem.startswith(f"line 2: event '{kind}' is left out, {place}: ")
    assert "\n" not in problem


def test_kinds_that_nobody_reads_are_counted(run_of: Any) -> None:
    assert run_of([SEARCH[0], event(1.0, "sung"), event(2.0, "sung")]).others == {"sung": 2}
