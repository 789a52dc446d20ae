# SPDX-License-Identifier: GPL-2.0-only
"""Which variants to measure next: the space, and the policies that search it."""

from __future__ import annotations

from collections.abc import Mapping

from iridescent_xdp.search.bandit import BanditPolicy
from iridescent_xdp.search.exhaustive import ExhaustivePolicy
from iridescent_xdp.search.optuna_search import OptunaPolicy
from iridescent_xdp.search.policy import Policy
from iridescent_xdp.search.racing import RacingPolicy
from iridescent_xdp.search.screening import ScreeningPolicy

POLICIES: Mapping[str, type[Policy]] = {
    "bandit": BanditPolicy,
    "exhaustive": ExhaustivePolicy,
    "optuna": OptunaPolicy,
    "racing": RacingPolicy,
    "screening": ScreeningPolicy,
}
