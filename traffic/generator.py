# SPDX-License-Identifier: GPL-2.0-only
"""The in-kernel generator: millions of packets per second from a stream, counted exactly.

A BPF program, run by the kernel on live frames (Linux 5.18), writes the next packet of the
stream and redirects it into a veth. The same program can call a program under test instead:
``StreamTimer`` tells what a program costs when it meets the stream packet by packet.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Protocol, Self

import numpy as np

from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import TrafficError
from iridescent_xdp.kernel.known_programs import KnownPrograms
from iridescent_xdp.kernel.maps import Map
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.kernel.testrun import LIVE_BATCH, MAX_LIVE_BATCH, run_live
from iridescent_xdp.state import State
from iridescent_xdp.template import Template
from traffic.calm import Calm

SEQUENCE = 65_536
MAX_FRAMES = 4096
HEAD_BYTES = 248
CALL = 1 << 18  # packets per system call: each call costs about 25 ms of set-up and teardown
FRESH_S = 0.15  # what the generator costs is measured anew after that
SENDERS = 2  # threads on one CPU: one sends while the other's call is set up or torn down


class StreamLike(Protocol):
    """What is sent: distinct frames, and indices into them, SEQUENCE of them."""

    @property
    def packets(self) -> Sequence[bytes]:
        """Distinct frames."""

    @property
    def sequence(self) -> np.ndarray:
        """Indices into them."""


def fill(template: Template, maps: Mapping[str, Map], stream: StreamLike) -> None:
    """Write a stream into the maps ``frames`` and ``sequence`` of the generator program.

    Raises TrafficError when it does not fit.
    """
    packets = list(stream.packets)
    if not 0 < len(packets) <= MAX_FRAMES or len(stream.sequence) != SEQUENCE:
        raise TrafficError(
            f"a stream has 1 to {MAX_FRAMES} frames and {SEQUENCE} positions, "
            f"got {len(packets)} and {len(stream.sequence)}"
        )
    table = np.zeros(1, dtype=template.structs["frames"])
    for row, packet in zip(table[0]["frames"], packets, strict=False):
        head = packet[:HEAD_BYTES]
        row["length"], row["bytes"] = len(packet), len(head)
        row["data"][: len(head)] = np.frombuffer(head, dtype=np.uint8)
    maps["frames"].write(0, table)
    maps["sequence"].write(0, np.asarray(stream.sequence, dtype=np.uint16).tobytes())


class _Source:
    """The generator program on its own maps, filled from a stream."""

    def __init__(self, builder: Builder, stream: StreamLike, delivery: int) -> None:
        template, insns = builder.helper("generator", delivery=delivery)
        self.state = State.create(template)
        fill(template, self.state.maps, stream)
        self.frame = max(stream.packets, key=len)
        self.program: Program = self.state.load(insns, "generator")

    def rewind(self) -> None:
        """Start again at the stream's first position, with a frame as the kernel makes it."""
        self.state["position"].zero()

    @property
    def made(self) -> int:
        """Packets made on all CPUs."""
        rows = self.state["position"].read()
        return int(rows["made"].sum()) if rows is not None else 0

    def close(self) -> None:
        self.program.close()
        self.state.close()


