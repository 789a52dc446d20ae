# SPDX-License-Identifier: GPL-2.0-only
"""What a report says, as plain values: one Run for each controller and interface of a log.

Times are seconds since the run began (``_s``); times per packet are as measured, so those of
trials contain the cost of reading the clock twice, and gains do not. None is "not in the log".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from iridescent_xdp.report.kinds import Arm, Interval, Reading, SecondObserver

GENERIC, TWIN = "generic", "generic again"


@dataclass(frozen=True, kw_only=True)
class Look:
    """One reading of the traffic, and when."""

    at_s: float
    seen: Reading


@dataclass(frozen=True, kw_only=True)
class Span:
    """Something with a name that lasted: a phase, or a variant that was live."""

    name: str
    begin_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class TrialSpan:
    """One trial; it is told at its end, and began after the event before."""

    begin_s: float
    end_s: float
    arms: tuple[Arm, ...]

    @property
    def generic(self) -> Arm | None:
        """The baseline, if it took part."""
        return next((arm for arm in self.arms if arm.variant == GENERIC), None)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What exploring cost, over the packets that met an arm; see figures.py.

    ``lost_pct`` counts only arms slower than generic, ``net_pct`` all (below 0: time was saved).
    ``told_pct`` and ``explored_share`` are the controller's own figures.
    """

    packets: int = 0
    lost_pct: float | None = None
    net_pct: float | None = None
    told_pct: float | None = None
    explored_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class VariantRow:
    """One variant in one search. ``status``: winner, finalist, measured, refused, built.

    ``gain_ns`` is over generic in its last trial; ``gain`` has the interval, where one was told.
    """

    label: str
    key: str = ""
    status: str = "built"
    reason: str = ""
    time_ns: float | None = None
    gain_ns: float | None = None
    gain: Interval | None = None
    gain_pct: float | None = None
    samples: int = 0
    packets: int = 0
    trials: int = 0
    miss_share: float | None = None
    instructions: int | None = None
    build_ms: float | None = None
    preflight_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Search:
    """One search. ``outcome``: swapped, advice, kept, decided, unfinished."""

    number: int
    begin_s: float
    end_s: float
    outcome: str
    reason: str
    why_begun: str
    winner: str
    space_size: int | None
    observed_packets: int | None
    generic_ns: float | None
    noise_floor_ns: float | None
    needed_ns: float | None
    variants: tuple[VariantRow, ...]
    trials: tuple[TrialSpan, ...]
    observer: SecondObserver | None
    cost: Cost

    @property
    def best(self) -> VariantRow | None:
        """The row of the winner."""
        return next((row for row in self.variants if row.label == self.winner), None)

    @property
    def twin(self) -> tuple[float, Interval | None] | None:
        """How far generic was from itself in the last trial, in ns: noise."""
        for trial in reversed(self.trials):
            twin = next((arm for arm in trial.arms if arm.variant == TWIN), None)
            if trial.generic is not None and twin is not None:
                gain = twin.gain.value if twin.gain is not None else None
                return trial.generic.time_ns - twin.time_ns if gain is None else gain, twin.gain
        return None


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment on the timeline, numbered from 1; ``kind`` is that of the event."""

    number: int
    at_s: float
    kind: str
    title: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ShiftRow:
    """A change of the workload that was detected, and what the controller did about it.

    ``after_phase_ms`` is the time since the last phase began, ``recall_ms`` until the recalled
    variant was told live. ``changed`` holds numbers of the signature before and after.
    """

    at_s: float
    reason: str
    group: str
    statistic: float | None
    threshold: float | None
    phase: str
    after_phase_ms: float | None
    recalled: str
    distance: float | None
    recall_ms: float | None
    changed: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class ChangeRow:
    """A change of tables, a retreat, or the code that was made anew; ``detail`` in words."""

    at_s: float
    kind: str
    what: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class PhaseRow:
    """One phase of a scenario: medians of its readings, what was live at its end."""

    name: str
    begin_s: float
    end_s: float
    looks: int
    pps: float | None
    time_ns: float | None
    live: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """All that one controller did to one interface; ``began`` is a Unix time in s."""

    interface: str
    began: float | None
    end_s: float
    function: str
    mode: str
    toolchain: str
    adopted: bool
    live: str
    looks: tuple[Look, ...]
    phases: tuple[PhaseRow, ...]
    lives: tuple[Span, ...]
    searches: tuple[Search, ...]
    marks: tuple[Mark, ...]
    shifts: tuple[ShiftRow, ...]
    changes: tuple[ChangeRow, ...]
    cost: Cost
    swaps: int
    problems: tuple[str, ...]
    others: Mapping[str, int]

    @property
    def name(self) -> str:
        """The interface, or that none is named."""
        return self.interface or "an interface without a name"


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole log."""

    log: str
    lines: int
    runs: tuple[Run, ...]
    problems: tuple[str, ...]
