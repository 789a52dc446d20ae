# SPDX-License-Identifier: GPL-2.0-only
"""How much an operator lets the controller disturb, and what exploring has cost.

Pure logic: nothing here looks at a clock or at traffic. ``now`` is seconds since the epoch
(``time.time()``), because quiet hours are hours of the day.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from iridescent_xdp.config.model import LimitsConfig
from iridescent_xdp.config.values import minutes_of
from iridescent_xdp.measure import ArmResult
from iridescent_xdp.statistics import trimmed_mean

MINUTE_S, HOUR_S = 60.0, 3600.0


class Rate:
    """At most ``most`` events in any ``span_s`` seconds; None is no limit."""

    def __init__(self, most: int | None, span_s: float) -> None:
        self.most = most
        self.span_s = span_s
        self._times: deque[float] = deque()

    def note(self, now: float) -> None:
        """One happened."""
        self._times.append(now)
        self._prune(now)

    def wait_s(self, now: float) -> float:
        """Seconds until the next one may happen; 0 when it may now."""
        self._prune(now)
        if self.most is None or len(self._times) < self.most:
            return 0.0
        return self.span_s - (now - self._times[-self.most])

    def _prune(self, now: float) -> None:
        """Forget what is too old, and what a clock that was set back has left in the future."""
        self._times = deque(t for t in self._times if 0 <= now - t < self.span_s)


class Limits:
    """Whether a swap or a search may happen now; a reason why not is a sentence.

    Going back to the generic variant is never asked for: it is always allowed.
    """

    def __init__(
        self,
        config: LimitsConfig,
        *,
        searches_per_hour: int | None = None,
        local: Callable[[float], time.struct_time] = time.localtime,
    ) -> None:
        """``searches_per_hour`` is that of [adapt]; ``local`` turns ``now`` into local time."""
        self.config = config
        self._swaps = Rate(config.swaps_per_minute, MINUTE_S)
        self._searches = Rate(searches_per_hour, HOUR_S)
        self._quiet = tuple((span, *minutes_of(span)) for span in config.quiet_hours)
        self._local = local

    def allow_swap(self, now: float) -> str | None:
        """None when a swap may happen at ``now``; else why not."""
        return self._quiet_at(now) or self._too_often(self._swaps, now, "swaps_per_minute")

    def allow_search(self, now: float) -> str | None:
        """None when a search may begin at ``now``; else why not."""
        rate = self._too_often(self._searches, now, "max_searches_per_hour")
        return self._quiet_at(now) or rate

    def note_swap(self, now: float) -> None:
        """A swap happened; trials and going back to generic do not count."""
        self._swaps.note(now)

    def note_search(self, now: float) -> None:
        """A search began."""
        self._searches.note(now)

    def share(self, wanted: float) -> float:
        """The share of packets that may meet arms."""
        return min(wanted, self.config.max_share)

    def regret(self) -> RegretMeter:
        """A meter with this operator's budget, for one search."""
        return RegretMeter(self.config.max_regret_pct)

    def _quiet_at(self, now: float) -> str | None:
        local = self._local(now)
        minute = local.tm_hour * 60 + local.tm_min
        for span, begin, end in self._quiet:
            inside = begin <= minute < end if begin < end else minute >= begin or minute < end
            if inside:
                return f"quiet hours {span}, it is {local.tm_hour:02}:{local.tm_min:02}"
        return None

    def _too_often(self, rate: Rate, now: float, key: str) -> str | None:
        wait_s = rate.wait_s(now)
        if wait_s <= 0:
            return None
        return f"{key} is {rate.most}, the next one may come in {wait_s:.1f} s"


class RegretMeter:
    """What exploring costs, packet by packet, against what generic would have taken.

    ``regret = sum of packets * max(0, arm_ns - generic_ns) / sum of packets * generic_ns``, over
    all packets that came while it was explored. Arms that were faster earn nothing back: the
    budget bounds what packets had to suffer.
    """

    def __init__(self, budget_pct: float | None = None) -> None:
        self.budget_pct = budget_pct
        self.lost_ns = 0.0
        self.generic_ns = 0.0
        self.packets = 0

    def add(self, packets: int, arm_ns: float, generic_ns: float) -> None:
        """``packets`` met code that takes ``arm_ns``, where generic takes ``generic_ns``.

        For those that met generic itself both are the same.
        """
        if packets < 0 or arm_ns < 0 or generic_ns <= 0:
            raise ValueError(
                "packets >= 0, arm_ns >= 0 and generic_ns > 0 must hold, got "
                f"{packets}, {arm_ns}, {generic_ns}"
            )
        self.packets += packets
        self.lost_ns += packets * max(0.0, arm_ns - generic_ns)
        self.generic_ns += packets * generic_ns

    def add_trial(self, results: Sequence[ArmResult], *, generic: int = 2) -> None:
        """The arms of one trial; the first ``generic`` of them are the generic variant."""
        generic_ns = trimmed_mean(results[0].windows)
        for number, arm in enumerate(results):
            took_ns = generic_ns if number < generic else trimmed_mean(arm.windows)
            self.add(arm.packets, took_ns, generic_ns)

    @property
    def pct(self) -> float:
        """Percent of the time that generic would have taken; 0 before the first packet."""
        return 100.0 * self.lost_ns / self.generic_ns if self.generic_ns else 0.0

    def over_budget(self) -> str | None:
        """None while exploring may go on; else why not."""
        if self.budget_pct is None or self.pct <= self.budget_pct:
            return None
        return f"max_regret_pct is {self.budget_pct:g}, exploring cost {self.pct:.2f} % so far"

    def affordable(self, arm_ns: float, generic_ns: float, coming: int) -> int:
        """How many of ``coming`` packets an arm that takes ``arm_ns`` can get within the budget."""
        loss_ns = arm_ns - generic_ns
        if self.budget_pct is None or loss_ns <= 0:
            return coming
        allowed_ns = self.budget_pct / 100 * (self.generic_ns + coming * generic_ns)
        return max(0, min(coming, int((allowed_ns - self.lost_ns) / loss_ns)))
