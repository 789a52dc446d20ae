# SPDX-License-Identifier: GPL-2.0-only
"""How much a search may spend, and what it knows beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.variant import Variant


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How much a search may spend. Budgets are timed samples per arm.

    ``max_arms`` are measured together, besides the generic variant; ``max_trials`` bounds the sum
    over all batches (None: the policy's own bound). ``seeds`` are variants worth a try at once,
    such as the most specialized ones.

    ``worse_ratio``: an arm that surely takes more than this many times as long as generic is
    stopped inside its batch (``search.early``). ``explore`` and ``discount`` are the bandit's: the
    share of its arms that go to new or long unmeasured variants, and what a result still weighs
    one batch later. ``study`` is Optuna's storage: a connection string, "memory", or "" for a file
    in the cache directory. Raises ConfigError for a setting that cannot work.
    """

    max_arms: int = 7
    seed: int = 0
    first_samples: int = 20_000
    final_samples: int = 80_000
    finalists: int = 5
    max_trials: int | None = None
    seeds: Sequence[Variant] = ()
    worse_ratio: float = 1.5
    explore: float = 0.25
    discount: float = 0.8
    study: str = ""

    def __post_init__(self) -> None:
        for name in ("max_arms", "first_samples", "finalists", "max_trials"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"search: {name} >= 1 must hold, got {value}")
        if self.final_samples < self.first_samples:
            raise ConfigError(
                "search: first_samples <= final_samples must hold, "
                f"got {self.first_samples} and {self.final_samples}"
            )
        if not self.worse_ratio > 1:
            raise ConfigError(f"search: worse_ratio > 1 must hold, got {self.worse_ratio}")
        if not 0 < self.explore <= 1:
            raise ConfigError(f"search: 0 < explore <= 1 must hold, got {self.explore}")
        if not 0 < self.discount < 1:
            raise ConfigError(f"search: 0 < discount < 1 must hold, got {self.discount}")
