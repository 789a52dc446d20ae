# SPDX-License-Identifier: GPL-2.0-only
"""What a narrowing or hot keys should gain, from what was observed, before they are tried.

If a share p of the packets misses, a hit saves s and a miss costs m (ns per packet), then

    gain = (1 - p) s - p m        break-even: p = s / (s + m)

The share is counted on live packets. What a hit saves is not known before it is measured; until
then it is guessed from the generic program's time (``Costs.guess``). A value is *hopeless* when
a hit saves nothing, or even the lower end of p's interval (Wilson 1927, 99 %) is above the
break-even: it is not tried.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.points import Point, PointClass, PointKind
from iridescent_xdp.statistics import CONFIDENCE

if TYPE_CHECKING:
    from iridescent_xdp.observe import Observation

# Of the generic time. Assumptions, not measurements: a missed packet has the whole generic program
# still before it, and a hit is taken to save a tenth. Break-even is then 1 miss in 11 packets, near
# the share of 10 % that was the rule before. Costs.learnt replaces them by what was measured.
MISSED_SHARE, SAVED_SHARE = 1.0, 0.1
# A look-up in a hash or trie that a hot key replaces, and one compare of a key, in ns: assumptions,
# for a caller that has measured neither.
LOOKUP_NS, COMPARE_NS = 25.0, 0.7
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a hit saves and a miss costs, in ns per packet."""

    saved_ns: float
    missed_ns: float

    def __post_init__(self) -> None:
        if not 0 <= self.missed_ns < math.inf:
            raise ConfigError(f"prediction: missed_ns >= 0 must hold, got {self.missed_ns}")

    @classmethod
    def guess(cls, generic_ns: float) -> Costs:
        """Of a narrowing that was never measured, from the generic program's time per packet."""
        return cls(saved_ns=SAVED_SHARE * generic_ns, missed_ns=MISSED_SHARE * generic_ns)

    @classmethod
    def learnt(cls, gain_ns: float, miss_share: float, missed_ns: float) -> Costs:
        """From a measured gain: what a hit saved (below 0 if it cost) is what explains it."""
        if not 0 <= miss_share < 1:
            raise ConfigError(f"prediction: 0 <= miss_share < 1 must hold, got {miss_share}")
        saved_ns = (gain_ns + miss_share * missed_ns) / (1 - miss_share)
        return cls(saved_ns=saved_ns, missed_ns=missed_ns)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What ``value`` of ``point`` should gain; all fields go into an event as they are.

    ``missed`` of ``packets`` observed would miss. ``gain_ns`` is per packet, over the value that
    generic has; ``break_even`` the miss share at which it is 0.
    """

    point: str
    value: int
    packets: int
    missed: int
    saved_ns: float
    missed_ns: float
    miss_share: float = field(init=False)
    gain_ns: float = field(init=False)
    break_even: float = field(init=False)
    hopeless: bool = field(init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.missed <= self.packets:
            raise ConfigError(
                f"prediction: 0 <= missed <= packets must hold, got {self.missed}, {self.packets}"
            )
        share = self.missed / self.packets if self.packets else 0.0
        break_even = break_even_share(self.saved_ns, self.missed_ns)
        low, _ = share_interval(self.missed, self.packets)
        object.__setattr__(self, "miss_share", share)
        object.__setattr__(self, "gain_ns", gain_ns(share, self.saved_ns, self.missed_ns))
        object.__setattr__(self, "break_even", break_even)
        object.__setattr__(self, "hopeless", self.saved_ns <= 0 or low > break_even)

    def __str__(self) -> str:
        verdict = "hopeless" if self.hopeless else f"{self.gain_ns:+.1f} ns expected"
        return (
            f"{self.point}={self.value}: {verdict}, {self.miss_share:.1%} of {self.packets} "
            f"packets miss, break-even at {self.break_even:.1%}"
        )


def gain_ns(miss_share: float, saved_ns: float, missed_ns: float) -> float:
    """Expected gain in ns per packet."""
    return (1 - miss_share) * saved_ns - miss_share * missed_ns


def break_even_share(saved_ns: float, missed_ns: float) -> float:
    """The share of misses at which nothing is gained; 1 where a miss costs nothing, 0 where a hit
    saves nothing."""
    return saved_ns / (saved_ns + missed_ns) if saved_ns > 0 else 0.0


def share_interval(count: int, total: int) -> tuple[float, float]:
    """Wilson's 99 % interval of a share; (0, 1) when nothing was seen."""
    if not total:
        return 0.0, 1.0
    share, weight = count / total, _Z**2 / total
    middle = (share + weight / 2) / (1 + weight)
    half = _Z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    return (max(0.0, middle - half) if count else 0.0), min(1.0, middle + half)


def narrowings(
    points: Sequence[Point], seen: Observation, generic_ns: float, **costs: Costs
) -> list[Prediction]:
    """For each narrowing point each value that deviates from the default, best first.

    GENERIC points have the values that were seen. ``costs`` (by point) replace the guess that is
    made from ``generic_ns``, where they are known. Points that no packet asked for are left out:
    nothing is known about them.
    """
    found = []
    for point in points:
        counts = seen.values.get(point.name, {})
        packets = sum(counts.values())
        if point.point_class is not PointClass.NARROWING or not packets:
            continue
        domain = sorted(counts) if point.kind is PointKind.GENERIC else point.domain
        cost = costs.get(point.name) or Costs.guess(generic_ns)
        found += [
            Prediction(
                point=point.name,
                value=value,
                packets=packets,
                missed=round(seen.miss_share(point, value) * packets),
                saved_ns=cost.saved_ns,
                missed_ns=cost.missed_ns,
            )
            for value in domain
            if value != point.default
        ]
    return sorted(found, key=lambda p: -p.gain_ns)


def hot_keys(
    point: str,
    counts: Mapping[bytes, int],
    sizes: Sequence[int],
    *,
    lookup_ns: float = LOOKUP_NS,
    compare_ns: float = COMPARE_NS,
) -> list[Prediction]:
    """What comparing with so many of the hottest keys (``sizes``) should gain, best first.

    ``counts`` are look-ups by key. A hit of the i-th key costs i compares and saves the look-up; a
    miss has made all compares in vain. ``value`` of the predictions is the number of keys.
    """
    ranked = sorted(counts.values(), reverse=True)
    total = sum(ranked)
    if not total:
        return []
    found = []
    for size in sizes:
        hot = ranked[:size]
        hits = sum(hot)
        compares = sum(place * count for place, count in enumerate(hot, start=1))
        average = compares / hits if hits else 0.0  # compares of a hit
        found.append(
            Prediction(
                point=point,
                value=size,
                packets=total,
                missed=total - hits,
                saved_ns=lookup_ns - average * compare_ns,
                missed_ns=len(hot) * compare_ns,
            )
        )
    return sorted(found, key=lambda p: -p.gain_ns)
