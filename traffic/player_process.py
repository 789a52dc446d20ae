# SPDX-License-Identifier: GPL-2.0-only
"""The process that sends a scenario: nothing else in Python runs in it.

It is told the whole plan as one line of JSON on standard input and begins with the next line; it
ends early when standard input is closed. What happens goes to standard output, one line of JSON
each, with times of CLOCK_MONOTONIC. One thread does everything, so between two live runs no packet
is on its way, and the time of a switch is exact.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from statistics import median
from typing import TypedDict

from iridescent_xdp.kernel import bpf
from iridescent_xdp.kernel.testrun import LIVE_BATCH, run_live

CALL = 8192  # packets of one live run at full speed, between 1 and 2 ms
BURST_NS = 1_000_000  # below full speed one burst in so much time, or of LIVE_BATCH packets
CATCH_UP_NS = 20_000_000  # what is later than this is not made up for
WINDOW_NS, WINDOWS = 20_000_000, 5  # of these the median is full speed, after one to warm up


class PhasePlan(TypedDict):
    """``program`` is a descriptor; ``changes`` are nanoseconds after the phase's begin."""

    program: int
    length_ns: int
    rate: float
    changes: list[int]


class PlayPlan(TypedDict):
    """Descriptors, the frame that live runs begin with, and the phases.

    ``full_pps`` 0: full speed is measured first, with packets of ``warm_up``, if a phase is slower.
    """

    cpu: int
    player: int
    slot: int
    warm_up: int
    frame: str
    full_pps: float
    phases: list[PhasePlan]


class Sender:
    """Sends one plan."""

    def __init__(self, plan: PlayPlan) -> None:
        self._plan = plan
        self._frame = bytes.fromhex(plan["frame"])
        self._full_pps = plan["full_pps"]

    def play(self) -> bool:
        """All phases; False when it was stopped before their end."""
        os.sched_setaffinity(0, {self._plan["cpu"]})
        if not self._full_pps and any(phase["rate"] < 1 for phase in self._plan["phases"]):
            self._full_pps = self._full_speed()
            tell(event="full_speed", pps=self._full_pps)
        end_ns = time.monotonic_ns()
        for number, phase in enumerate(self._plan["phases"]):
            at_ns = self._enter(phase["program"])
            tell(event="switch", phase=number, at_ns=at_ns)
            end_ns += phase["length_ns"]
            if not self._phase(number, phase, at_ns, end_ns):
                return False
        return True

    def _full_speed(self) -> float:
        """Packets per second."""
        self._enter(self._plan["warm_up"])
        rates: list[float] = []
        for _ in range(WINDOWS + 1):
            began_ns, packets = time.monotonic_ns(), 0
            while time.monotonic_ns() < began_ns + WINDOW_NS:
                self._run(CALL)
                packets += CALL
            rates.append(packets / (time.monotonic_ns() - began_ns) * 1e9)
        return median(rates[1:])

    def _enter(self, program: int) -> int:
        """Make a program's packets from now on; returns when that was."""
        at_ns = time.monotonic_ns()
        bpf.map_update(self._plan["slot"], bytes(4), program.to_bytes(4, "little"))
        return at_ns

    def _phase(self, number: int, phase: PhasePlan, began_ns: int, end_ns: int) -> bool:
        """Until ``end_ns``; False when it was stopped."""
        pps = phase["rate"] * self._full_pps if phase["rate"] < 1 else 0.0
        packets = burst_of(pps) if pps else CALL
        due_ns = began_ns
        changes = [began_ns + change for change in phase["changes"]]
        told = 0
        while (now_ns := time.monotonic_ns()) < end_ns or told < len(changes):
            if stopped():
                return False
            if told < len(changes) and now_ns >= min(changes[told], end_ns):
                tell(event="change", phase=number, change=told, at_ns=now_ns)
                told += 1
            elif pps and now_ns < due_ns:
                wake_ns = min([due_ns, end_ns, *changes[told : told + 1]])
                time.sleep(max(0, wake_ns - now_ns) / 1e9)
            else:
                self._run(packets)
                if pps:
                    due_ns = max(due_ns + round(packets / pps * 1e9), now_ns - CATCH_UP_NS)
        return True

    def _run(self, packets: int) -> None:
        # A stop of the whole process (as a container is frozen) cuts a run short. Nothing is wrong
        # then: what was sent is counted where it is made.
        with contextlib.suppress(InterruptedError):
            run_live(self._plan["player"], self._frame, repeat=packets)


def burst_of(pps: float) -> int:
    """Packets of a burst: whole batches, at least one."""
    return max(1, round(pps * BURST_NS / 1e9 / LIVE_BATCH)) * LIVE_BATCH


def stopped() -> bool:
    """Whether whoever started this process has closed standard input, or is gone."""
    return bool(select.select([0], [], [], 0)[0])


def tell(**event: object) -> None:
    """One line to whoever started this process."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main() -> None:
    """See the module."""
    sender = Sender(json.loads(os.fdopen(0, "rb", buffering=0, closefd=False).readline()))
    tell(event="ready")
    if os.read(0, 1):
        try:
            tell(event="end", finished=sender.play(), at_ns=time.monotonic_ns())
        except OSError as error:
            tell(event="failed", error=str(error))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
