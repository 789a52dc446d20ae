# SPDX-License-Identifier: GPL-2.0-only
"""The cheapest machine form of a test: at most one operation, then one unsigned compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from iridescent_xdp.decision.nodes import U32_MAX, InRange, Test

Operator = Literal["==", "<=", ">="]


@dataclass(frozen=True, slots=True)
class Comparison:
    """``(field & mask) - minus OPERATOR value`` in 32 bits; never both a mask and a minus."""

    mask: int
    minus: int
    operator: Operator
    value: int


def lowered(test: Test) -> Comparison:
    """How to make a test. An aligned range of a power of two values is a mask, because chains
    of such tests often share it.
    """
    if not isinstance(test, InRange):
        return Comparison(test.mask, 0, "==", test.value)
    low, high = test.low, test.high
    size = high - low + 1
    if size == 1:
        return Comparison(U32_MAX, 0, "==", low)
    if low == 0:
        return Comparison(U32_MAX, 0, "<=", high)
    if high == U32_MAX:
        return Comparison(U32_MAX, 0, ">=", low)
    if size & (size - 1) == 0 and low % size == 0:
        return Comparison(U32_MAX ^ (size - 1), 0, "==", low)
    return Comparison(U32_MAX, low, "<=", high - low)
