# SPDX-License-Identifier: GPL-2.0-only
"""A comparison that holds for whoever looks again and again and stops when it suits.

A test with 1 % error is wrong once in a hundred if it is made once. Racing makes one after every
batch and for every arm, and drops an arm at the first one that speaks against it: with 24 arms and
five looks a wrong one is no longer rare. So the error of 1 % is spent: arm after arm in equal parts
(Bonferroni), and of an arm's part ``1 / (k (k + 1))`` at the k-th comparison, which adds up to the
whole after infinitely many (alpha spending, Lan & DeMets 1983; the same union over looks as in
Hoeffding races, Maron & Moore 1994, and the simplest confidence sequence of those in Howard,
Ramdas, McAuliffe & Sekhon 2021). The best arm then survives *all* comparisons with 99 %
probability, however many there are and whenever one stops.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from iridescent_xdp.statistics import CONFIDENCE, Effect

ERROR = 1 - CONFIDENCE

_Arm = TypeVar("_Arm")


def error_at(look: int, arms: int) -> float:
    """What one of ``arms`` may spend of the whole error at its ``look``-th look (from 1)."""
    if look < 1 or arms < 1:
        raise ValueError(f"look >= 1 and arms >= 1 must hold, got {look} and {arms}")
    return ERROR / arms / (look * (look + 1))


def anytime(effect: Effect, *, look: int, arms: int, looks: int | None = None) -> Effect:
    """``effect`` with an interval that holds together with those of all looks and all arms.

    Its 99 % interval is taken to be Student's, over ``n`` windows less one for each of the
    ``looks`` (default: ``look``) that it is pooled from.
    """
    from scipy.special import stdtrit  # slow to import

    degrees = max(1, effect.n - (looks or look))
    wanted, had = (stdtrit(degrees, 1 - e / 2) for e in (error_at(look, arms), ERROR))
    half = effect.half_width * float(wanted / had)
    return replace(effect, low=effect.value - half, high=effect.value + half)


def not_surely_worse(
    known: Mapping[_Arm, Effect], looks: Mapping[_Arm, int], arms: int
) -> list[_Arm]:
    """Those of ``known`` that may still be the best, in their order.

    ``looks`` counts how often each was measured, 0 for what is known beforehand (generic);
    ``arms`` how many began, dropped ones included. All gains are over the same generic arm, whose
    error they share: that the errors of two arms are taken as independent errs on the safe side.
    """
    leader = max(known, key=lambda arm: known[arm].value, default=None)
    if leader is None:
        return []

    def margin(arm: _Arm) -> float:
        comparison = max(1, looks[arm] + looks[leader] - 1)  # grows with each look at either
        halves = (
            anytime(known[one], look=comparison, arms=arms, looks=looks[one]).half_width
            for one in (arm, leader)
            if looks[one]
        )
        return math.hypot(*halves)

    return [a for a in known if a == leader or known[leader].value - known[a].value <= margin(a)]
