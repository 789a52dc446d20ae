# SPDX-License-Identifier: GPL-2.0-only
"""The order in which a policy's methods may be called, and values that validate themselves."""

from __future__ import annotations

from typing import Any

import pytest

from iridescent_xdp.errors import ConfigError, IridescentError, MeasurementError
from iridescent_xdp.search.policy import (
    Outcome,
    Policy,
    SearchSettings,
    Status,
    Trial,
    TurnError,
)
from tests.unit.landscape_model import SPACE_24, measured, refuse, run
from tests.unit.policies import EVERY, make

every_policy = pytest.mark.parametrize("name", EVERY)

# Legal states. Each word is a call; the last one decides.

STATES = {
    "ask tell ask": None,
    "tell": "was not asked",
    "tell-nothing": "nothing was asked",
    "ask ask": "no results yet",
    "ask tell tell": "was not asked",
    "ask tell tell-nothing": "nothing was asked",
    "ask tell-nothing": "results are missing",
    "ask tell-stranger": "was not asked",
    "ask tell-twice": "is told twice",
    "ask tell-half": "results are missing",
    "ask tell finish ask": None,
    "ask tell finish tell": "was not asked",
}


def _call(policy: Policy, word: str, batch: list[Trial]) -> list[Trial]:
    outcomes = refuse(batch)
    stranger = refuse([Trial(variant=SPACE_24.generic, budget=1)])
    if word == "ask":
        return policy.ask()
    if word == "finish":
        run(policy, refuse)
        return batch
    policy.tell(
        {
            "tell": outcomes or stranger,
            "tell-nothing": [],
            "tell-stranger": outcomes + stranger,
            "tell-twice": outcomes + outcomes[:1],
            "tell-half": outcomes[1:],
        }[word]
    )
    return batch


@every_policy
@pytest.mark.parametrize(("calls", "message"), STATES.items(), ids=STATES)
def test_turns(name: str, calls: str, message: str | None) -> None:
    policy, batch = make(name, SPACE_24), list[Trial]()
    *before, last = calls.split()
    for word in before:
        batch = _call(policy, word, batch)
    if message is None:
        _call(policy, last, batch)
        return
    known = list(policy.history)
    with pytest.raises(TurnError, match=message) as caught:
        _call(policy, last, batch)
    assert isinstance(caught.value, IridescentError)
    assert policy.history == known, "an illegal call changed something"
    if before == ["ask"]:
        policy.tell(refuse(batch))


# Values that validate themselves


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_arms": 0}, "max_arms >= 1 must hold, got 0"),
        ({"first_samples": 0}, "first_samples >= 1"),
        ({"finalists": 0}, "finalists >= 1"),
        ({"max_trials": 0}, "max_trials >= 1"),
        ({"first_samples": 10, "final_samples": 9}, "first_samples <= final_samples.*10 and 9"),
    ],
)
def test_settings_that_cannot_work(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchSettings(**wrong)


@pytest.mark.parametrize("status", [Status.MEASURED, Status.FAILED])
def test_an_outcome_has_an_effect_exactly_when_measured(status: Status) -> None:
    effect = None if status is Status.MEASURED else measured(SPACE_24.generic, 1.0).effect
    with pytest.raises(MeasurementError, match="exactly when it was measured"):
        Outcome(variant=SPACE_24.generic, status=status, effect=effect)
