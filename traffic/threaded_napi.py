# SPDX-License-Identifier: GPL-2.0-only
"""Give an interface's receive path a kernel thread, whose CPU time can be read (threaded NAPI,
Linux 5.12).

Run as a process: the switch is a file in /sys, which shows the interfaces of the namespace it was
mounted in, so this enters the namespace and mounts a /sys nobody else sees.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from iridescent_xdp.errors import MissingFeatureError
from iridescent_xdp.kernel import syscall

PRIORITY = 1  # the lowest of real-time threads


class NapiThread:
    """The kernel thread that polls an interface's only queue.

    It is not preempted by ordinary threads, nor by another of its kind: it takes all that is there.
    (Otherwise each poll wakes the next thread, and the switch costs as much as the packets.)
    """

    def __init__(self, process: Path, cpu: int) -> None:
        os.sched_setaffinity(int(process.name), {cpu})
        os.sched_setscheduler(int(process.name), os.SCHED_FIFO, os.sched_param(PRIORITY))
        self._schedstat = process / "schedstat"

    def busy_ns(self) -> int:
        """CPU time it has used: packets per second of it is what one core could receive."""
        return int(self._schedstat.read_text().split()[0])


def thread_napi(namespace: str, interface: str, cpu: int) -> NapiThread:
    """Call after a program is attached; the thread is bound to ``cpu``.

    Raises MissingFeatureError when the kernel has no such thread.
    """
    command = [sys.executable, "-m", "traffic.threaded_napi", namespace, interface]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    process = _find(f"napi/{interface}-") if run.returncode == 0 else None
    if process is None:
        raise MissingFeatureError(
            f"no threaded NAPI for '{interface}'", cure="Linux 5.12 or newer, as root"
        )
    return NapiThread(process, cpu)


def _find(name: str) -> Path | None:
    """The youngest process whose name begins so."""
    found: list[Path] = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().startswith(name):
                found.append(comm.parent)
        except OSError:
            continue  # a process that ended meanwhile
    return max(found, key=lambda process: int(process.name), default=None)


def _main(namespace: str, interface: str) -> None:
    fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    syscall.setns(fd)
    os.close(fd)
    syscall.private_sysfs()
    Path(f"/sys/class/net/{interface}/threaded").write_text("1")


if __name__ == "__main__":
    _main(*sys.argv[1:3])
