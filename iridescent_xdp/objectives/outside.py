# SPDX-License-Identifier: GPL-2.0-only
"""What objectives that are measured outside the program have in common."""

from __future__ import annotations

import math
import re

from iridescent_xdp.config.objective import OutsideConfig
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.objectives.base import TurnObjective

SHOWN = 80  # characters of an answer that is no number
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class OutsideObjective(TurnObjective):
    """Direction, unit and times are the operator's."""

    def __init__(self, config: OutsideConfig) -> None:
        self.direction = config.direction
        self.unit = config.unit
        self.settle_s = config.settle_s
        self.repetitions = config.repetitions
        self.timeout_s = config.timeout_s


def number_of(text: str, who: str) -> float:
    """The one number in ``text``. Raises MeasurementError that says what ``who`` answered."""
    word = text.strip()
    value = float(word) if _NUMBER.fullmatch(word) else math.nan
    if math.isfinite(value):
        return value
    shown = word if len(word) <= SHOWN else f"{word[:SHOWN]}…"
    raise MeasurementError(f"{who} must give one finite number, got {shown!r}")
