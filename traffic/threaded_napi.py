# SPDX-License-Identifier: GPL-2.0-only
"""Give an interface's receive path a kernel thread on a CPU of its own (threaded NAPI, 5.12).

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


def thread_napi(namespace: str, interface: str, cpu: int) -> None:
    """Call after a program is attached. Raises MissingFeatureError when the kernel refuses."""
    command = [sys.executable, "-m", "traffic.threaded_napi", namespace, interface]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise MissingFeatureError(
            f"no threaded NAPI for '{interface}'", cure="Linux 5.12 or newer, as root"
        )
    for process in Path("/proc").glob("[0-9]*/comm"):
        try:
            if process.read_text().startswith(f"napi/{interface}-"):
                os.sched_setaffinity(int(process.parent.name), {cpu})
        except OSError:
            continue  # a process that ended meanwhile


def _main(namespace: str, interface: str) -> None:
    fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    syscall.setns(fd)
    os.close(fd)
    syscall.private_sysfs()
    Path(f"/sys/class/net/{interface}/threaded").write_text("1")


if __name__ == "__main__":
    _main(*sys.argv[1:3])
