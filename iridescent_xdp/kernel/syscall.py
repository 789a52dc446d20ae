# SPDX-License-Identifier: GPL-2.0-only
"""System calls and their buffers: with libbpf.py the only module that uses ctypes.

Failures raise OSError with the call's name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from pathlib import Path

from iridescent_xdp.errors import MissingFeatureError

_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
_SYS_MEMBARRIER = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "s390x": 356, "ppc64le": 365}
_MEMBARRIER_GLOBAL = 1
_PROG_LOAD = 5
_BPFFS_MAGIC = 0xCAFE4A11
_CLONE_NEWNS, _CLONE_NEWNET = 0x20000, 0x40000000
_MS_REC, _MS_PRIVATE = 1 << 14, 1 << 18

Buffer = ctypes.Array[ctypes.c_char]

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def _failure(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{what}: {os.strerror(code)}")


def bpf(command: int, attr: bytes | Buffer, what: str) -> int:
    """bpf(command, attr, size): the one way into the kernel. ``attr`` may be written to."""
    number = _SYS_BPF.get(platform.machine())
    if number is None:
        raise MissingFeatureError(f"bpf(2) is not known for {platform.machine()}")
    area = buffer(attr) if isinstance(attr, bytes) else attr
    while True:
        result = int(_syscall(number, command, area, len(area)))
        code = ctypes.get_errno()
        if result >= 0 or code != errno.EAGAIN or command != _PROG_LOAD:
            break  # a load that a signal disturbed is repeated, a test run never is
    if result < 0:
        raise _failure(what)
    return result


def buffer(data: bytes) -> Buffer:
    """Memory that holds ``data``, one byte at least."""
    return ctypes.create_string_buffer(data, max(len(data), 1))


def zeros(size: int) -> Buffer:
    """``size`` bytes of zero."""
    return ctypes.create_string_buffer(size)


def address(area: Buffer) -> int:
    """Where a buffer is."""
    return ctypes.addressof(area)


def copy(area: Buffer, data: bytes) -> None:
    """Write ``data`` at the beginning of a buffer that has room for it."""
    ctypes.memmove(area, data, len(data))


def is_bpffs(path: Path) -> bool:
    """Whether ``path`` lies in a bpf file system."""
    area = zeros(256)
    if _libc.statfs(str(path).encode(), area) != 0:
        return False
    return bool(struct.unpack_from("<q", area.raw)[0] == _BPFFS_MAGIC)


def mount_bpffs(path: Path) -> None:
    """Mount a bpf file system, as bpftool does when there is none."""
    if _libc.mount(b"bpf", str(path).encode(), b"bpf", 0, b"mode=0700") != 0:
        raise _failure(f"mounting a bpf file system at {path}")


def private_sysfs() -> None:
    """Give this process a mount namespace in which /sys shows its network namespace."""
    if (
        _libc.unshare(_CLONE_NEWNS) != 0
        or _libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None) != 0
        or _libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None) != 0
    ):
        raise _failure("a private /sys")


def membarrier() -> None:
    """membarrier(MEMBARRIER_CMD_GLOBAL), Linux 4.3: waits in synchronize_rcu().

    Raises OSError with EINVAL where CPUs run without a tick (nohz_full), and with ENOSYS.
    """
    number = _SYS_MEMBARRIER.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"membarrier(2) is not known for {platform.machine()}")
    if _syscall(number, _MEMBARRIER_GLOBAL, 0, 0) != 0:
        raise _failure("membarrier")


def leave_network_namespace() -> None:
    """Give the calling thread a network namespace of its own. Raises OSError without
    CAP_SYS_ADMIN."""
    if _libc.unshare(_CLONE_NEWNET) != 0:
        raise _failure("a network namespace of its own")


def setns(fd: int) -> None:
    """Move the calling thread into the network namespace behind ``fd``."""
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise _failure("entering the network namespace")
