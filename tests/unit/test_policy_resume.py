# SPDX-License-Identifier: GPL-2.0-only
"""A search that is killed goes on from its event log, and says when the log is not its own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iridescent_xdp.errors import IridescentError
from iridescent_xdp.events import EventLog
from iridescent_xdp.search.policy import Outcome, Policy, ResumeError, Status, Trial, TurnError
from iridescent_xdp.search.resume import (
    RESUMED,
    TOLD,
    outcomes_from,
    read_events,
    told_event,
    unfinished,
)
from iridescent_xdp.search.space import Space
from tests.unit.landscape_model import SPACE_24, SPACE_864, Landscape, measured, space_of
from tests.unit.policies import EVERY, make
from tests.unit.test_policy_contract import stopped

every_policy = pytest.mark.parametrize("name", EVERY)


class Machine:
    """Results that depend on the variant and on how many batches there were before, on no more.

    Some variants are refused, some batches fail, some arms are stopped.
    """

    def __init__(self, space: Space) -> None:
        self._landscape = Landscape.random(space, 5)

    def measure(self, batch: Sequence[Trial], number: int) -> list[Outcome]:
        return [self._outcome(trial, number) for trial in batch]

    def _outcome(self, trial: Trial, number: int) -> Outcome:
        code = int(trial.variant.key, 16)
        if code % 7 == 0:
            return Outcome(variant=trial.variant, status=Status.REFUSED, reason="by the verifier")
        if code % 7 == 1:
            return stopped(trial.variant)
        if (code + number) % 5 == 0:
            return Outcome(variant=trial.variant, status=Status.FAILED, reason="no traffic")
        rng = np.random.default_rng([code, number])
        gain = self._landscape.gain_ns(trial.variant) + float(rng.normal(0, 0.1))
        return measured(trial.variant, gain, 1 / 3, 11)


def _go_on(
    policy: Policy,
    machine: Machine,
    number: int = 0,
    told: Callable[[list[Trial], list[Outcome]], None] = lambda batch, outcomes: None,
) -> list[list[Trial]]:
    batches: list[list[Trial]] = []
    while batch := policy.ask():
        outcomes = machine.measure(batch, number + len(batches))
        batches.append(batch)
        policy.tell(outcomes)
        told(batch, outcomes)
        assert len(batches) < 2000
    return batches


def _killed_search(path: Path, name: str, space: Space, batches: int, **settings: Any) -> None:
    """In a process of its own: a search that dies by SIGKILL while it measures the next batch."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        return
    try:
        policy, machine, events = make(name, space, **settings), Machine(space), EventLog(path)
        events.tell("space", size=space.size, axes=dict(space.axes))
        for number in range(batches):
            batch = policy.ask()
            outcomes = machine.measure(batch, number)
            policy.tell(outcomes)
            events.tell(TOLD, **told_event(outcomes, budget=batch[0].budget))
        policy.ask()
        os.kill(os.getpid(), signal.SIGKILL)
    finally:
        os._exit(1)


