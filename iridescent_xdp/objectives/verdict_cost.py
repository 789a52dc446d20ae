# SPDX-License-Identifier: GPL-2.0-only
"""Objective ``verdict_cost``: time per packet, where packets of some verdicts count more.

``cost = sum over verdicts of weight * (share of the packets) * (mean time of its packets)``. The
mean times are those of the timed packets with that verdict, taken in the variant; a packet of
4,096 ns or more was interrupted and is in no verdict's mean. Weights are not normalized: with all
of them 1 the cost is the time per packet.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.config.objective import VERDICTS, VerdictCostConfig
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.measure import ArmResult
from iridescent_xdp.objectives.base import SharedObjective
from iridescent_xdp.statistics import Effect, t_interval


class VerdictCost(SharedObjective):
    """In weighted ns, with what the two clock reads cost; lower is better."""

    name = "verdict_cost"
    direction = "lower"
    unit = "weighted ns"

    def __init__(self, config: VerdictCostConfig) -> None:
        self._weights = np.array([config.weights.get(name, 1.0) for name in VERDICTS])

    def value(self, measured: ArmResult) -> float:
        """Of all windows together."""
        cost, samples = self._costs(measured.verdict_ns, measured.verdict_samples)
        return float(cost @ (samples / samples.sum()))

    def gain(self, measured: ArmResult, over: ArmResult) -> Effect:
        """Paired by windows, weighted as their samples let it."""
        if measured.verdict_ns.shape != over.verdict_ns.shape:
            raise MeasurementError("two arms share their windows", cure="measure both in one trial")
        (cost_a, n_a), (cost_b, n_b) = (
            self._costs(arm.verdict_ns, arm.verdict_samples, keep=True) for arm in (over, measured)
        )
        both = (n_a > 0) & (n_b > 0)
        if both.sum() < 2:
            raise MeasurementError(
                f"2 windows with samples of both arms are needed, got {both.sum()}",
                cure="measure longer or more traffic",
            )
        weight = (n_a * n_b)[both] / (n_a + n_b)[both]
        return t_interval((cost_a - cost_b)[both], weight / weight.sum(), self.unit)

    def _costs(
        self, verdict_ns: NDArray[np.int64], samples: NDArray[np.int64], *, keep: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Cost per packet and number of samples of each window; without ``keep`` of those with
        samples."""
        known = len(VERDICTS)
        total = samples.sum(axis=1).astype(np.float64)
        if not total.any():
            raise MeasurementError("a cost of no samples", cure="measure longer or more traffic")
        with np.errstate(invalid="ignore"):
            cost = verdict_ns[:, :known] @ self._weights / total
        return (cost, total) if keep else (cost[total > 0], total[total > 0])
