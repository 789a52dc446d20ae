# SPDX-License-Identifier: GPL-2.0-only
"""When a replay sends what: on a clock of its own, and on the machine's."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest

from iridescent_xdp.errors import TrafficError
from tests.unit.test_cli import error_lines, run
from traffic.mix_stream import Stream
from traffic.pcap import Capture, read_pcap, write_pcap
from traffic.replay import FULL_WAIT_S, PATIENCE_S, Clock, Pace, replay

MS = 1_000_000


class Ticking:
    """A clock that only sleeping, sending and looking at it move."""

    def __init__(self, *, send_ns: int = 0) -> None:
        self.time_ns, self.send_ns = 5_000, send_ns
        self.slept: list[float] = []
        self.sent: list[tuple[int, bytes]] = []

    def now(self) -> int:
        self.time_ns += 1_000
        return self.time_ns

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time_ns += round(seconds * 1e9)

    def send(self, frame: bytes) -> None:
        self.sent.append((self.time_ns, frame))
        self.time_ns += self.send_ns

    @property
    def clock(self) -> Clock:
        return Clock(now_ns=self.now, sleep=self.sleep)

    def gaps(self) -> list[int]:
        return [int(gap) for gap in np.diff([when for when, _ in self.sent])]


def capture(*gaps_ms: float) -> Capture:
    packets = tuple(bytes([number]) * 60 for number in range(len(gaps_ms)))
    numbers = np.arange(len(packets), dtype=np.uint32)
    stream = Stream(name="test", packets=packets, sequence=numbers)
    return Capture(stream=stream, gaps_ns=np.array([g * MS for g in gaps_ms], dtype=np.int64))


@pytest.mark.parametrize(("speed", "factor"), [(1.0, 1.0), (2.0, 0.5), (0.25, 4.0)])
def test_gaps_are_kept(speed: float, factor: float) -> None:
    ticking = Ticking()
    done = replay(capture(0, 10, 3, 50), ticking.send, pace=Pace(speed=speed), clock=ticking.clock)
    wanted = [gap * factor * MS for gap in (10, 3, 50)]
    assert ticking.gaps() == pytest.approx(wanted, abs=3_000)
    assert [frame[0] for _, frame in ticking.sent] == [0, 1, 2, 3]
    assert (done.sent, done.sent_bytes, done.waits, done.backwards) == (4, 240, 0, 0)
    assert done.planned_seconds == pytest.approx(0.063 * factor)
    assert done.late_us(100) < 3


def test_no_packet_is_early() -> None:
    ticking = Ticking()
    done = replay(capture(0, 0.1, 7, 0.3), ticking.send, clock=ticking.clock)
    assert (done.late_ns >= 0).all()
    began = ticking.sent[0][0]
    due = np.cumsum([0, 0.1, 7, 0.3]) * MS
    assert all(when - began >= at - 2_000 for (when, _), at in zip(ticking.sent, due, strict=True))


def test_a_slow_sender_is_told_and_catches_up() -> None:
    """Times are those of the capture, so that being late does not add up."""
    ticking = Ticking(send_ns=4 * MS)
    done = replay(capture(0, 1, 1, 1, 100), ticking.send, clock=ticking.clock)
    assert [round(late / MS) for late in done.late_ns] == [0, 3, 6, 9, 0]
    assert done.late_us(100) == pytest.approx(9_000, rel=0.01)


def test_a_capture_that_goes_back_in_time() -> None:
    ticking = Ticking()
    done = replay(capture(0, 5, -3, 5), ticking.send, clock=ticking.clock)
    assert ticking.gaps() == pytest.approx([5 * MS, 0, 5 * MS], abs=3_000)
    assert done.backwards == 1


def test_more_packets_than_captured() -> None:
    """The capture begins again, after its mean gap."""
    ticking = Ticking()
    done = replay(capture(0, 2, 4), ticking.send, count=7, clock=ticking.clock)
    assert [frame[0] for _, frame in ticking.sent] == [0, 1, 2, 0, 1, 2, 0]
    wanted = [gap * MS for gap in (2, 4, 3, 2, 4, 3)]
    assert ticking.gaps() == pytest.approx(wanted, abs=3_000)
    assert done.sent == 7


def test_without_waiting() -> None:
    ticking = Ticking()
    done = replay(
        capture(0, 9_000, 9_000), ticking.send, pace=Pace(speed=None), clock=ticking.clock
    )
    assert ticking.slept == [] and done.planned_seconds == 0 and not done.late_ns.any()


def test_a_full_queue_is_waited_for() -> None:
    ticking, refusals = Ticking(), [3, 0, 1]

    def send(frame: bytes) -> None:
        if refusals[frame[0]]:
            refusals[frame[0]] -= 1
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        ticking.send(frame)

    done = replay(capture(0, 0, 0), send, clock=ticking.clock)
    assert (done.sent, done.waits) == (3, 4)
    assert [s for s in ticking.slept if s == FULL_WAIT_S] == [FULL_WAIT_S] * 4


def test_a_queue_that_stays_full() -> None:
    ticking = Ticking()

    def send(frame: bytes) -> None:
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    with pytest.raises(
        TrafficError, match=f"packet 1: the interface took nothing for {PATIENCE_S}"
    ):
        replay(capture(0), send, clock=ticking.clock)


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EMSGSIZE, "MTU"), (errno.ENETDOWN, "ip link set")]
)
def test_other_refusals(number: int, told: str) -> None:
    def send(frame: bytes) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(TrafficError, match=f"packet 1 of 60 bytes could not be sent.*{told}"):
        replay(capture(0, 1), send)


@pytest.mark.parametrize("speed", [0.0, -1.0, 1e9])
def test_a_speed_out_of_range(speed: float) -> None:
    with pytest.raises(TrafficError, match="0 < speed <= 1,000,000 must hold"):
        Pace(speed=speed)


def test_on_the_real_clock() -> None:
    """The machine may make packets late, never early."""
    times: list[int] = []
    began = time.monotonic_ns()
    done = replay(capture(0, 5, 5), lambda frame: times.append(time.monotonic_ns()))
    assert times[1] - began >= 5 * MS and times[2] - began >= 10 * MS
    assert done.seconds >= 0.010 and (done.late_ns >= 0).all()


def test_the_timing_of_a_file_survives(tmp_path: Path) -> None:
    made = capture(0, 1.5, 2.25)
    write_pcap(tmp_path / "x.pcap", made.stream, gaps_ns=made.gaps_ns)
    read = read_pcap(tmp_path / "x.pcap")
    assert (Pace().due_ns(read.gaps_ns, 3) == [0, 1.5 * MS, 3.75 * MS]).all()


def test_an_unreadable_file_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "noise.pcap"
    path.write_bytes(b"this is no capture at all")
    result = run("traffic", "replay", path, "--interface", "lo")
    assert result.exit_code == 7
    (line,) = error_lines(result)
    assert "noise.pcap" in line and "tcpdump -w" in line


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--speed", "fast"], 2, "--speed must be a number or max, got 'fast'"),
        (["--speed", "-1"], 7, "0 < speed"),
        (["--count", "0"], 2, "0 is not in the range"),
    ],
)
def test_mistakes_on_the_command_line(
    tmp_path: Path, words: list[str], code: int, told: str
) -> None:
    made = capture(0, 1)
    write_pcap(tmp_path / "x.pcap", made.stream)
    result = run("traffic", "replay", tmp_path / "x.pcap", "--interface", "lo", *words)
    assert result.exit_code == code
    assert told in result.stderr
