# SPDX-License-Identifier: GPL-2.0-only
"""Measures everything: for small spaces, and as the reference for the other policies."""

from __future__ import annotations

from collections.abc import Iterator

from iridescent_xdp.search.policy import Policy, Round


class ExhaustivePolicy(Policy):
    """Every variant with the same budget, then a final of the best few with a larger one."""

    name = "exhaustive"

    def _rounds(self) -> Iterator[Round]:
        yield Round(variants=self.space, samples=self.settings.first_samples)
        yield from self._final()
