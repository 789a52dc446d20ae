# SPDX-License-Identifier: GPL-2.0-only
"""Objective ``time_per_packet``: the mean time inside the variant, interrupts left out."""

from __future__ import annotations

from iridescent_xdp.measure import ArmResult
from iridescent_xdp.objectives.base import SharedObjective
from iridescent_xdp.statistics import Effect, paired_difference, trimmed_mean


class TimePerPacket(SharedObjective):
    """In ns, with what the two clock reads cost; lower is better."""

    name = "time_per_packet"
    direction = "lower"
    unit = "ns"

    def value(self, measured: ArmResult) -> float:
        """The mean below the outlier limit."""
        return trimmed_mean(measured.windows)

    def gain(self, measured: ArmResult, over: ArmResult) -> Effect:
        """Paired by windows."""
        return paired_difference(over.windows, measured.windows)
