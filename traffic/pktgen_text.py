# SPDX-License-Identifier: GPL-2.0-only
"""What the files of /proc/net/pktgen say, as text and as values.

The format is that of Documentation/networking/pktgen.rst, "Viewing devices" and "Viewing
threads"; it has been the same since Linux 2.6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from iridescent_xdp.errors import TrafficError

_CURRENT = re.compile(r"^\s*pkts-sofar:\s*(\d+)\s+errors:\s*(\d+)", re.MULTILINE)
_TIMES = re.compile(r"^\s*started:\s*(\d+)us\s+stopped:\s*(\d+)us\s+idle:\s*(\d+)us", re.MULTILINE)
_COUNT = re.compile(r"^Params: count (\d+)", re.MULTILINE)
_RESULT = re.compile(r"^Result: ([^\n]*)", re.MULTILINE)
_RATE = re.compile(r"^\s*(\d+)pps ", re.MULTILINE)
_ENDED = re.compile(r"OK: \d+\(c\d+\+d\d+\) usec")
_LISTS = re.compile(r"^(Running|Stopped):([^\n]*)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One device after (or during) a run.

    ``sent`` are the packets that the driver took, ``errors`` those that it refused: those are not
    in ``sent``. Times are microseconds since the boot. ``pps`` is 0 before the first result.
    """

    device: str
    sent: int
    errors: int
    wanted: int
    started_us: int
    stopped_us: int
    idle_us: int
    pps: int
    result: str

    @property
    def seconds(self) -> float:
        """How long it sent."""
        return (self.stopped_us - self.started_us) / 1e6

    @property
    def done(self) -> bool:
        """Whether a run has come to its end: the result has its times, or an error."""
        return bool(_ENDED.match(self.result)) or self.failed

    @property
    def failed(self) -> bool:
        """Whether the kernel says that the last command, or the run, went wrong."""
        return not self.result.startswith(("OK", "Idle", "Starting"))


def parse_device(device: str, text: str) -> Reading:
    """What a device's file says. Raises TrafficError when it is not of that format."""
    current, times, count = _CURRENT.search(text), _TIMES.search(text), _COUNT.search(text)
    result, rate = _RESULT.search(text), _RATE.search(text)
    if current is None or times is None or count is None or result is None:
        raise TrafficError(f"pktgen's file of '{device}' can not be read: {_shown(text)}")
    return Reading(
        device=device,
        sent=int(current[1]),
        errors=int(current[2]),
        wanted=int(count[1]),
        started_us=int(times[1]),
        stopped_us=int(times[2]),
        idle_us=int(times[3]),
        pps=int(rate[1]) if rate else 0,
        result=result[1].strip(),
    )


def parse_thread(thread: str, text: str) -> list[str]:
    """The devices of a thread, running or not. Raises TrafficError for another format."""
    lists = _LISTS.findall(text)
    if {name for name, _ in lists} != {"Running", "Stopped"}:
        raise TrafficError(f"pktgen's file of '{thread}' can not be read: {_shown(text)}")
    return [device for _, devices in lists for device in devices.split()]


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return f"'{line[:80]}'" if line else "it is empty"
