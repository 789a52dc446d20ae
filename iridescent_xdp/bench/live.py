# SPDX-License-Identifier: GPL-2.0-only
"""Programs under live traffic: the generator sends into a veth, the program is at its other end.

Sender and receiver share one core. *Inline*: the kernel runs the receiving end in the sender's
call, nothing is lost, and packets per second contain the sender. *Threaded*: the receiving end is
a kernel thread (threaded NAPI) that finds a full ring each time it runs and is not preempted, and
packets per second of the thread's own CPU time are what one core can receive. Where packets are
sent on, the other end is such a thread too, and its time is not the program's.

Two cores are not used: each packet's memory then moves between them, and what that costs depends
on where the hypervisor has put them (55 or 350 ns for a cache line there and back were seen on the
same machine within a minute, and the second is more than a program takes).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Self

from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.subject import Leaves, Subject
from iridescent_xdp.bench.wiring import Wiring
from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.kernel.program import Program
from traffic.generator import Generator, StreamLike, StreamTimer
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, inside
from traffic.threaded_napi import NapiThread, thread_napi

WARM_UP_S = 0.2
MIN_PACKETS, PATIENCE_S = 10_000, 3.0  # a turn ends with the first of them


def cpus() -> tuple[int, int]:
    """A CPU for the sender and one for everything else; the same when there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Millions of packets per second by name, one for each turn.

    ``received`` takes the receiving thread's own time, where there is one. ``supplied`` is what the
    sender brought per packet that was counted, ``arrived`` the share of those that came to the sink
    (by all turns together).
    """

    mpps: Mapping[str, Sequence[float]]
    received: Mapping[str, Sequence[float]]
    supplied: float
    arrived: float


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """Packets counted and sent, in so much time; ``busy_ns`` of it in the receiving thread."""

    packets: int
    sent: int
    taken_ns: int
    busy_ns: int
    arrived: int

    def __sub__(self, before: _Turn) -> _Turn:
        return _Turn(
            **{name: value - getattr(before, name) for name, value in asdict(self).items()}
        )


class Dut:
    """A function on the receiving end of a testbed of its own; a context manager.

    The rig has learned what the stream hits. Slot 0 holds the generic program and the link holds
    the root.
    """

    def __init__(
        self, builder: Builder, subject: Subject, stream: StreamLike, *, threaded: bool
    ) -> None:
        cpu = cpus()[0]
        self.threaded = threaded
        self.sinks = subject.leaves is not Leaves.DROPPED
        with ExitStack() as stack:
            wiring = Wiring(builder, subject.leaves, threaded=threaded, cpu=cpu)
            self.wiring = stack.enter_context(wiring)
            testbed = wiring.testbed
            with inside(testbed.generator):
                port = find_interface(GENERATOR_SIDE).index
                generator = Generator(builder, stream, port, cpu=cpu, flood=threaded)
                self.generator = stack.enter_context(generator)
            with inside(testbed.dut):
                tables = subject.tables(wiring.egress)
                rig = Rig(builder, subject, tables, policy=subject.live_policy)
                self.rig = stack.enter_context(rig)
                with StreamTimer(builder, stream) as timer:
                    rig.learn(timer)
                rig.enter(rig.generic)
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

    @contextmanager
    def traffic(self) -> Iterator[None]:
        """Under full load."""
        self.generator.start()
        try:
            time.sleep(WARM_UP_S)
            yield
        finally:
            self.generator.stop()

    def turns(self, enter: Mapping[str, Callable[[], None]], n: int, seconds: float) -> Rates:
        """``n`` interleaved turns of ``seconds`` each under full load.

        ``enter`` makes a program live, by name. Raises MeasurementError when nothing arrived.
        """
        turns: dict[str, list[_Turn]] = {name: [] for name in enter}
        with self.traffic():
            for number in range(n):
                for name in list(enter)[:: 1 if number % 2 == 0 else -1]:
                    enter[name]()
                    time.sleep(seconds / 4)  # what was under way
                    turns[name].append(self._turn(seconds))
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
            arrived=sum(turn.arrived for some in turns.values() for turn in some) / counted,
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
            arrived=self.wiring.arrived,
        )

    def close(self) -> None:
        """Detach and remove the testbed."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
