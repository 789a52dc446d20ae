# SPDX-License-Identifier: GPL-2.0-only
"""Programs under live traffic: the generator sends into a veth, the program is at its other end.

Two ways to keep the program on one core. *Inline*: the kernel runs the receiving end where the
sender runs, so both share one core, and nothing is lost. *Threaded*: the receiving end has a
kernel thread on a core of its own (threaded NAPI), the sender brings more than it can take, and
the figure is what one core can do with packets that are there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.kernel.program import Program
from traffic.generator import Generator, StreamLike
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, Testbed, inside
from traffic.threaded_napi import thread_napi

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

    ``supplied`` is what the sender brought per packet that was counted.
    """

    mpps: Mapping[str, Sequence[float]]
    supplied: float

    @property
    def saturated(self) -> bool:
        """Whether the receiver was the limit."""
        return self.supplied > OVERSUPPLY


class Dut:
    """A rig on the receiving end of a testbed; a context manager.

    ``threaded`` gives the receiving end a core of its own. Slot 0 holds the generic program and the
    link holds the root.
    """

    def __init__(self, rig: Rig, stream: StreamLike, *, threaded: bool) -> None:
        self.rig = rig
        sender, receiver = cpus()
        with ExitStack() as stack:
            testbed = stack.enter_context(Testbed())
            with inside(testbed.generator):
                port = find_interface(GENERATOR_SIDE).index
                generator = Generator(rig.builder, stream, port, cpu=sender)
                self.generator = stack.enter_context(generator)
            rig.enter(rig.generic)
            with inside(testbed.dut):
                self.interface = find_interface(DUT_SIDE)
                self.link = Link.attach(rig.root(), self.interface, "native")
            stack.callback(self.link.close)
            self.attached = rig.root()
            if threaded:
                thread_napi(testbed.dut, DUT_SIDE, receiver)
            self._stack = stack.pop_all()

    def attach(self, program: Program) -> None:
        """Replace what the link holds."""
        self.link.replace(program, self.attached)
        self.attached = program

    def turns(self, enter: Mapping[str, Callable[[], None]], n: int, seconds: float) -> Rates:
        """``n`` interleaved turns of ``seconds`` each under full load.

        ``enter`` makes a program live, by name. Raises MeasurementError when nothing arrived.
        """
        mpps: dict[str, list[float]] = {name: [] for name in enter}
        sent = counted = 0
        self.generator.start()
        try:
            time.sleep(WARM_UP_S)
            for number in range(n):
                for name in list(enter)[:: 1 if number % 2 == 0 else -1]:
                    enter[name]()
                    time.sleep(seconds / 4)  # what was under way
                    packets, brought, taken_s = self._turn(seconds)
                    mpps[name].append(packets / taken_s / 1e6)
                    counted += packets
                    sent += brought
        finally:
            self.generator.stop()
        if not counted:
            raise MeasurementError("no packet arrived", cure="run 'iridescent doctor'")
        return Rates(mpps=mpps, supplied=sent / counted)

    def _turn(self, seconds: float) -> tuple[int, int, float]:
        """Packets counted, packets sent, and the time they took; longer on a busy machine."""
        packets, sent, began = self.rig.packets(), self.generator.sent, time.perf_counter()
        while True:
            time.sleep(seconds)
            counted, taken_s = self.rig.packets() - packets, time.perf_counter() - began
            if counted >= MIN_PACKETS or taken_s > PATIENCE_S:
                return counted, self.generator.sent - sent, taken_s

    def close(self) -> None:
        """Detach and remove the testbed."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
