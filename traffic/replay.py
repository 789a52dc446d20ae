# SPDX-License-Identifier: GPL-2.0-only
"""A capture sent again with its timing, through a packet socket, counted.

The gaps between packets are those of the capture, divided by a speed. A packet is never sent
early; how late each one was is measured and told, because a process that is not scheduled in
time can not keep a gap. For more packets per second than a process can send, the generators are
there: `traffic send --pcap` and `traffic pktgen`.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from iridescent_xdp.errors import TrafficError
from traffic.pcap import Capture

SPIN_NS = 200_000  # a sleep ends this long before the time, at most; the rest is spun
FULL_WAIT_S = 0.0005  # for a queue of the interface that is full
PATIENCE_S = 5.0  # no queue stays full that long, unless nothing is sent any more
MAX_SPEED = 1_000_000.0


@dataclass(frozen=True, kw_only=True)
class Pace:
    """When packets go: ``speed`` times as fast as captured, None without any waiting."""

    speed: float | None = 1.0

    def __post_init__(self) -> None:
        if self.speed is not None and not 0 < self.speed <= MAX_SPEED:
            raise TrafficError(
                f"0 < speed <= {MAX_SPEED:,.0f} must hold, got {self.speed}",
                cure="1.0 is as captured, 2.0 twice as fast, max does not wait",
            )

    def due_ns(self, gaps_ns: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
        """When each of ``count`` packets is due, from the first one on; all 0 without waiting.

        A gap below zero (a capture that goes back in time) is no gap. The capture starts again
        after its own mean gap.
        """
        if self.speed is None:
            return np.zeros(count, dtype=np.int64)
        gaps = np.maximum(gaps_ns, 0).astype(np.float64)
        gaps[0] = gaps[1:].mean() if len(gaps) > 1 else 0.0
        repeated = np.resize(gaps, count)
        repeated[:1] = 0.0
        return np.asarray(np.cumsum(repeated) / self.speed, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What was sent and when.

    ``late_ns`` is how long after its time each packet was handed to the kernel; ``waits`` how
    often the interface's queue was full; ``backwards`` gaps below zero that the capture has.
    """

    sent: int
    sent_bytes: int
    seconds: float
    planned_seconds: float
    late_ns: npt.NDArray[np.int64] = field(repr=False)
    waits: int = 0
    backwards: int = 0

    @property
    def pps(self) -> float:
        """Packets per second, over the whole time."""
        return self.sent / self.seconds if self.seconds > 0 else 0.0

    def late_us(self, percent: float) -> float:
        """A percentile of the lateness in microseconds."""
        return float(np.percentile(self.late_ns, percent)) / 1000 if self.sent else 0.0


@dataclass(frozen=True, kw_only=True)
class Clock:
    """The time in nanoseconds, and how to wait."""

    now_ns: Callable[[], int] = time.monotonic_ns
    sleep: Callable[[float], None] = time.sleep

    def until(self, due_ns: int) -> int:
        """Wait for a time; returns what it is then. Never early."""
        now = self.now_ns()
        while now < due_ns:
            if due_ns - now > SPIN_NS:
                self.sleep((due_ns - now - SPIN_NS) / 1e9)
            now = self.now_ns()
        return now


def replay(
    capture: Capture,
    send: Callable[[bytes], object],
    *,
    pace: Pace | None = None,
    count: int | None = None,
    clock: Clock | None = None,
) -> Replayed:
    """Hand ``count`` packets of a capture (all of them, once, by default) to ``send`` in time.

    ``send`` raises OSError with ENOBUFS when it has to be tried again; other errors become
    TrafficError.
    """
    pace, clock = pace or Pace(), clock or Clock()
    stream = capture.stream
    count = len(stream.sequence) if count is None else count
    due_ns = pace.due_ns(capture.gaps_ns, count)
    late_ns = np.zeros(count, dtype=np.int64)
    sent_bytes = waits = 0
    began = clock.now_ns()
    for place, frame in enumerate(stream.frames(0, count)):
        now = began + int(due_ns[place])
        if pace.speed is not None:
            late_ns[place] = clock.until(now) - now
        waits += _sent(send, frame, place, clock)
        sent_bytes += len(frame)
    return Replayed(
        sent=count,
        sent_bytes=sent_bytes,
        seconds=(clock.now_ns() - began) / 1e9,
        planned_seconds=float(due_ns[-1]) / 1e9 if count else 0.0,
        late_ns=late_ns,
        waits=waits,
        backwards=int((capture.gaps_ns < 0).sum()),
    )


def _sent(send: Callable[[bytes], object], frame: bytes, place: int, clock: Clock) -> int:
    """Send one frame; returns how often the queue was full before it had room."""
    for waits in _attempts(clock):
        try:
            send(frame)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise _refused(error, frame, place) from error
        else:
            return waits
    raise TrafficError(
        f"packet {place + 1}: the interface took nothing for {PATIENCE_S} s",
        cure="is the link up? see 'ip -s link'",
    )


def _attempts(clock: Clock) -> Iterator[int]:
    for waits in range(round(PATIENCE_S / FULL_WAIT_S)):
        yield waits
        clock.sleep(FULL_WAIT_S)


def _refused(error: OSError, frame: bytes, place: int) -> TrafficError:
    cures = {
        errno.EMSGSIZE: "it is longer than the interface's MTU: raise that, or filter the capture",
        errno.ENETDOWN: "'ip link set DEV up'",
    }
    return TrafficError(
        f"packet {place + 1} of {len(frame)} bytes could not be sent: {error.strerror}",
        cure=cures.get(error.errno or 0, ""),
    )


def packet_socket(interface: str) -> socket.socket:
    """A socket whose ``send`` puts whole frames on an interface; it receives nothing.

    Must be called in the interface's network namespace. Raises OSError.
    """
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        made.bind((interface, 0))
    except OSError:
        made.close()
        raise
    return made
