# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's packet generator, driven through /proc/net/pktgen.

It sends from kernel threads, one per CPU, through the driver of any interface: a NIC in a virtual
machine too, where the in-kernel generator (live frames) needs a driver with XDP transmit. What
was sent is read back from the kernel, not assumed. The devices are always taken away again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from iridescent_xdp.errors import MissingFeatureError, TrafficError
from traffic.pktgen_plan import PktgenPlan, divided
from traffic.pktgen_text import Reading, parse_device, parse_thread

# of the calling thread: its network namespace may be another one than the process's
TREE = Path("/proc/thread-self/net/pktgen")
CONTROL = "pgctrl"
POLL_S = 0.02
STOP_S, STOP_AGAIN_S = 60.0, 0.25  # an emulated processor takes its time
ENOTSUPP = 524  # the kernel's own number, which <errno.h> does not have

_CURE = "modprobe pktgen; it is in Debian's linux-image packages, not in its 'cloud' ones"
_REFUSALS = {
    ENOTSUPP: "its driver can not send the same packet twice: use clone=0 and burst=1",
    errno.ENODEV: "there is no such interface in this network namespace",
    errno.ENETDOWN: "the interface is down: 'ip link set DEV up'",
    errno.EPERM: "run as root, or grant CAP_NET_ADMIN",
    errno.EACCES: "run as root, or grant CAP_NET_ADMIN",
    errno.EBUSY: "another thread has it",
}


@dataclass(frozen=True, kw_only=True)
class PktgenReport:
    """What was sent: one reading for each device, and their sums."""

    readings: tuple[Reading, ...]

    @property
    def sent(self) -> int:
        """Packets that the driver took."""
        return sum(reading.sent for reading in self.readings)

    @property
    def errors(self) -> int:
        """Packets that the driver refused."""
        return sum(reading.errors for reading in self.readings)

    @property
    def seconds(self) -> float:
        """From the first start to the last end."""
        started = min(reading.started_us for reading in self.readings)
        return (max(reading.stopped_us for reading in self.readings) - started) / 1e6

    @property
    def pps(self) -> float:
        """All devices together, 0 when nothing ran."""
        return self.sent / self.seconds if self.seconds > 0 else 0.0


