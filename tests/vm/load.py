# SPDX-License-Identifier: GPL-2.0-only
"""Load from the other end of the wire, counted by who sends it.

The wire holds 65,536 packets per queue and loses what is more, so that load comes in bursts that
fit, each of which has to be taken before the next one. What was sent is what the kernel's generator
says that the driver took.

``VM_LOAD=frames`` sends the same packets from the in-kernel generator: for work on this suite on a
machine without the pktgen module, over a veth pair.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from scapy.layers.inet import IP, UDP

from iridescent_xdp.builder import Builder
from iridescent_xdp.kernel.netlink import find_interface
from tests.kernel.live import stream_of
from tests.vm.rig import Rig
from traffic.functional_ports import mac_of
from traffic.functional_scene import Ends, filled
from traffic.generator import Generator
from traffic.pktgen import Pktgen, PktgenReport
from traffic.pktgen_plan import DESTINATIONS, SOURCES, Kind, PktgenPlan
from traffic.testbed import inside

BURST = 50_000
RUN_S = 600.0


class Source(Protocol):
    """Sends its packets when told, in the background."""

    def start(self) -> None:
        """Begin one burst."""

    @property
    def busy(self) -> bool:
        """Whether the burst is under way."""

    def wait(self, seconds: float) -> int:
        """Packets of that burst, when all are sent."""


@dataclass
class PktgenSource:
    """The kernel's generator in the sender's namespace."""

    rig: Rig
    generator: Pktgen
    reports: list[PktgenReport] = field(default_factory=list)

    def start(self) -> None:
        with inside(self.rig.gen.namespace):
            self.generator.start()

    @property
    def busy(self) -> bool:
        return self.generator.running

    def wait(self, seconds: float) -> int:
        with inside(self.rig.gen.namespace):
            self.reports.append(self.generator.wait(seconds))
        assert self.reports[-1].errors == 0, self.reports[-1]
        return self.reports[-1].sent


class FrameSource:
    """The same packets by the in-kernel generator, for the development of this suite."""

    def __init__(self, rig: Rig, kind: Kind) -> None:
        frames = list(frames_of(rig, kind))
        with inside(rig.gen.namespace):
            index = find_interface(rig.gen.interface).index
            self._generator = Generator(Builder("llvm"), stream_of(frames), index)
        self._count = kind.count
        self._thread = threading.Thread()

    def start(self) -> None:
        self._before = self._generator.sent
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while (left := self._count - (self._generator.sent - self._before)) > 0:
            with contextlib.suppress(InterruptedError):  # of a test run, by any signal
                self._generator.send(left)

    @property
    def busy(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> int:
        self._thread.join(seconds)
        return self._generator.sent - self._before

    def close(self) -> None:
        self._generator.close()


def frames_of(rig: Rig, kind: Kind) -> Iterator[bytes]:
    """What pktgen makes of a kind of untagged IPv4 packets, apart from its payload."""
    ends = Ends(interface="", mac=kind.destination_mac, far_mac=mac_of(rig.gen))
    source, first = kind.source or SOURCES[4], kind.destination or DESTINATIONS[4]
    low, high = kind.destination_ports
    for number in range(kind.distinct):
        ip = IP(src=str(source), dst=str(first + number % kind.destinations), id=number)
        ports = UDP(sport=kind.source_ports[0], dport=low + number % (high - low + 1), chksum=0)
        yield bytes(filled(ends.link / ip / ports, kind.size_bytes))


class Traffic:
    """Makes sources, and sends with them."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def kind(self, **fields: object) -> Kind:
        """A kind of packets to the MAC address of the interface under test."""
        return replace(Kind(destination_mac=mac_of(self.rig.dut)), **fields)  # type: ignore[arg-type]

    @contextmanager
    def source(
        self, *kinds: Kind, cpus: Sequence[int] = (0,), clone: int = 0, burst: int = 1
    ) -> Iterator[Source]:
        """A source of these kinds; one at a time."""
        if os.environ.get("VM_LOAD") == "frames":
            made = FrameSource(self.rig, *kinds)
            try:
                yield made
            finally:
                made.close()
            return
        plan = PktgenPlan(name="vm", kinds=kinds)
        with inside(self.rig.gen.namespace):
            generator = Pktgen(self.rig.gen.interface, plan, cpus=cpus, clone=clone, burst=burst)
        try:
            yield PktgenSource(self.rig, generator)
        finally:
            with inside(self.rig.gen.namespace):
                generator.close()

    def bursts(
        self,
        source: Source,
        total: int,
        arrived: Callable[[], int],
        meanwhile: Callable[[], object] = lambda: time.sleep(0.01),
        enough: Callable[[], bool] = lambda: True,
    ) -> int:
        """Send ``total`` packets or more, until ``enough``; ``meanwhile`` is called all the time.

        After each burst everything has to have arrived, or this fails with both numbers. Returns
        what was sent.
        """
        sent, before = 0, arrived()
        while sent < total or not enough():
            source.start()
            while source.busy:
                meanwhile()
            sent += source.wait(RUN_S)
            self.settled(sent, lambda: arrived() - before)
        return sent

    def settled(self, sent: int, arrived: Callable[[], int]) -> None:
        """Everything that was sent has arrived, and nothing else."""
        deadline = time.monotonic() + 15.0 * self.rig.slow
        while (found := arrived()) < sent and time.monotonic() < deadline:
            time.sleep(0.01)
        assert found == sent, f"{sent:,} packets sent, {found:,} arrived"
