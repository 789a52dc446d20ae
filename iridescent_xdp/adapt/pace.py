# SPDX-License-Identifier: GPL-2.0-only
"""Time per packet of the live variant, look after look: a one-sided CUSUM on its logarithm.

The generic code is timed beside it, on the same packets in the same milliseconds, and what is
followed is the ratio of the two. Under another load caches are otherwise cold and the ratio is
another one, so each load (a factor of two) has a baseline of its own. So has each time that generic
takes (a factor of 1.26): a neighbour of the machine slows it down more than it does a fast variant.
It may come and go within one look, though, and then the ratio moves by a third; so only what is
beyond that counts, and only what is slower: a live variant that got faster needs no other one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from iridescent_xdp.adapt.reading import Histogram, Reading, no_times
from iridescent_xdp.adapt.track import Moved
from iridescent_xdp.statistics import outlier_limit_ns, trimmed_mean

TIMED = 150  # packets in one value, of either program
LEARNING = 8  # values in a baseline
STEPS = 3  # of generic's time, in a factor of two
LEAST_NOISE = 0.02  # standard deviation of a value
UNSURE = 1.5  # times as large it may be: a baseline of a few is a guess
UNPAIRED = 2.0  # without a reference the host's own ups and downs count, too
RARE = 14.0  # false alarms come every e^RARE values or so (Siegmund 1985)


@dataclass(kw_only=True)
class _Band:
    """One load, and one time of generic: its baseline, then the sum."""

    times: Histogram = field(default_factory=no_times)
    reference: Histogram = field(default_factory=no_times)
    learned: list[float] = field(default_factory=list)
    slower: float = 0.0


class Pace:
    """Follows the time per packet; more than ``least_slowdown``, a share of it, is told."""

    def __init__(self, least_slowdown: float) -> None:
        self._least = least_slowdown
        self._bands: dict[tuple[int, int], _Band] = {}

    def add(self, reading: Reading) -> Moved | None:
        """Count one look; what it shows, if anything."""
        if not reading.times.sum() or reading.pps <= 0:
            return None
        paired = bool(reading.reference_times.sum())
        gauge = round(STEPS * math.log2(reading.reference_ns or 1.0)) if paired else 0
        band = self._bands.setdefault((gauge, round(math.log2(reading.pps))), _Band())
        band.times = band.times + reading.times
        band.reference = band.reference + reading.reference_times
        if band.times.sum() < TIMED or (paired and band.reference.sum() < TIMED):
            return None
        value = _logarithm(band, paired)
        band.times, band.reference = no_times(), no_times()
        if len(band.learned) < LEARNING:
            band.learned.append(value)
            return None
        return self._test(band, value, paired)

    def _test(self, band: _Band, value: float, paired: bool) -> Moved | None:
        usual = float(np.median(band.learned))
        noise = max(LEAST_NOISE, UNSURE * float(np.std(band.learned, ddof=1)))
        least = math.log1p(self._least * (1 if paired else UNPAIRED))
        slack = least + noise / math.sqrt(LEARNING)
        threshold = max(least, RARE * noise**2 / (2 * slack) + noise)
        most = threshold * 0.4  # two looks alone never do it
        band.slower = max(0.0, band.slower + min(most, value - usual - slack))
        if band.slower <= threshold:
            return None
        what = "of the generic code's time" if paired else "ns"
        before, after = math.exp(usual), math.exp(value)
        return Moved(
            group="time",
            before={what: before},
            after={what: after},
            statistic=band.slower,
            threshold=threshold,
            reason=(
                f"time per packet: from {before:.2f} to {after:.2f} {what} "
                f"(CUSUM {band.slower:.2f}, limit {threshold:.2f})"
            ),
        )


def _logarithm(band: _Band, paired: bool) -> float:
    if not paired:
        return math.log(max(1.0, trimmed_mean(band.times)))
    limit_ns = outlier_limit_ns(band.times, band.reference)
    times = (trimmed_mean(counts, limit_ns) for counts in (band.times, band.reference))
    live, generic = (max(1.0, mean) for mean in times)
    return math.log(live / generic)
