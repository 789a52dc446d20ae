# SPDX-License-Identifier: GPL-2.0-only
"""Which policy a search asks, with what settings, and from where it goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from iridescent_xdp.candidates import most_specialized
from iridescent_xdp.config import SearchConfig
from iridescent_xdp.events import EventLog
from iridescent_xdp.plan import Plan
from iridescent_xdp.search.policy import Policy, ResumeError
from iridescent_xdp.search.prediction import Prediction
from iridescent_xdp.search.registry import policy_class
from iridescent_xdp.search.resume import outcomes_from
from iridescent_xdp.search.settings import SearchSettings
from iridescent_xdp.search.space import Space
from iridescent_xdp.variant import Variant

DEFAULT_ARMS = 7
QUICK_TRIALS = 28


def search_settings(
    config: SearchConfig, first_tries: Sequence[Variant], *, quick: bool
) -> SearchSettings:
    """The operator's; a ``quick`` search makes few trials, unless the operator says how many."""
    return SearchSettings(
        max_arms=config.max_arms or DEFAULT_ARMS,
        seed=config.seed,
        max_trials=config.max_trials or (QUICK_TRIALS if quick else None),
        study=config.study or "",
        seeds=first_tries,
    )


def first_tries(
    plan: Plan, space: Space, predicted: Sequence[Prediction], seeds: Sequence[Variant]
) -> list[Variant]:
    """What was live or is remembered (``seeds``), and the most specialized, if in the space."""
    wanted = [*seeds, *most_specialized(plan, space, predicted)]
    return [v for v in dict.fromkeys(wanted) if v in space and v != plan.generic]


def asked_policy(
    strategy: str,
    space: Space,
    settings: SearchSettings,
    killed: Iterable[Mapping[str, Any]],
    log: EventLog,
) -> Policy:
    """The policy called ``strategy``, which goes on after what a search that was killed has told
    in its events, if it was this search."""
    made = policy_class(strategy, Path())
    policy = made(space, settings)
    try:
        policy.resume(outcomes_from(killed, space))
    except ResumeError as error:
        log.tell("not_resumed", reason=str(error))
        policy = made(space, settings)
    if policy.history:
        log.tell("resumed", trials=policy.trials_used)
    return policy
