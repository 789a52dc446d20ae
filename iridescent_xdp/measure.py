# SPDX-License-Identifier: GPL-2.0-only
"""Trials on live traffic: arms interleaved packet run by packet run, read window by window.

During a trial the dispatcher stands in slot 0 and sends runs of consecutive packets to the
arms in a shuffled order. Each arm counts and times itself in ``arm_stats``; the controller reads
the difference about every 10 ms, and ends the trial when enough is known. Nothing is clipped or
filled in: a trial that saw too little traffic fails and says so, and windows in which the generic
arms show that the machine was disturbed are left out for all arms, and counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.kernel.maps import Records
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.statistics import Windows
from iridescent_xdp.switchboard import ENTRY, FALLBACK, FIRST_ARM, OBSERVING, Switchboard
from iridescent_xdp.trial_end import Look, TrialEnd

WINDOW_S = 0.01
RUN_BITS = 5  # 32 consecutive packets to one arm: a NAPI poll of 64 holds two
SCHEDULE_RUNS = 256
MIN_WINDOWS = 9
RESTING = 60  # the slot of what is live, for packets that no arm gets


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """What one arm did in a trial; ``windows`` has shape (windows, buckets).

    ``verdict_samples`` (timed packets below 4,096 ns) and ``verdict_ns`` (their times, added up)
    have shape (windows, verdicts). ``stopped``: it was far worse than generic, and cut short;
    ``behind``: surely not the best, and cut short. ``left_out`` windows were disturbed, and are not
    in it (disturbed.py).
    """

    name: str
    packets: int
    bytes: int
    verdicts: NDArray[np.uint64]
    misses: NDArray[np.uint64]
    windows: Windows
    verdict_samples: NDArray[np.int64]
    verdict_ns: NDArray[np.int64]
    stopped: bool = False
    behind: bool = False
    left_out: int = 0

    @property
    def samples(self) -> int:
        """Timed packets."""
        return int(self.windows.sum())

    @property
    def miss_share(self) -> float:
        """Guard misses per packet."""
        return float(self.misses.sum()) / self.packets if self.packets else 0.0


@dataclass(kw_only=True)
class Arm:
    """A loaded variant in the measured role.

    ``copies`` are more loads of the same code, which count in the same row: the same code at
    another address is not equally fast, and what goes live is loaded again.
    """

    name: str
    number: int
    program: Program
    copies: tuple[Program, ...] = ()
    _last: Records | None = field(default=None, repr=False)
    _first: Records | None = field(default=None, repr=False)
    _rows: list[NDArray[np.int64]] = field(default_factory=list, repr=False)
    _by_verdict: list[NDArray[np.int64]] = field(default_factory=list, repr=False)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What stands in the slots: ``live`` and ``generic`` afterwards, ``fallback`` meanwhile."""

    live: Program
    generic: Program
    fallback: Program


@dataclass(kw_only=True)
class _Trial:
    """How far a trial is."""

    arms: Sequence[Arm]
    places: Sequence[Sequence[int]]  # by arm, the slots of its programs
    samples: int
    share: float
    end: TrialEnd | None
    stop: Callable[[], bool]
    look: Look = field(default_factory=Look)

    @property
    def _running(self) -> list[Arm]:
        return [arm for place, arm in enumerate(self.arms) if place not in self.look.out]

    @property
    def slots(self) -> list[Sequence[int]]:
        """Where packets go, by arm."""
        return [s for place, s in enumerate(self.places) if place not in self.look.out]

    @property
    def calm(self) -> list[int]:
        """Windows that count."""
        windows = range(len(self.arms[0]._rows))
        return [place for place in windows if place not in self.look.disturbed]

    @property
    def fewest(self) -> int:
        """Samples of the arm that has the fewest."""
        calm = self.calm
        return min(sum(int(arm._rows[p].sum()) for p in calm) for arm in self._running)

    def is_over(self) -> bool:
        """Called after each window."""
        if self.end is not None:
            self.look = self.end.look([np.array(arm._rows) for arm in self.arms])
        enough = len(self.calm) >= MIN_WINDOWS and self.fewest >= self.samples
        return self.look.done or enough

    def result(self, place: int) -> ArmResult:
        """Of the arm there."""
        arm, calm = self.arms[place], self.calm
        last, first = arm._last, arm._first
        assert last is not None and first is not None
        by_verdict = np.array(arm._by_verdict)[calm]
        return ArmResult(
            name=arm.name,
            packets=int(last["packets"].sum()),
            bytes=int(last["bytes"].sum()),
            verdicts=last["verdicts"].sum(axis=0),
            misses=last["misses"].sum(axis=0),
            windows=np.array(arm._rows)[calm],
            verdict_samples=by_verdict[:, 0],
            verdict_ns=by_verdict[:, 1],
            stopped=place in self.look.stopped,
            behind=place in self.look.behind,
            left_out=len(self.look.disturbed),
        )


