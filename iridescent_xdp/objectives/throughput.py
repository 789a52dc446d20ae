# SPDX-License-Identifier: GPL-2.0-only
"""Objective ``throughput``: packets per second that a variant takes from a full queue.

Whoever sends decides how many packets come. Below saturation every variant takes all of them, the
turns do not differ, and the generic variant stays.
"""

from __future__ import annotations

import time

from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.objectives.base import Turn, TurnObjective, Values

TURNS = 12
TURN_S = 0.03


class Throughput(TurnObjective):
    """From the variant's own packet counter; higher is better."""

    name = "throughput"
    direction = "higher"
    unit = "packets/s"
    counting = True
    repetitions = TURNS
    settle_s = TURN_S / 5  # what was under way when the turn began

    def measure(self, turn: Turn) -> float:
        """Packets per second of TURN_S seconds."""
        packets, began = turn.packets(), time.perf_counter()
        time.sleep(TURN_S)
        return (turn.packets() - packets) / (time.perf_counter() - began)

    def value(self, measured: Values) -> float:
        """The median over turns. Raises MeasurementError when no packet came in most of them."""
        pps = super().value(measured)
        if not pps:
            raise MeasurementError(
                f"no packet came in {int((measured == 0).sum())} of {len(measured)} turns",
                cure="more traffic",
            )
        return pps
