# SPDX-License-Identifier: GPL-2.0-only
"""A cheap look at live traffic, now and then, while a variant is live.

For some milliseconds the link holds the root and slot 0 the sensor (bpf/sensor.bpf.c). It samples
packet headers, and sends the sampled packets through builds of the live variant and of the generic
code that count and time; all others go to the live variant. Then everything is put back. What can
be known without looking is read in between: packets from the interface, misses from the live
variant. The lock is held for the swaps only, so a search or a change of tables that comes meanwhile
goes first, and the look ends there. While a search goes on its own thread may look at headers
(``peek``), between two windows of a trial, or two builds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from struct import pack
from typing import Self

import numpy as np

from iridescent_xdp.adapt.groups import Counts, miss_groups, missable, verdict_group
from iridescent_xdp.adapt.reading import Reading, ReadingStatus, no_times
from iridescent_xdp.adapt.received import Received
from iridescent_xdp.adapt.samples import FlowView, header_groups
from iridescent_xdp.adapt.signature import MISSES, Group, Signature
from iridescent_xdp.adapt.stand_ins import StandIns, bare, make_stand_ins
from iridescent_xdp.controller import Controller
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.live import TablesChangedError
from iridescent_xdp.switchboard import ENTRY, FALLBACK

SLOT_LIVE, SLOT_REFERENCE, SLOT_SENSED = 61, 62, 63  # bpf/sensor.bpf.c says the same
LOOK_S = 0.02  # at most
SHORTEST_S = 0.002  # packets come in trains; a look should see several
WANTED_SAMPLES = 512
WANTED_SEEN = 16 * WANTED_SAMPLES  # packets that a look waits for
FEWEST = 4  # packets that a look has to expect, else nobody looks
MAX_GAP_BITS = 16


class Sensor:
    """Looks at one controller's interface; made and closed in the interface's namespace.

    One thread calls ``sense``; searches and changes of tables may run in others.
    """

    def __init__(
        self, controller: Controller, *, wait: Callable[[float], object] = time.sleep
    ) -> None:
        self._controller = controller
        self._wait = wait
        self._received = Received(controller.interface.index)
        self._stand_ins: StandIns | None = None
        self._program: Program | None = None  # what slot 0 gets
        self._flows = FlowView()
        self._number = time.monotonic_ns()  # of a look: no other sensor had it before
        self._begin()

    def reset(self) -> None:
        """Forget the flows and counts so far: after a search, or a change of tables."""
        self._flows.reset()
        self._begin()

    def _begin(self) -> None:
        self._last_ns = time.monotonic_ns()
        self._packets = self._received.packets()
        self._counts = Counts.read(self._controller.state)
        self._variant = self._controller.live_variant

    # -- reading ---------------------------------------------------------------------------

    def sense(self, seconds: float = LOOK_S, *, at_once: bool = False) -> Reading:
        """Look until some thousand packets should have come by, for ``seconds`` at most.

        With ``at_once`` nothing is built for it: without times and verdicts if need be. Raises
        AttachError when somebody else changed the interface, and OSError when it is gone.
        """
        packets, pps = self._came()
        stand_s = _stand_s(seconds, pps)
        if pps * stand_s < FEWEST:
            return self._told(ReadingStatus.FEW) if packets else self._nothing_came()
        try:
            stand_ins = self._ready() if at_once else self.prepared()
        except TablesChangedError:
            return self._told(ReadingStatus.ASIDE)
        stood_s = self._look(stand_ins, stand_s, _gaps(pps * stand_s))
        return self._told(ReadingStatus.LOOKED if stood_s else ReadingStatus.ASIDE, stood_s)

    def peek(self, seconds: float = LOOK_S) -> Reading:
        """As ``sense``, from the thread that searches, while it does: headers only, no link update.

        Arms get no packet meanwhile. Verdicts, misses and times are the search's own business.
        """
        _, pps = self._came()
        stand_s = _stand_s(seconds, pps)
        if pps * stand_s < FEWEST:
            return self._nothing_came()
        stood_s = self._peek(stand_s, _gaps(pps * stand_s))
        status = ReadingStatus.LOOKED if stood_s else ReadingStatus.ASIDE
        return self._told(status, stood_s, headers_only=True)

    def _nothing_came(self) -> Reading:
        self._last_ns = time.monotonic_ns()
        return Reading(at_ns=self._last_ns, status=ReadingStatus.FEW)

    def _came(self) -> tuple[int, float]:
        """Packets since the last reading, and how many that is in a second."""
        packets = max(0, self._received.packets() - self._packets)
        return packets, packets / max(1e-6, (time.monotonic_ns() - self._last_ns) / 1e9)

    def _told(
        self, status: ReadingStatus, stood_s: float = 0.0, *, headers_only: bool = False
    ) -> Reading:
        """What was counted since the last reading; all of it until now."""
        before, self._counts = self._counts, Counts.read(self._controller.state)
        packets, pps = self._came()
        self._last_ns, self._packets = time.monotonic_ns(), self._packets + packets
        new = self._counts.since(before)
        groups: dict[str, Group] = {}
        if self._variant == self._controller.live_variant and not headers_only:
            groups |= miss_groups(new, packets, missable(self._controller))
        self._variant = self._controller.live_variant
        if len(new.samples):
            groups |= header_groups(new.samples) | self._flows.groups(new.samples["flow"])
            groups |= verdict_group(new)
        return Reading(
            at_ns=self._last_ns,
            status=status,
            signature=Signature(groups=groups),
            packets=packets,
            pps=pps,
            misses={
                name.removeprefix(MISSES): group.shares["miss"]
                for name, group in groups.items()
                if name.startswith(MISSES)
            },
            times=new.times if stood_s else no_times(),
            reference_times=new.reference_times if stood_s else no_times(),
            seen=new.seen,
            stood_ms=stood_s * 1000,
        )

    # -- looking ---------------------------------------------------------------------------

    def prepared(self) -> StandIns:
        """What stands around a look at what is live now. Raises TablesChangedError."""
        if self._stand_ins is None or not self._stand_ins.fit(self._controller):
            if self._controller.searching:
                raise TablesChangedError("a search is on")
            self._drop()
            self._stand_ins = make_stand_ins(self._controller)
        return self._stand_ins

    def _ready(self) -> StandIns:
        """What there is already, for what is live now."""
        if self._stand_ins is not None and self._stand_ins.fit(self._controller):
            return self._stand_ins
        return bare(self._controller)

    def _look(self, stand_ins: StandIns, seconds: float, gaps: int) -> float:
        """Seconds that the sensor stood; 0 when it stepped aside."""
        controller = self._controller
        with controller.lock:
            if controller.searching or not stand_ins.fit(controller):
                return 0.0
            board = controller.board
            board.check(controller.interface)
            held = board.held
            self._plan(gaps)
            try:
                self._stand(stand_ins)
            except BaseException:
                self._put_back(stand_ins, held)
                raise
        began = time.perf_counter()
        try:
            self._wait(seconds)
        finally:
            ended = self._put_back(stand_ins, held)
        return ended - began if ended else 0.0

    def _plan(self, gaps: int) -> None:
        self._number += 1
        self._controller.state["sensing"].write(0, pack("<QQ", self._number, gaps))

    def _stand(self, stand_ins: StandIns) -> None:
        board = self._controller.board
        sensor = self._around(stand_ins.sensed, stand_ins.reference)
        board.through_root()
        if stand_ins.fallback is not None:
            board.put(FALLBACK, stand_ins.fallback)
        board.put(ENTRY, sensor)

    def _around(self, sensed: Program | None, reference: Program | None) -> Program:
        """Fill the sensor's slots; the sensor, in the record as what is live."""
        controller, sensor = self._controller, self.program
        self._fill(SLOT_LIVE, controller.live)
        self._fill(SLOT_SENSED, sensed)
        self._fill(SLOT_REFERENCE, reference)
        known = controller.record.programs.get(str(sensor.info.prog_id), {})
        if known.get("key") != controller.live_variant.key:
            controller.remember(sensor, controller.live_variant)
        return sensor

    @property
    def program(self) -> Program:
        """The sensor itself, loaded once."""
        if self._program is None:
            controller = self._controller
            template, insns = controller.builder.helper("sensor")
            self._program = controller.state.load(insns, "sensor", template=template)
        return self._program

    def _peek(self, seconds: float, gaps: int) -> float:
        """As ``_look``: in slot 0 instead of what the search has there."""
        controller = self._controller
        board = controller.board
        with controller.lock:
            before = board.entry
            if not controller.searching or before is None or board.held is not board.root:
                return 0.0
            self._plan(gaps)
            sensor = self._around(None, None)
            board.put(ENTRY, sensor)
        began = time.perf_counter()
        try:
            self._wait(seconds)
        finally:
            with controller.lock:
                board.put(ENTRY, before)
        return time.perf_counter() - began

    def _put_back(self, stand_ins: StandIns, held: Program) -> float:
        """As it was before the look, unless somebody else decided otherwise meanwhile.

        Returns when the sensor stopped to stand, 0 when somebody else did that.
        """
        controller = self._controller
        with controller.lock:
            board = controller.board
            ours = board.entry is self._program
            if ours:
                board.put(ENTRY, controller.live)
            ended = time.perf_counter()
            fallback = stand_ins.fallback
            if fallback is not None and board.expected.get(FALLBACK) == fallback.info.prog_id:
                board.put(FALLBACK, controller.generic)
            if not controller.searching and held is controller.live:
                board.direct(controller.live)
            return ended if ours else 0.0

    def _fill(self, slot: int, program: Program | None) -> None:
        board = self._controller.board
        if program is None:
            if board.expected.get(slot):
                board.clear(slot)
        elif board.expected.get(slot) != program.info.prog_id:
            board.put(slot, program)

    # -- leaving ---------------------------------------------------------------------------

    def _drop(self) -> None:
        """Give back what stood around looks at something else."""
        if self._stand_ins is None:
            return
        with self._controller.lock:
            for slot in (SLOT_LIVE, SLOT_SENSED, SLOT_REFERENCE):
                self._fill(slot, None)
        self._stand_ins.close()
        self._stand_ins = None

    def close(self) -> None:
        """Give everything back, before the controller is closed."""
        self._drop()
        if self._program is not None:
            self._program.close()
            self._program = None
        self._received.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _stand_s(seconds: float, pps: float) -> float:
    """Until as many packets should have come as a look waits for, ``seconds`` at most."""
    return min(seconds, max(SHORTEST_S, WANTED_SEEN / pps)) if pps else 0.0


def _gaps(expected: float) -> int:
    """The largest gap between samples, less one: a power of two, less one (see sensor.bpf.c)."""
    wanted = max(1.0, 2 * expected / WANTED_SAMPLES)
    return (1 << min(MAX_GAP_BITS, int(np.log2(wanted)))) - 1