class Trials:
    """Runs trials on a switchboard; puts everything back as it was, also after an error."""

    def __init__(self, board: Switchboard, builder: Builder, *, seed: int = 0) -> None:
        self._board = board
        template, insns = builder.helper("dispatcher")
        self._dispatcher = board.state.load(insns, "dispatcher", template=template)
        self._schedule_type = template.structs["schedule"]
        self._rng = np.random.default_rng(seed)

    def run(
        self,
        arms: Sequence[Arm],
        *,
        standing: Standing,
        samples: int,
        share: float = 1.0,
        timeout_s: float = 10.0,
        stop: Callable[[], bool] = lambda: False,
        end: TrialEnd | None = None,
    ) -> list[ArmResult]:
        """Measure arms together until each has ``samples`` timed packets, or ``end`` has enough.

        An arm that ``end`` takes out gets no more packets; its result has what came until then, and
        says why. Packets that no arm gets (``share`` below 1) go to what is live. Raises
        MeasurementError when the traffic did not bring enough samples in ``timeout_s``.
        """
        places = self._place(arms)
        trial = _Trial(arms=arms, places=places, samples=samples, share=share, end=end, stop=stop)
        self._plan(trial.slots, share)
        self._board.put(RESTING, standing.live)
        self._board.put(FALLBACK, standing.fallback)
        self._board.put(ENTRY, self._dispatcher)
        try:
            self._collect(trial, timeout_s)
        finally:
            self._board.put(ENTRY, standing.live)
            self._board.put(FALLBACK, standing.generic)
        return [trial.result(place) for place in range(len(arms))]

    def _place(self, arms: Sequence[Arm]) -> list[list[int]]:
        """Put every program into a slot; the slots by arm. Copies get those that no arm has."""
        taken = {FIRST_ARM + arm.number for arm in arms}
        free = (slot for slot in range(FIRST_ARM, OBSERVING) if slot not in taken)
        places = []
        for arm in arms:
            self._board.state["arm_stats"].zero(arm.number)
            slots = [FIRST_ARM + arm.number, *(next(free) for _ in arm.copies)]
            for slot, program in zip(slots, (arm.program, *arm.copies), strict=True):
                self._board.put(slot, program)
            places.append(slots)
        return places

    def only(self, slot: int) -> None:
        """While the dispatcher stands: all packets to one slot."""
        self._plan([[slot]], 1.0)

    def enter(self) -> None:
        """Put the dispatcher into slot 0."""
        self._board.put(ENTRY, self._dispatcher)

    def _plan(self, slots: Sequence[Sequence[int]], share: float) -> None:
        """A shuffled order in which each arm has the same number of runs, but for a rest of one,
        and so has each of its programs (``slots`` by arm)."""
        given = max(len(slots), round(SCHEDULE_RUNS * share)) if share < 1 else SCHEDULE_RUNS
        rest = [RESTING] * (SCHEDULE_RUNS - given)
        turns = [(i // len(slots), slots[i % len(slots)]) for i in range(given)]
        order = np.array([arm[turn % len(arm)] for turn, arm in turns] + rest)
        plan = np.zeros(1, dtype=self._schedule_type)
        plan[0]["run_bits"] = RUN_BITS
        plan[0]["slots"] = self._rng.permutation(order)
        self._board.state["schedule"].write(0, plan)

    def _collect(self, trial: _Trial, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        self._read(trial.arms)  # the first window starts here, with every arm warm
        for arm in trial.arms:
            arm._rows.clear()
            arm._by_verdict.clear()
        while True:
            time.sleep(WINDOW_S)
            self._read(trial.arms)
            slots = trial.slots
            if trial.is_over():
                return
            if trial.slots != slots:
                self._plan(trial.slots, trial.share)
            if trial.stop() or time.monotonic() > deadline:
                raise MeasurementError(
                    f"the traffic brought {trial.fewest} of {trial.samples} samples "
                    f"in {timeout_s:.1f} s",
                    cure="more traffic, or a smaller [policy] sample_shift",
                )

    def _read(self, arms: Sequence[Arm]) -> None:
        for arm in arms:
            now = self._board.state["arm_stats"].read(arm.number)
            assert now is not None
            if arm._first is None:
                arm._first = now
            if arm._last is not None:
                delta = now["histogram"].astype(np.int64) - arm._last["histogram"]
                arm._rows.append(delta.sum(axis=0))
                arm._by_verdict.append(_by_verdict(now) - _by_verdict(arm._last))
            arm._last = now

    def close(self) -> None:
        """Give the dispatcher back."""
        self._dispatcher.close()


def _by_verdict(rows: Records) -> NDArray[np.int64]:
    """Samples and nanoseconds of each verdict, over all CPUs; shape (2, verdicts)."""
    sums = [
        rows[member].sum(axis=0, dtype=np.int64) for member in ("verdict_samples", "verdict_ns")
    ]
    return np.array(sums)