class Pktgen:
    """Devices of one interface on one or more threads; a context manager that removes them.

    ``cpus`` names the threads (kpktgend_N) and divides the counts among them; each sends on a
    queue of its own where the interface has several. Devices are called INTERFACE@NUMBER.
    Everything, ``start`` too, must be done in the interface's network namespace.

    Raises MissingFeatureError without the module, TrafficError when a thread has devices already
    (they are somebody else's, and would start too) or the kernel refuses a setting.
    """

    def __init__(
        self,
        interface: str,
        plan: PktgenPlan,
        *,
        cpus: Sequence[int] = (0,),
        clone: int = 0,
        burst: int = 1,
        tree: Path = TREE,
    ) -> None:
        self.interface = interface
        self._tree = tree
        self._threads = tuple(f"kpktgend_{cpu}" for cpu in cpus)
        self.devices: list[str] = []
        self._runner: threading.Thread | None = None
        self._failure: TrafficError | None = None
        _demand_tree(tree, self._threads)
        for thread in _threads_of(tree):
            self._demand_free(thread)
        try:
            self._add(plan, clone, burst)
        except BaseException:
            self.close()
            raise

    def _add(self, plan: PktgenPlan, clone: int, burst: int) -> None:
        parts = divided(plan, len(self._threads))
        for thread, part in zip(self._threads, parts, strict=True):
            for kind in part.kinds:
                device = f"{self.interface}@{len(self.devices)}"
                self._write(thread, f"add_device {device}")
                self.devices.append(device)
                for line in kind.commands(clone=clone, burst=burst):
                    self._write(device, line)

    def run(self) -> PktgenReport:
        """Send everything and wait for it; returns what was sent."""
        self.start()
        return self.wait()

    def start(self) -> None:
        """Send in the background; ``wait`` or ``stop`` end it."""
        if self._runner is not None:
            raise TrafficError("pktgen was started before: call wait() or stop() first")
        self._failure = None
        # a thread begins in the network namespace of the one that starts it
        self._runner = threading.Thread(target=self._send, daemon=True)
        self._runner.start()

    @property
    def running(self) -> bool:
        """Whether it sends in the background."""
        return self._runner is not None and self._runner.is_alive()

    def wait(self, seconds: float | None = None) -> PktgenReport:
        """Until all is sent. Raises TrafficError when it is not after ``seconds``, or failed."""
        if self._runner is not None:
            self._runner.join(seconds)
            if self._runner.is_alive():
                sent = self.read().sent
                raise TrafficError(f"pktgen still sends after {seconds} s, {sent:,} packets so far")
            self._runner = None
        if self._failure is not None:
            raise self._failure
        return self.read()

    def stop(self) -> PktgenReport:
        """End it now; returns what was sent by then. Raises TrafficError when it does not end."""
        until = time.monotonic() + STOP_S
        while self._runner is not None and self.running and time.monotonic() < until:
            self._write(CONTROL, "stop")  # again, as it is forgotten when it comes before the start
            self._runner.join(STOP_AGAIN_S)
        return self.wait(0.0)

    def read(self) -> PktgenReport:
        """What the kernel says was sent so far, for each device."""
        return PktgenReport(
            readings=tuple(
                parse_device(device, self._file(device).read_text()) for device in self.devices
            )
        )

    def close(self) -> None:
        """Stop, and remove the devices from their threads."""
        if self._runner is not None:
            with contextlib.suppress(TrafficError):
                self.stop()
        for thread in self._threads if self.devices else ():
            self._write(thread, "rem_device_all")
        self.devices.clear()

    def _send(self) -> None:
        """Start, and wait until the kernel has written each device's result.

        The write returns when no device is running. That is also so before the first one is: the
        kernel gives its threads an eighth of a second to begin, and on a busy machine they do not.
        """
        try:
            before = {reading.device: reading.started_us for reading in self.read().readings}
            self._write(CONTROL, "start")
            while not all(
                reading.done and reading.started_us != before[reading.device]
                for reading in self.read().readings
            ):
                time.sleep(POLL_S)
        except TrafficError as error:
            self._failure = error

    def _demand_free(self, thread: str) -> None:
        found = parse_thread(thread, self._file(thread).read_text())
        if found:
            raise TrafficError(
                f"pktgen's {thread} already has {', '.join(found)}, which would start too",
                cure=f"when they are nobody's: echo rem_device_all > /proc/net/pktgen/{thread}",
            )

    def _file(self, name: str) -> Path:
        return self._tree / name

    def _write(self, name: str, line: str) -> None:
        """One command; the kernel takes one per write, and cuts the last character of some."""
        try:
            fd = os.open(self._file(name), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(fd, f"{line}\n".encode())
            finally:
                os.close(fd)
        except OSError as error:
            number = error.errno or 0
            reason = "" if number == ENOTSUPP else f": {error.strerror}"
            raise TrafficError(
                f"pktgen refuses '{line}' for {name}{reason}", cure=_REFUSALS.get(number, "")
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _threads_of(tree: Path) -> list[str]:
    return sorted(path.name for path in tree.glob("kpktgend_*"))


def _demand_tree(tree: Path, threads: Sequence[str]) -> None:
    if not (tree / CONTROL).exists():
        raise MissingFeatureError("this kernel has no packet generator loaded", cure=_CURE)
    there = _threads_of(tree)
    for thread in threads:
        if thread not in there:
            known = ", ".join(name.rpartition("_")[2] for name in there)
            raise TrafficError(
                f"pktgen has no thread for CPU {thread.rpartition('_')[2]}",
                cure=f"it has one for CPU {known}",
            )