@every_policy
@pytest.mark.parametrize("space", [SPACE_24, SPACE_864], ids=["24", "864"])
def test_goes_on_after_kill_9_as_if_nothing_had_been(
    name: str, space: Space, tmp_path: Path
) -> None:
    whole = make(name, space, seed=3)
    batches = _go_on(whole, Machine(space))
    kills = (
        {0, 1, len(batches) // 2, len(batches) - 1} if space is SPACE_24 else {len(batches) // 2}
    )
    for killed_after in sorted(kills):
        log = tmp_path / f"{killed_after}.jsonl"
        _killed_search(log, name, space, killed_after, seed=3)
        told = outcomes_from(read_events(log), space)
        assert len(told) == killed_after
        policy = make(name, space, seed=3)
        policy.resume(told)
        assert policy.trials_used == sum(map(len, batches[:killed_after]))
        assert _go_on(policy, Machine(space), killed_after) == batches[killed_after:]
        assert policy.ranking() == whole.ranking()
        assert policy.history == whole.history


def test_a_search_that_was_resumed_can_be_killed_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    whole = make("racing", SPACE_24, seed=3)
    batches = _go_on(whole, Machine(SPACE_24))
    for number in range(len(batches) + 1):  # every process gets one batch done
        policy = make("racing", SPACE_24, seed=3)
        killed = unfinished(read_events(path), "eth0") if path.exists() else []
        policy.resume(outcomes_from(killed, SPACE_24))
        with EventLog(path) as events:
            events.tell("space", interface="eth0", size=1, axes=dict(SPACE_24.axes))
            if policy.history:
                events.tell(RESUMED, interface="eth0", trials=policy.trials_used)
            batch = policy.ask()
            assert batch == (batches[number] if number < len(batches) else [])
            if batch:
                outcomes = Machine(SPACE_24).measure(batch, number)
                policy.tell(outcomes)
                events.tell(TOLD, interface="eth0", **told_event(outcomes))
    assert policy.ranking() == whole.ranking()


HISTORIES = {
    "": False,
    "space": False,
    "space told": True,
    "space told kept": False,
    "space told kept told": True,  # a swap while it searched was kept back
    "space told decision swap": False,
    "space told space": False,  # the one after it has told nothing yet
    "space told space resumed": True,
    "space told decision space told": True,
    "space told other:decision": True,
    "space other:told": False,
}


@pytest.mark.parametrize(("history", "is_open"), HISTORIES.items())
def test_a_search_is_unfinished_until_it_decides(history: str, is_open: bool) -> None:
    events = []
    for word in history.split():
        interface, _, kind = word.rpartition(":")
        events.append({"event": kind, "interface": interface or "eth0"})
    mine = [event for event in events if event["interface"] == "eth0"]
    assert unfinished(events, "eth0") == (mine if is_open else [])


def _log(path: Path, name: str = "racing", space: Space = SPACE_24, **settings: Any) -> list[str]:
    """The lines of a whole search's log."""
    with EventLog(path) as events:
        events.tell("space", size=space.size, axes=dict(space.axes))
        _go_on(
            make(name, space, **settings),
            Machine(space),
            told=lambda batch, outcomes: events.tell(
                TOLD, **told_event(outcomes, budget=batch[0].budget)
            ),
        )
        events.tell("decision", winner=None)
    return path.read_text().splitlines()


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = _log(path)[:4]
    for length in (*range(1, 40), *range(40, len(lines[3]), 31), len(lines[3]) - 1):
        path.write_text("\n".join([*lines[:3], lines[3][:length]]))
        assert len(outcomes_from(read_events(path), SPACE_24)) == 2
    path.write_text("\n".join(lines))
    assert len(outcomes_from(read_events(path), SPACE_24)) == 3, "only the newline is missing"


def test_the_next_run_writes_on_behind_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = _log(path)
    path.write_text("\n".join(lines[:3]) + "\n" + lines[3][:40])
    with EventLog(path) as events:
        events.tell("attached", mode="native")
        events.tell(TOLD, outcomes=json.loads(lines[3])["outcomes"])
    assert [event["event"] for event in read_events(path)] == [
        "space", TOLD, TOLD, "attached", TOLD
    ]  # fmt: skip


def test_a_line_that_is_damaged_in_the_middle_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = _log(path)
    path.write_text("\n".join([lines[0], "what is this", *lines[1:]]) + "\n")
    with pytest.raises(
        ResumeError, match=r"log\.jsonl: line 2 is no event \(start the search anew"
    ):
        list(read_events(path))
    with pytest.raises(ResumeError, match=r"cannot read .*no\.jsonl: No such file"):
        list(read_events(tmp_path / "no.jsonl"))


def test_only_the_last_search_of_a_log_counts(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    first = len(_log(path, space=SPACE_864, seed=1))
    second = len(_log(path, space=SPACE_24, seed=2)) - first
    assert len(outcomes_from(read_events(path), SPACE_24)) == second - 2
    with pytest.raises(ResumeError, match=r"another space: point 'p1' took \[0, 1\], now"):
        outcomes_from(read_events(path), space_of(3, 3, 2, 2))


OTHERS = {
    "another space": ({}, space_of(3, 2, 2, 3), "not in this search's space"),
    "another seed": ({"seed": 9}, SPACE_864, "batch 1 of the log is .* asks for"),
    "fewer arms": ({"max_arms": 3}, SPACE_864, "batch 1 of the log is"),
    "fewer trials": ({"max_trials": 30}, SPACE_864, r"batch \d of the log is"),
}


@pytest.mark.parametrize(("settings", "space", "message"), OTHERS.values(), ids=OTHERS)
def test_a_log_that_does_not_fit_is_told(
    settings: dict[str, Any], space: Space, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    _log(path, space=SPACE_864, seed=1)
    events = [event for event in read_events(path) if event["event"] != "space"]
    with pytest.raises(ResumeError, match=message) as caught:
        make("racing", space, **{"seed": 1, **settings}).resume(outcomes_from(events, space))
    assert isinstance(caught.value, IridescentError) and caught.value.cure


def test_a_search_that_was_over_stays_over(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    _log(path, seed=1)
    policy = make("racing", SPACE_24, seed=1)
    policy.resume(outcomes_from(read_events(path), SPACE_24))
    assert policy.ask() == [] and policy.ranking()


def test_a_policy_that_has_begun_cannot_resume(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    _log(path, seed=1)
    policy = make("racing", SPACE_24, seed=1)
    policy.ask()
    with pytest.raises(TurnError, match="no results yet"):
        policy.resume(outcomes_from(read_events(path), SPACE_24))


def _damaged(**changes: Any) -> dict[str, Any]:
    event = told_event([measured(SPACE_24.generic, 1.0, 0.5)])
    outcome = {**event["outcomes"][0], **changes}
    return {"event": TOLD, "outcomes": [{k: v for k, v in outcome.items() if v != "gone"}]}


DAMAGED = [
    {"event": TOLD},
    {"event": TOLD, "outcomes": [3]},
    _damaged(status="good"),
    _damaged(status="gone"),
    _damaged(effect="gone"),
    _damaged(effect={"value": "1", "low": "2", "high": "3", "n": 1, "unit": "ns"}),
    _damaged(effect={"value": "one", "low": "2", "high": "3", "n": 1, "unit": "ns"}),
    _damaged(variant={"p0": "x"}),
    _damaged(variant=[]),
]


@pytest.mark.parametrize("event", DAMAGED)
def test_a_damaged_event_is_told_with_its_batch(event: dict[str, Any]) -> None:
    good = {"event": TOLD, **told_event([measured(SPACE_24.generic, 1.0)])}
    with pytest.raises(ResumeError, match=r"^batch 2 of the log is damaged"):
        outcomes_from([good, event], SPACE_24)


def test_effects_survive_the_log_to_the_last_digit(tmp_path: Path) -> None:
    outcomes = [measured(SPACE_24.generic, 1 / 3, 1e-7), stopped(SPACE_24.generic)]
    with EventLog(tmp_path / "log.jsonl") as events:
        events.tell(TOLD, **told_event(outcomes, budget=20_000))
    assert outcomes_from(read_events(tmp_path / "log.jsonl"), SPACE_24) == [outcomes]
