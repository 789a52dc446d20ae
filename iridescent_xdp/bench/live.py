# SPDX-License-Identifier: GPL-2.0-only
"""Programs under live traffic: the generator sends into a veth, the program is at its other end.

Sender and receiver share one core. *Inline*: the kernel runs the receiving end in the sender's
call, nothing is lost, and packets per second contain the sender. *Threaded*: the receiving end is
a kernel thread (threaded NAPI), the sender brings more than it takes, and packets per second of
the thread's own CPU time are what one core can receive.

Two cores are not used: each packet's memory then moves between them, and what that costs depends
on where the hypervisor has put them (55 or 350 ns for a cache line there and back were seen on the
same machine within a minute, and the second is more than a program takes).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Self

from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.kernel.program import Program
from traffic.generator import Generator, StreamLike
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, Testbed, inside
from traffic.threaded_napi import NapiThread, thread_napi

WARM_UP_S = 0.2
MIN_PACKETS, PATIENCE_S = 10_000, 3.0  # a turn ends with the first of them
OVERSUPPLY = 1.02  # a sender that brings less did not saturate the receiver


def cpus() -> tuple[int, int]:
    """A CPU for the sender and one for everything else; the same when there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Millions of packets per second by name, one for each turn.

    ``received`` takes the receiving thread's own time, where there is one. ``supplied`` is what the
    sender brought per packet that was counted.
    """

    mpps: Mapping[str, Sequence[float]]
    received: Mapping[str, Sequence[float]]
    supplied: float

    @property
    def saturated(self) -> bool:
        """Whether the receiver was the limit."""
        return self.supplied > OVERSUPPLY


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """Packets counted and sent, in so much time; ``busy_ns`` of it in the receiving thread."""

    packets: int
    sent: int
    taken_ns: int
    busy_ns: int

    def __sub__(self, before: _Turn) -> _Turn:
        return _Turn(
            **{name: value - getattr(before, name) for name, value in asdict(self).items()}
        )


class Dut:
    """A rig on the receiving end of a testbed; a context manager.

    Slot 0 holds the generic program and the link holds the root.
    """

    def __init__(self, rig: Rig, stream: StreamLike, *, threaded: bool) -> None:
        self.rig = rig
        cpu = cpus()[0]
        with ExitStack() as stack:
            testbed = stack.enter_context(Testbed())
            with inside(testbed.generator):
                port = find_interface(GENERATOR_SIDE).index
                generator = Generator(rig.builder, stream, port, cpu=cpu, flood=threaded)
                self.generator = stack.enter_context(generator)
            rig.enter(rig.generic)
            with inside(testbed.dut):
                self.interface = find_interface(DUT_SIDE)
                self.link = Link.attach(rig.root(), self.interface, "native")
            stack.callback(self.link.close)
            self.attached = rig.root()
            self._thread: NapiThread | None = None
            if threaded:
                self._thread = thread_napi(testbed.dut, DUT_SIDE, cpu)
            self._stack = stack.pop_all()

    def attach(self, program: Program) -> None:
        """Replace what the link holds."""
        self.link.replace(program, self.attached)
        self.attached = program

    def turns(self, enter: Mapping[str, Callable[[], None]], n: int, seconds: float) -> Rates:
        """``n`` interleaved turns of ``seconds`` each under full load.

        ``enter`` makes a program live, by name. Raises MeasurementError when nothing arrived.
        """
        turns: dict[str, list[_Turn]] = {name: [] for name in enter}
        self.generator.start()
        try:
            time.sleep(WARM_UP_S)
            for number in range(n):
                for name in list(enter)[:: 1 if number % 2 == 0 else -1]:
                    enter[name]()
                    time.sleep(seconds / 4)  # what was under way
                    turns[name].append(self._turn(seconds))
        finally:
            self.generator.stop()
        counted = sum(turn.packets for some in turns.values() for turn in some)
        if not counted:
            raise MeasurementError("no packet arrived", cure="run 'iridescent doctor'")
        return Rates(
            mpps={
                name: [t.packets / t.taken_ns * 1e3 for t in some] for name, some in turns.items()
            },
            received={
                name: [t.packets / t.busy_ns * 1e3 for t in some if t.busy_ns]
                for name, some in turns.items()
            },
            supplied=sum(turn.sent for some in turns.values() for turn in some) / counted,
        )

    def _turn(self, seconds: float) -> _Turn:
        """One reading; longer on a busy machine."""
        before = self._reading()
        while True:
            time.sleep(seconds)
            turn = self._reading() - before
            if turn.packets >= MIN_PACKETS or turn.taken_ns > PATIENCE_S * 1e9:
                return turn

    def _reading(self) -> _Turn:
        return _Turn(
            packets=self.rig.packets(),
            sent=self.generator.sent,
            taken_ns=time.perf_counter_ns(),
            busy_ns=self._thread.busy_ns() if self._thread else 0,
        )

    def close(self) -> None:
        """Detach and remove the testbed."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
