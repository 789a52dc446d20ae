# SPDX-License-Identifier: GPL-2.0-only
"""After a search: does what is live still fit the traffic?

Guards and hot-key sets count their misses, also in the steady build, where nothing else is
counted. A point that most packets miss costs more than it saves; it goes back to its default.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.controller import STEADY_ARM, Controller

DROP_SHARE = 0.5  # a point that more packets miss is given up
ENOUGH_PACKETS = 1000  # between two looks, or the next look decides


class MissWatch:
    """Looks at the misses of the live variant; ``look`` is called every second or so."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._begin()

    def _begin(self) -> None:
        self._packets, self._misses = 0, self._read()
        self._variant = self._controller.live_variant

    def look(self, packets: int) -> tuple[str, ...]:
        """Give up the points that more than half of ``packets``, those since the last look, missed.

        Returns their names. The generic code decides until the smaller variant is proven.
        """
        if self._variant != self._controller.live_variant:
            self._begin()
            return ()
        self._packets += packets
        if self._packets < ENOUGH_PACKETS:
            return ()
        before, seen = self._misses, self._packets
        self._begin()
        shares = (self._misses - before) / seen
        controller = self._controller
        generic, live = controller.plan.generic, controller.live_variant
        bad = tuple(
            point.name
            for point, share in zip(controller.plan.template.points, shares, strict=False)
            if share > DROP_SHARE and live[point.name] != generic[point.name]
        )
        if bad:
            share = float(max(shares[: len(controller.plan.template.points)]))
            controller.give_up(
                live.with_values(**{name: generic[name] for name in bad}),
                reason=f"{share:.0%} of the packets miss {', '.join(bad)}",
                miss_share=share,
            )
        return bad

    def _read(self) -> NDArray[np.int64]:
        rows = self._controller.state["arm_stats"].read(STEADY_ARM)
        assert rows is not None
        return np.asarray(rows["misses"].sum(axis=0), dtype=np.int64)
