# SPDX-License-Identifier: GPL-2.0-only
"""Measures everything: for small spaces, and as the reference for the other policies."""

from __future__ import annotations

from collections.abc import Iterator

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.search.policy import Policy, Round, SearchSettings
from iridescent_xdp.search.space import Space


class ExhaustivePolicy(Policy):
    """Every variant with the same budget, then a final of the best few with a larger one."""

    name = "exhaustive"

    def __init__(self, space: Space, settings: SearchSettings | None = None) -> None:
        super().__init__(space, settings)
        limit = self.settings.max_trials
        if limit is not None and limit < space.size:
            raise ConfigError(
                f"search: strategy 'exhaustive' needs {space.size} trials or more for this space, "
                f"got max_trials={limit}",
                cure="use 'racing', raise max_trials, or restrict points under [search.points]",
            )

    def rounds(self) -> Iterator[Round]:
        """The whole space, then a final."""
        yield Round(variants=self.space, samples=self.settings.first_samples)
        yield from self.final()