class Generator:
    """Sends a stream into an interface of the namespace it is made in.

    Nothing is lost on a veth whose receiving end runs on the same CPU, outside a thread. With
    ``flood`` the ring of a veth is filled each time: more is sent than is taken, and lost.
    """

    def __init__(
        self,
        builder: Builder,
        stream: StreamLike,
        ifindex: int,
        *,
        cpu: int = 0,
        flood: bool = False,
    ) -> None:
        self._source = _Source(builder, stream, delivery=0)
        self._source.state["port"].write(0, ifindex.to_bytes(4, "little"))
        self._cpu = cpu
        self._batch = MAX_LIVE_BATCH if flood else LIVE_BATCH
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._failure: OSError | None = None
        self.started = 0.0

    @property
    def sent(self) -> int:
        """Packets sent since it was made, exactly."""
        return self._source.made

    def send(self, count: int) -> None:
        """Send ``count`` packets now, from this thread, on the chosen CPU."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self._cpu})
        try:
            while count > 0:
                packets = min(count, CALL)
                self._run(packets)
                count -= packets
        finally:
            os.sched_setaffinity(0, before)

    def start(self, *, pps: float | None = None) -> None:
        """Send in the background until ``stop``; at full speed, or at about ``pps``."""
        self._stop.clear()
        self._failure = None
        self.started = time.monotonic()
        senders = SENDERS if pps is None else 1
        for _ in range(senders):
            thread = threading.Thread(target=self._loop, args=(pps,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _loop(self, pps: float | None) -> None:
        os.sched_setaffinity(0, {self._cpu})
        packets = CALL if pps is None else max(64, min(CALL, int(pps / 10) // 64 * 64))
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                self._run(packets)
            except OSError as error:
                self._failure = error
                return
            if pps is not None:
                due += packets / pps
                self._stop.wait(max(0.0, due - time.monotonic()))

    def _run(self, packets: int) -> None:
        source = self._source
        run_live(source.program.fd, source.frame, repeat=packets, batch=self._batch)

    def stop(self) -> int:
        """End the background sending; returns ``sent``. Raises TrafficError if it had failed."""
        self._join()
        if self._failure is not None:
            raise TrafficError(f"the generator failed: {self._failure}")
        return self.sent

    def close(self) -> None:
        """Stop and give everything back."""
        self._join()
        self._source.close()

    def _join(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StreamTimer:
    """Nanoseconds per packet of programs that meet a stream, without a network.

    A test run of the generator calls the program for each packet. What the generator itself
    costs is measured with an empty program and taken off; what a test run of an empty program
    costs (the floor) is left in, as a plain test run would show it. A program may move the head of
    the frame (encapsulation): the generator puts it back before the next packet, by a call that it
    makes for all programs, the empty one as well. It must not move the tail.

    The kernel reports whole nanoseconds, too coarse for a comparison of two fast programs. So
    the calling thread's CPU time is divided by ``repeat``; it leaves out what the kernel waits
    for before a run. What every run costs before its first packet (0.3 ms) is taken off.
    """

    def __init__(self, builder: Builder, stream: StreamLike, *, repeat: int = SEQUENCE) -> None:
        self._source = _Source(builder, stream, delivery=1)
        template, insns = builder.helper("empty")
        self._empty_state = State.create(template)
        self.empty = self._empty_state.load(insns, "empty")
        self._known = KnownPrograms()  # else the kernel waits for 25 ms around each run
        for program in (self._source.program, self.empty):
            self._known.add(program)
        self.repeat, self.patience = repeat, 0.0
        self._set_up_ns = self._based_at = 0.0
        self._calibrate()

    def _calibrate(self) -> None:
        """What a run costs beside its packets: the shortest one that is set up like a long one."""
        self._set_up_ns = float(min(_thread_ns(self.empty, self._source.frame, 2) for _ in "123"))

    def _mean_ns(self, program: Program) -> float:
        spent_ns = _thread_ns(program, self._source.frame, self.repeat)
        return (spent_ns - self._set_up_ns) / self.repeat

    def raw_ns(self, program: Program) -> float:
        """Generator plus program, mean nanoseconds per packet over ``repeat`` packets."""
        self._source.state["target"].write(0, program.fd.to_bytes(4, "little"))
        self._source.rewind()
        return self._mean_ns(self._source.program)

    def floor_ns(self) -> float:
        """A plain test run of the empty program."""
        return self._mean_ns(self.empty)

    def rounds(
        self, programs: Mapping[str, Program], n: int, *, before: Callable[[], None] | None = None
    ) -> dict[str, list[float]]:
        """``n`` interleaved rounds over all programs, after one to warm up; in nanoseconds.

        Each round has another order, so that no program always comes after the same one. What the
        generator costs is measured anew all the time. With ``patience`` what a busy neighbour
        disturbed is measured again (traffic/calm.py).
        """
        calm = Calm(self.patience)
        results: dict[str, list[float]] = {name: [] for name in programs}
        order, random = list(programs), Random(n)
        for number in range(n + 1):
            if before is not None:
                before()
            base = calm.measured(self._base_ns)
            random.shuffle(order)
            for name in order:
                if time.monotonic() - self._based_at > FRESH_S:
                    base = calm.measured(self._base_ns)
                value = calm.measured(partial(self.raw_ns, programs[name])) - base
                if number:
                    results[name].append(value)
        return results

    def _base_ns(self) -> float:
        """The generator alone, now."""
        self._calibrate()
        base_ns = self.raw_ns(self.empty) - self.floor_ns()
        self._based_at = time.monotonic()
        return base_ns

    def close(self) -> None:
        """Give everything back."""
        self._known.close()
        self.empty.close()
        self._empty_state.close()
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _thread_ns(program: Program, frame: bytes, repeat: int) -> int:
    began = time.thread_time_ns()
    program.time_ns(frame, repeat)
    return time.thread_time_ns() - began
