# SPDX-License-Identifier: GPL-2.0-only
"""Stop an arm at once when it is far worse than generic: live packets pay for every look at it.

Called after each window (10 ms) of a trial. It must not stop a good arm by chance, so it asks for
certainty, not for likelihood: the *lower* end of the arm's time has to exceed ``worse_ratio`` times
the *upper* end of generic's. Five standard errors on either side let every window of a long search
be looked at: if means of so many samples are normal, one look in a million is wrong for an arm
that is exactly ``worse_ratio`` slow, and far fewer are for one that is as fast as generic.

Times contain the two clock reads of the sample (about 30 ns), in both alike: what is 1.5 times as
slow by these times is more than that by its own.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from iridescent_xdp.search.settings import SearchSettings
from iridescent_xdp.statistics import (
    HISTOGRAM_BUCKETS,
    LOWER_NS,
    UPPER_NS,
    outlier_limit_ns,
)

STANDARD_ERRORS = 5.0
# Samples of one run of packets (32, of which one in 8 is timed) share caches and neighbours.
SAMPLES_PER_RUN = 4
ENOUGH_RUNS = 16  # below, the spread itself is not known


def hopeless(time_low_ns: float, generic_high_ns: float, settings: SearchSettings) -> bool:
    """Whether an arm is so much slower that it is stopped.

    ``time_low_ns`` is the lower bound of the arm's time per packet, ``generic_high_ns`` the upper
    bound of generic's, measured in the same windows.
    """
    return time_low_ns > settings.worse_ratio * generic_high_ns


def far_worse(generic: ArrayLike, arm: ArrayLike, settings: SearchSettings) -> bool:
    """``hopeless`` from the histograms of a trial so far, one window or more of each.

    Both are bucket counts, (windows, HISTOGRAM_BUCKETS) or (HISTOGRAM_BUCKETS,). With fewer than
    ENOUGH_RUNS runs of packets in either the answer is no.
    """
    both = [np.asarray(c).reshape(-1, HISTOGRAM_BUCKETS).sum(axis=0) for c in (generic, arm)]
    if min(int(counts.sum()) for counts in both) < ENOUGH_RUNS * SAMPLES_PER_RUN:
        return False
    limit_ns = outlier_limit_ns(*both)
    _, generic_high_ns = bounds_ns(both[0], limit_ns)
    time_low_ns, _ = bounds_ns(both[1], limit_ns)
    return hopeless(time_low_ns, generic_high_ns, settings)


def bounds_ns(counts: ArrayLike, limit_ns: float) -> tuple[float, float]:
    """Lower and upper bound of the mean time in ns of the samples up to ``limit_ns``.

    Without samples below the limit both ends are open: (0, infinity).
    """
    kept = np.asarray(counts, dtype=np.float64) * (limit_ns >= LOWER_NS)
    samples = float(kept.sum())
    if not samples:
        return 0.0, math.inf
    middle_ns = (LOWER_NS + UPPER_NS - 1) / 2
    mean = float(kept @ middle_ns) / samples
    variance = float(kept @ (middle_ns - mean) ** 2) / samples
    reach = STANDARD_ERRORS * math.sqrt(variance / max(1.0, samples / SAMPLES_PER_RUN))
    return max(0.0, mean - reach), mean + reach
