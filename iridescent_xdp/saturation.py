# SPDX-License-Identifier: GPL-2.0-only
"""Throughput, and the second observer: generic and the winner alone on the interface, by turns.

Each turn all packets go to one arm. Packets per second come from the arm's own counter; the
kernel's program statistics (BPF_ENABLE_STATS, Linux 5.8, on only meanwhile) give nanoseconds per
run of everything behind the root. When they rank the two differently, that is said.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from iridescent_xdp.arms import Workshop
from iridescent_xdp.controller import Controller
from iridescent_xdp.kernel import bpf
from iridescent_xdp.measure import Arm, Trials
from iridescent_xdp.statistics import Effect, ratio
from iridescent_xdp.switchboard import ENTRY, FALLBACK, FIRST_ARM

TURNS = 9
TURN_S, SHORT_S = 0.02, 0.006  # all packets meet generic in half of them, so they are short
PLENTY = 2500  # packets in a short turn that are enough


@dataclass(frozen=True, kw_only=True)
class Saturation:
    """Ratios of the winner over generic: throughput, and time as the kernel counts it."""

    throughput: Effect | None
    kernel_time: Effect | None
    generic_pps: float
    winner_pps: float

    @property
    def agrees(self) -> bool:
        """Whether the kernel's statistics see the winner ahead too."""
        return self.kernel_time is None or self.kernel_time.value > 1

    def numbers(self) -> dict[str, object]:
        """For an event."""
        return {
            "throughput_ratio": self.throughput,
            "kernel_time_ratio": self.kernel_time,
            "generic_pps": self.generic_pps,
            "winner_pps": self.winner_pps,
            "agrees": self.agrees,
        }


@dataclass(frozen=True)
class _Turn:
    pps: float
    kernel_ns: float


def saturate(
    controller: Controller, shop: Workshop, trials: Trials, winner: Arm
) -> Saturation | None:
    """Alternate TURNS times; None when no traffic flowed in some turn."""
    board = controller.board
    arms = (shop.generic, winner)
    turns: tuple[list[_Turn], list[_Turn]] = ([], [])
    seconds = TURN_S
    board.put(FIRST_ARM + winner.number, winner.program)
    board.put(FALLBACK, shop.fallback)
    try:
        with _statistics():
            trials.only(FIRST_ARM + arms[0].number)
            trials.enter()
            for number in range(2 * TURNS):
                arm = arms[number % 2]
                trials.only(FIRST_ARM + arm.number)
                turns[number % 2].append(_turn(controller, arm, seconds))
                if number == 1:
                    slower = min(done[0].pps for done in turns)
                    seconds = min(TURN_S, max(SHORT_S, PLENTY / max(1.0, slower)))
    finally:
        board.put(ENTRY, controller.live)
        board.put(FALLBACK, controller.generic)
    return _summary(*turns)


@contextlib.contextmanager
def _statistics() -> Iterator[None]:
    """On meanwhile. Without CAP_SYS_ADMIN they stay off, and the second observer sees nothing."""
    try:
        fd = bpf.enable_stats()
    except PermissionError:
        yield
        return
    try:
        yield
    finally:
        os.close(fd)


def _turn(controller: Controller, arm: Arm, seconds: float) -> _Turn:
    root = controller.board.root.fd
    time.sleep(seconds / 5)  # what was under way when the schedule changed
    before, packets, began = bpf.prog_info(root), _packets(controller, arm), time.perf_counter()
    time.sleep(seconds)
    if _packets(controller, arm) == packets:
        time.sleep(TURN_S)  # between two trains of packets
    after, count = bpf.prog_info(root), _packets(controller, arm) - packets
    took_s = time.perf_counter() - began
    runs = after.run_count - before.run_count
    kernel_ns = (after.run_time_ns - before.run_time_ns) / runs if runs else 0.0
    return _Turn(count / took_s, kernel_ns)


def _packets(controller: Controller, arm: Arm) -> int:
    rows = controller.state["arm_stats"].read(arm.number)
    return int(rows["packets"].sum()) if rows is not None else 0


def _summary(generic: list[_Turn], winner: list[_Turn]) -> Saturation | None:
    if not all(t.pps > 0 for t in (*generic, *winner)):
        return None
    kernel = all(t.kernel_ns > 0 for t in (*generic, *winner))
    return Saturation(
        throughput=ratio([t.pps for t in winner], [t.pps for t in generic]),
        kernel_time=ratio([t.kernel_ns for t in generic], [t.kernel_ns for t in winner])
        if kernel
        else None,
        generic_pps=sorted(t.pps for t in generic)[len(generic) // 2],
        winner_pps=sorted(t.pps for t in winner)[len(winner) // 2],
    )
