# SPDX-License-Identifier: GPL-2.0-only
"""What a sensor tells about a moment of live traffic. Inert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.adapt.signature import Signature
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.statistics import HISTOGRAM_BUCKETS, trimmed_mean

Histogram = NDArray[np.int64]


def no_times() -> Histogram:
    """A histogram without samples."""
    return np.zeros(HISTOGRAM_BUCKETS, dtype=np.int64)


class ReadingStatus(StrEnum):
    """What became of a look."""

    LOOKED = "looked"
    FEW = "too few packets"  # nobody looked; nothing follows from it
    ASIDE = "stepped aside"  # for a search or for a change of tables; nothing follows from it


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """One look. ``packets`` came since the reading before, ``pps`` of them a second.

    ``misses`` are shares of those packets by point. ``times`` and ``reference_times`` are
    histograms of ns per packet of the live variant and of the generic code, side by side on sampled
    packets; without samples where they could not be timed.
    """

    at_ns: int  # CLOCK_MONOTONIC
    status: ReadingStatus
    signature: Signature = field(default_factory=Signature)
    packets: int = 0
    pps: float = 0.0
    misses: Mapping[str, float] = field(default_factory=dict)
    times: Histogram = field(default_factory=no_times)
    reference_times: Histogram = field(default_factory=no_times)
    seen: int = 0  # packets that passed the sensor
    stood_ms: float = 0.0  # how long it stood

    @property
    def samples(self) -> int:
        """Packets whose headers were read."""
        return self.signature.packets

    @property
    def time_ns(self) -> float | None:
        """Mean ns per packet of the live variant (statistics.trimmed_mean); None: not timed.

        Two clock reads (30 to 45 ns) are in it.
        """
        return _mean(self.times)

    @property
    def reference_ns(self) -> float | None:
        """The same for the generic code; None also where that is live."""
        return _mean(self.reference_times)


def _mean(times: Histogram) -> float | None:
    try:
        return trimmed_mean(times)
    except MeasurementError:
        return None
