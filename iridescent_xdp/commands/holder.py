# SPDX-License-Identifier: GPL-2.0-only
"""Who controls an interface now: asked of the kernel's lock table, which no dead process is in."""

from __future__ import annotations

import os
from pathlib import Path

from iridescent_xdp import runtime

LOCKS = Path("/proc/locks")


def holder(key: str) -> int:
    """The process that holds the interface's lock; 0 when there is none.

    The lock itself is not touched: trying it could keep a starting controller out.
    """
    try:
        found = (runtime.RUN / key / "lock").stat()
        lines = LOCKS.read_text().splitlines()
    except OSError:
        return 0
    # "1: FLOCK  ADVISORY  WRITE 1234 00:1a:5678 0 EOF", proc_locks(5)
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in lines:
        words = line.split()
        if len(words) > 5 and words[1] == "FLOCK" and words[5] == device:
            return max(0, int(words[4]))
    return 0
