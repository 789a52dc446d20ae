# SPDX-License-Identifier: GPL-2.0-only
"""How packets are shared among flows, and properties among flows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Locality = Literal["high", "low", "none"]

TOP_FLOWS = 0.05

# Share of the packets that the top 5 % of the flows get. High is what Morpheus (ASPLOS'22)
# calls high locality; low is the classic Zipf law (exponent 1) over 1,000 flows.
TOP_SHARES: dict[Locality, float] = {"high": 0.95, "low": 0.60}

_MAX_EXPONENT = 64.0
_BISECTIONS = 60


def zipf_exponent(flows: int, locality: Locality) -> float:
    """The Zipf exponent with which the top 5 % of ``flows`` (at least one) get their share.

    For ``high``: 1.63 for 1,000 flows, 1.47 for 4,096, more for fewer flows. Always the same
    share, so that results for different numbers of flows can be compared. ``none`` gives 0.
    (A stream of 65,536 positions gives each flow at least one: with 4,096 flows of high
    locality the top 5 % get 92 % in the end.)
    """
    if locality == "none" or flows == 1:
        return 0.0
    low, high = 0.0, _MAX_EXPONENT
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _top_share(flows, middle) < TOP_SHARES[locality]:
            low = middle
        else:
            high = middle
    return high


def flow_weights(flows: int, locality: Locality) -> Floats:
    """The share of the packets of each flow, heaviest first; the sum is 1."""
    weights = _ranks(flows) ** -zipf_exponent(flows, locality)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def apportion(weights: Floats, total: int) -> Integers:
    """``total`` divided in proportion to ``weights`` by largest remainders, at least 1 each.

    ``total`` must not be smaller than the number of weights.
    """
    wanted = np.maximum(weights / weights.sum() * total - 1, 0)
    spare = total - len(weights)
    exact = wanted * (spare / wanted.sum()) if wanted.sum() else np.zeros(len(weights))
    counts = np.floor(exact).astype(np.int64)
    missing = spare - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return counts + 1


def spread(
    weights: Floats, shares: Sequence[float], features: Sequence[Sequence[int]] = ()
) -> Integers:
    """A category for each flow, so that category ``c`` gets ``shares[c]`` of the *weight*.

    Each flow, heaviest first, goes to the category that is furthest behind its share. Where
    categories are combinations, ``features[f][c]`` is the value of feature ``f`` in category
    ``c``; then the values count too, as one flow can be heavier than a whole combination.
    """
    part = np.asarray(shares, dtype=np.float64) / sum(shares)
    groups = [np.asarray(feature, dtype=np.int64) for feature in features]
    due = np.zeros(len(part))
    chosen = np.empty(len(weights), dtype=np.int64)
    for flow, weight in enumerate(weights):
        due += part * weight
        behind = due + sum(np.bincount(group, due)[group] for group in groups)
        chosen[flow] = behind.argmax()
        due[chosen[flow]] -= weight
    return chosen


def _ranks(flows: int) -> Floats:
    return np.arange(1, flows + 1, dtype=np.float64)


def _top_share(flows: int, exponent: float) -> float:
    weights = _ranks(flows) ** -exponent
    top = max(1, round(flows * TOP_FLOWS))
    return float(weights[:top].sum() / weights.sum())
