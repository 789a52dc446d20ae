# SPDX-License-Identifier: GPL-2.0-only
"""Waiting until no CPU runs a program that was taken away.

XDP programs run inside RCU read-side sections, so after a grace period every packet that met
what was there before has been decided.
"""

from __future__ import annotations

import errno
import os
import struct
import time

from iridescent_xdp.kernel import bpf
from iridescent_xdp.kernel.syscall import membarrier

ARRAY, ARRAY_OF_MAPS = 2, 12
_WORD = 4


def grace_period() -> float:
    """Wait for an RCU grace period; milliseconds that it took, some 8 on an idle machine.

    Uses membarrier(2); where that does not do it (nohz_full), an update of a map of maps, behind
    which the kernel waits in synchronize_rcu() too (kernel/bpf/syscall.c, maybe_wait_bpf_programs).
    """
    began = time.perf_counter()
    try:
        membarrier()
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EPERM):
            raise
        by_map_of_maps()
    return (time.perf_counter() - began) * 1000


def by_map_of_maps() -> None:
    """A grace period without membarrier(2); some 8 ms too."""
    inner = bpf.map_create(ARRAY, _WORD, _WORD, 1, name="grace_inner")
    try:
        outer = bpf.map_create(ARRAY_OF_MAPS, _WORD, _WORD, 1, name="grace", inner=inner)
        try:
            bpf.map_update(outer, bytes(_WORD), struct.pack("<I", inner))
        finally:
            os.close(outer)
    finally:
        os.close(inner)
