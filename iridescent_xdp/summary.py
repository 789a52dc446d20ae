# SPDX-License-Identifier: GPL-2.0-only
"""How a search ended: one row for each variant, the decision, the second observer."""

from __future__ import annotations

from dataclasses import dataclass, field

from iridescent_xdp.saturation import Saturation
from iridescent_xdp.statistics import Decision, Effect
from iridescent_xdp.variant import Variant


@dataclass(kw_only=True)
class Row:
    """What is known of one variant after the search."""

    variant: Variant
    label: str
    status: str
    reason: str = ""
    time_ns: float | None = None
    gain: Effect | None = None
    samples: int = 0
    miss_share: float = 0.0
    instructions: int = 0


@dataclass(kw_only=True)
class Summary:
    """How a search ended."""

    rows: list[Row] = field(default_factory=list)
    decision: Decision | None = None
    winner: Variant | None = None
    winner_label: str = "generic"
    saturation: Saturation | None = None
    seconds: float = 0.0
    trials: int = 0
    space_size: int = 0
    interrupted: bool = False
    moved: str = ""  # how the traffic changed while it was searched
