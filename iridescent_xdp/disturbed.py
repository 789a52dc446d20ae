# SPDX-License-Identifier: GPL-2.0-only
"""Windows of a trial in which something else disturbed the machine.

On a shared host a neighbour slows everything down for tenths of a second, and what touches much
memory most: the generic code and a fast variant then differ by twice as much. The times of the
generic arms say which windows these are. Those of candidates are not asked, so that leaving windows
out favours none of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.statistics import LOWER_NS, Windows, outlier_limit_ns, window_means

SLOWER = 1.15  # times as slow as usual, at least, and beyond chance:
STANDARD_ERRORS = 4.0
USUAL = 0.25  # this quantile of the windows' times is usual
PATIENCE = 20  # windows; when most of so many are not as before, this is how the machine is now
MOST = 2 / 3


class Disturbed:
    """Knows what the generic code took in the trials before; one object for one search."""

    def __init__(self) -> None:
        self._usual_ns = self._latest_ns = math.inf

    def windows(self, generic: Sequence[Windows]) -> frozenset[int]:
        """The disturbed ones of a trial so far, by place; ``generic`` are its generic arms, each
        (windows, buckets). Raises MeasurementError without samples."""
        counts = np.sum(generic, axis=0)
        limit_ns = outlier_limit_ns(counts)
        means, samples = window_means(counts, limit_ns)
        seen = samples > 0
        own_ns = float(np.quantile(means[seen], USUAL))
        chance_ns = STANDARD_ERRORS * _spread(counts, limit_ns) / np.sqrt(np.maximum(1, samples))

        def slower(usual_ns: float) -> NDArray[np.bool_]:
            self._latest_ns = usual_ns
            beyond: NDArray[np.bool_] = seen & (means > SLOWER * usual_ns + chance_ns)
            return beyond

        found = slower(min(own_ns, self._usual_ns))
        if len(means) >= PATIENCE and found.sum() > len(means) * MOST:
            found = slower(own_ns)
        return frozenset(int(place) for place in np.flatnonzero(found))

    def trial_ends(self) -> None:
        """The next windows are those of another trial."""
        self._usual_ns = self._latest_ns


def _spread(counts: Windows, limit_ns: float) -> float:
    """Standard deviation of the samples up to the limit, in ns; all windows together."""
    kept = counts.sum(axis=0) * (limit_ns >= LOWER_NS)
    mean = kept @ LOWER_NS / kept.sum()
    return math.sqrt(kept @ (LOWER_NS - mean) ** 2 / kept.sum())
