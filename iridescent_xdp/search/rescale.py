# SPDX-License-Identifier: GPL-2.0-only
"""Gains of a disturbed machine and of a calm one, on one scale.

On a shared host a neighbour can slow everything down for seconds. The generic code then gets 1.6
times as slow, a fast variant 1.3 times: gains measured then look larger than they are, and are no
smaller on paper than those of better variants measured in calm. What is put on one scale are times,
with generic's as the gauge,

    t' = t (g' / g) ** e        gain' = g' - t'        e = max(FAST, min(1, t / g))

where g is the generic time of the trial and g' the least of all trials: what takes as long as
generic is slowed down as generic is, and what is fast less. FAST was found on one machine (0.44 to
0.55 for several filters while a neighbour was busy); what the exponent may be wrong by widens the
interval, so that what looks good is measured again.
"""

from __future__ import annotations

import math
from dataclasses import replace

from iridescent_xdp.statistics import Effect

FAST = 0.5
UNSURE = 0.2  # the exponent may be so much larger or smaller


def rescaled(gain: Effect, generic_ns: float, calm_ns: float) -> Effect:
    """A ``gain`` over generic code that took ``generic_ns``, as if that had taken ``calm_ns``.

    All in ns per packet. Nothing changes where either time is not known (0).
    """
    if not generic_ns or not calm_ns or generic_ns == calm_ns:
        return gain
    logarithm = math.log(calm_ns / generic_ns)
    took_ns = max(0.0, generic_ns - gain.value)
    factor = math.exp(max(FAST, min(1.0, took_ns / generic_ns)) * logarithm)
    took_ns *= factor
    half = gain.half_width * factor + took_ns * UNSURE * abs(logarithm)
    value = calm_ns - took_ns
    return replace(gain, value=value, low=value - half, high=value + half)
