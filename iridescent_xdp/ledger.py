# SPDX-License-Identifier: GPL-2.0-only
"""What a search found out about each variant, and what that cost the packets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iridescent_xdp.arms import Built
from iridescent_xdp.events import EventLog
from iridescent_xdp.limits import RegretMeter
from iridescent_xdp.measure import ArmResult
from iridescent_xdp.statistics import paired_difference
from iridescent_xdp.statistics import trimmed_mean as mean_ns
from iridescent_xdp.summary import Row
from iridescent_xdp.variant import Variant

MOVED_SHARE = 0.15  # of all packets got another verdict than in the first trial
MOVED_SIZE = 1.3  # times as long, or as short, as in the first trial
MOVED_MISSES = 0.2  # of an arm's packets missed a guard, or did not, other than in its last trial


class Ledger:
    """One search's rows, its regret, and whether its traffic still is what it was at first."""

    def __init__(self, events: EventLog, regret: RegretMeter) -> None:
        self._events = events
        self._rows: dict[Variant, Row] = {}
        self._first: ArmResult | None = None
        self.regret = regret
        self.moved = ""

    @property
    def generic_ns(self) -> float:
        """The generic code's time per packet in the first trial; 0 before it."""
        return mean_ns(self._first.windows) if self._first is not None else 0.0

    def note(self, built: Built) -> None:
        """A variant that was built, or refused."""
        self._rows.setdefault(
            built.variant,
            Row(
                variant=built.variant,
                label=built.label,
                status="refused" if built.refused else "built",
                reason=built.reason,
                instructions=len(built.measured) // 8,
            ),
        )

    def add(self, built: Sequence[Built], results: Sequence[ArmResult]) -> None:
        """One trial: generic, generic again, and the results of ``built``."""
        for item, result in zip(built, results[2:], strict=True):
            self.note(item)
            self._update(item, result, results[0])
        self.regret.add_trial(results)
        self._tell(results)
        self._compare(results[0])

    def _update(self, built: Built, result: ArmResult, generic: ArmResult) -> None:
        row = self._rows[built.variant]
        if row.samples and abs(row.miss_share - result.miss_share) > MOVED_MISSES:
            change = f"from {row.miss_share:.0%} to {result.miss_share:.0%}"
            self.moved = f"{built.label} missed {change} of the packets"
        row.status = "stopped" if result.stopped else "measured"
        row.time_ns = mean_ns(result.windows)
        row.gain = paired_difference(generic.windows, result.windows)
        row.samples += result.samples
        row.miss_share = result.miss_share

    def _tell(self, results: Sequence[ArmResult]) -> None:
        self._events.tell(
            "trial",
            disturbed_windows=results[0].left_out,
            arms=[
                {
                    "variant": r.name,
                    "time_ns": mean_ns(r.windows),
                    "samples": r.samples,
                    "packets": r.packets,
                    "bytes": r.bytes,
                    "verdicts": r.verdicts,
                    "miss_share": r.miss_share,
                    "stopped": r.stopped,
                    "gain": paired_difference(results[0].windows, r.windows) if place else None,
                }
                for place, r in enumerate(results)
            ],
        )

    def _compare(self, generic: ArmResult) -> None:
        """Trials of different traffic cannot be put together. That generic takes longer says
        little: a neighbour of the machine does that, too."""
        if self._first is None:
            self._first = generic
            return
        first = self._first
        shares = [r.verdicts / max(1, r.packets) for r in (first, generic)]
        sizes = [r.bytes / max(1, r.packets) for r in (first, generic)]
        share = float(np.abs(shares[0] - shares[1]).max())
        if share > MOVED_SHARE:
            self.moved = f"{share:.0%} of the packets get another verdict than before"
        elif max(sizes) > MOVED_SIZE * min(sizes):
            self.moved = f"packets had {sizes[0]:.0f} bytes, now {sizes[1]:.0f}"

    def rows(self) -> list[Row]:
        """Best first."""
        found = self._rows.values()
        return sorted(found, key=lambda r: r.gain.value if r.gain else -1e9, reverse=True)

    def tell_regret(self, explored: float) -> None:
        """What the search cost; ``explored`` is the share of packets that met arms."""
        reason = self.regret.over_budget()
        self._events.tell(
            "regret",
            regret_pct=self.regret.pct,
            explored_share=explored,
            packets=self.regret.packets,
            **({"reason": reason} if reason else {}),
        )
