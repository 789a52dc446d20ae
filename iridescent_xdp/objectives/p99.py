# SPDX-License-Identifier: GPL-2.0-only
"""Objective ``p99``: the time that 99 of 100 packets do not exceed.

A quantile is no mean, so windows cannot be averaged: whole windows are drawn again, with
replacement, the same ones of both arms (the bootstrap of Efron, by blocks), and each time the
quantiles of all their samples are compared. Few windows make such an interval too narrow; it is
widened as Student's t widens a normal one.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.measure import ArmResult
from iridescent_xdp.objectives.base import SharedObjective
from iridescent_xdp.statistics import (
    CONFIDENCE,
    LOWER_NS,
    UPPER_NS,
    Effect,
    Windows,
    quantile,
    t_quantile,
)

Q = 0.99
DRAWS = 1000
SEED = 99  # of the draws: the same windows give the same interval
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


class P99(SharedObjective):
    """In ns, with what the two clock reads cost; lower is better. Nothing is left out."""

    name = "p99"
    direction = "lower"
    unit = "ns"

    def value(self, measured: ArmResult) -> float:
        """The quantile of all samples."""
        return quantile(measured.windows, Q)

    def gain(self, measured: ArmResult, over: ArmResult) -> Effect:
        """Difference of the quantiles with its bootstrap interval."""
        return quantile_difference(over.windows, measured.windows, Q)


def quantile_difference(a: Windows, b: Windows, q: float) -> Effect:
    """Quantile of ``a`` less that of ``b``, in ns; rows are windows of one trial.

    Raises MeasurementError for arms of different trials, or with samples in fewer than two
    windows.
    """
    first, second = (np.asarray(x, dtype=np.float64) for x in (a, b))
    if first.shape != second.shape:
        raise MeasurementError(
            f"two arms share their windows, got {first.shape} and {second.shape} counts",
            cure="measure both in one trial",
        )
    both = (first.sum(axis=1) > 0) & (second.sum(axis=1) > 0)
    windows = int(both.sum())
    if windows < 2:
        raise MeasurementError(
            f"2 windows with samples of both arms are needed, got {windows}",
            cure="measure longer or more traffic",
        )
    value = quantile(a, q) - quantile(b, q)
    rng = np.random.default_rng(SEED)
    picks = rng.multinomial(windows, np.full(windows, 1 / windows), DRAWS).astype(np.float64)
    drawn = _drawn_quantiles(picks, first[both], q) - _drawn_quantiles(picks, second[both], q)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    wider = t_quantile(windows - 1) / _Z
    return Effect(
        value=value,
        low=value - max(0.0, value - float(low)) * wider,
        high=value + max(0.0, float(high) - value) * wider,
        n=windows,
        unit="ns",
    )


def _drawn_quantiles(
    picks: NDArray[np.float64], windows: NDArray[np.float64], q: float
) -> NDArray[np.float64]:
    """The quantile of each draw; as ``statistics.quantile``.

    The quantile of windows taken together lies between those of the single windows, so only the
    buckets between these are looked at.
    """
    inside = (windows.cumsum(axis=1) >= _rank(windows.sum(axis=1), q)[:, None]).argmax(axis=1)
    first, last = inside.min(), inside.max() + 1
    counts = _sums(picks, windows[:, first:last])
    below = _sums(picks, windows[:, :first].sum(axis=1, keepdims=True)) + counts.cumsum(axis=1)
    rank = _rank(_sums(picks, windows.sum(axis=1, keepdims=True))[:, 0], q)
    place = (below < rank[:, None]).sum(axis=1)
    rows = np.arange(len(counts))
    share = (rank - (below[rows, place] - counts[rows, place]) - 0.5) / counts[rows, place]
    bucket = first + place
    width_ns = UPPER_NS[bucket] - LOWER_NS[bucket]
    return np.asarray(LOWER_NS[bucket] + share * (width_ns - 1))


def _sums(picks: NDArray[np.float64], of: NDArray[np.float64]) -> NDArray[np.float64]:
    """``picks @ of`` in this thread: BLAS would start others, on CPUs that have packets to do."""
    return np.asarray(np.einsum("dw,wb->db", picks, of))


def _rank(samples: NDArray[np.float64], q: float) -> NDArray[np.float64]:
    return np.maximum(1, np.ceil(q * samples - 1e-9))
