# SPDX-License-Identifier: GPL-2.0-only
"""What is made better: one file per objective (docs/objectives.md)."""

from __future__ import annotations

from iridescent_xdp.config.objective import (
    CommandConfig,
    ObjectiveConfig,
    P99Config,
    PrometheusConfig,
    ThroughputConfig,
    VerdictCostConfig,
)
from iridescent_xdp.objectives.base import Objective, SharedObjective, Turn, TurnObjective
from iridescent_xdp.objectives.command import Command
from iridescent_xdp.objectives.p99 import P99
from iridescent_xdp.objectives.prometheus import Prometheus
from iridescent_xdp.objectives.throughput import Throughput
from iridescent_xdp.objectives.time_per_packet import TimePerPacket
from iridescent_xdp.objectives.verdict_cost import VerdictCost

__all__ = ["Objective", "SharedObjective", "Turn", "TurnObjective", "make_objective"]


def make_objective(config: ObjectiveConfig) -> SharedObjective | TurnObjective:
    """What the operator file asks for."""
    match config:
        case ThroughputConfig():
            return Throughput()
        case P99Config():
            return P99()
        case VerdictCostConfig():
            return VerdictCost(config)
        case CommandConfig():
            return Command(config)
        case PrometheusConfig():
            return Prometheus(config)
        case _:
            return TimePerPacket()
