# SPDX-License-Identifier: GPL-2.0-only
"""Is what is live still better than the generic code? Never worse, also after the search.

A sensor times both side by side on sampled packets. Their histograms of the last readings are added
up until the difference is beyond doubt either way.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from iridescent_xdp.adapt.reading import Histogram, Reading
from iridescent_xdp.search.early import bounds_ns
from iridescent_xdp.statistics import outlier_limit_ns

READINGS = 20  # the latest; older ones are of other traffic
ENOUGH = 500  # samples of either


class Worth:
    """Told every reading; ``lost`` when the live variant surely is slower than generic."""

    def __init__(self) -> None:
        self._last: deque[tuple[Histogram, Histogram]] = deque(maxlen=READINGS)

    def reset(self) -> None:
        """Something else is live."""
        self._last.clear()

    def add(self, reading: Reading) -> str | None:
        """Why the live variant is not worth it, or None."""
        if not reading.times.sum() or not reading.reference_times.sum():
            return None
        self._last.append((reading.times, reading.reference_times))
        live = np.sum([times for times, _ in self._last], axis=0)
        generic = np.sum([times for _, times in self._last], axis=0)
        if min(live.sum(), generic.sum()) < ENOUGH:
            return None
        limit_ns = outlier_limit_ns(live, generic)
        (low_ns, _), (_, high_ns) = bounds_ns(live, limit_ns), bounds_ns(generic, limit_ns)
        if low_ns <= high_ns:
            return None
        return f"it takes at least {low_ns:.1f} ns per packet, generic at most {high_ns:.1f} ns"
