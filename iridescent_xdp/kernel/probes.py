# SPDX-License-Identifier: GPL-2.0-only
"""How each kernel feature is tried: one function each, which leaves nothing behind.

A function returns one line about what was seen, or raises OSError with the reason. Maps and
programs are closed, a pin is removed, and interfaces live in a network namespace of their own
that is removed again. ``features`` says what each one is needed for, and keeps the findings.
"""

from __future__ import annotations

import errno
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from iridescent_xdp.kernel import bpf, syscall
from iridescent_xdp.kernel.testrun import run_live, run_on

BPFFS, BTF = Path("/sys/fs/bpf"), Path("/sys/kernel/btf/vmlinux")
JIT_SWITCH = Path("/proc/sys/net/core/bpf_jit_enable")
# capability numbers of <linux/capability.h>
CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF = 12, 21, 39
# map types of enum bpf_map_type, and BPF_F_NO_PREALLOC, which a trie demands
_ARRAY, _PROG_ARRAY, _PERCPU_ARRAY, _LPM_TRIE, _DEVMAP = 2, 3, 6, 11, 14
_NO_PREALLOC = 1
_XDP_DROP, _XDP_PASS = 1, 2
_FRAME = bytes(64)


# -- privilege -----------------------------------------------------------------------------


def is_root() -> bool:
    """Whether the effective user is root; says nothing about capabilities."""
    return os.geteuid() == 0


def effective_capabilities() -> int:
    """The bit mask CapEff of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _capable(*numbers: int) -> bool:
    mask = effective_capabilities()
    return any(mask >> number & 1 for number in numbers)


def try_privilege() -> str:
    """CAP_BPF (or CAP_SYS_ADMIN) and CAP_NET_ADMIN are effective."""
    missing = [] if _capable(CAP_BPF, CAP_SYS_ADMIN) else ["CAP_BPF"]
    missing += [] if _capable(CAP_NET_ADMIN) else ["CAP_NET_ADMIN"]
    if missing:
        raise PermissionError(errno.EPERM, f"{' and '.join(missing)} not effective")
    return "root" if is_root() else "CAP_BPF and CAP_NET_ADMIN"


def try_sys_admin() -> str:
    """CAP_SYS_ADMIN is effective."""
    if not _capable(CAP_SYS_ADMIN):
        raise PermissionError(errno.EPERM, "CAP_SYS_ADMIN not effective")
    return "CAP_SYS_ADMIN"


# -- maps and programs ---------------------------------------------------------------------


@contextmanager
def _map(kind: int, key_bytes: int = 4, value_bytes: int = 4, flags: int = 0) -> Iterator[int]:
    fd = bpf.map_create(kind, key_bytes, value_bytes, 1, flags=flags, name="probe")
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _program(verdict: int = _XDP_PASS) -> Iterator[int]:
    """A program of two instructions: ``r0 = verdict; exit``."""
    code = struct.pack("<BBhiBBhi", 0xB7, 0, 0, verdict, 0x95, 0, 0, 0)
    fd, _ = bpf.prog_load(code, name="probe")
    try:
        yield fd
    finally:
        os.close(fd)


def try_bpf() -> str:
    """A map is made and written."""
    with _map(_ARRAY) as fd:
        bpf.map_update(fd, bytes(4), b"\1\0\0\0")
    return f"Linux {os.uname().release}"


def try_bpffs() -> str:
    """A map is pinned; where nothing is mounted, only that it may be mounted is checked."""
    if not syscall.is_bpffs(BPFFS):
        if not BPFFS.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"{BPFFS} does not exist")
        try_sys_admin()
        return f"not mounted at {BPFFS}; is mounted when it is needed"
    pin = BPFFS / f"iridescent-probe-{secrets.token_hex(4)}"
    with _map(_ARRAY) as fd:
        bpf.obj_pin(fd, pin)
        pin.unlink()
    return f"mounted at {BPFFS}"


def try_test_run() -> str:
    """A program that passes is run and its verdict is compared."""
    with _program() as fd:
        verdict = run_on(fd, _FRAME).verdict
    if verdict != _XDP_PASS:
        raise OSError(errno.EIO, f"a test run gave verdict {verdict}, not {_XDP_PASS}")
    return "BPF_PROG_TEST_RUN"


def try_live_frames() -> str:
    """One real frame is made and dropped at once (Linux 5.18)."""
    with _program(_XDP_DROP) as fd:
        run_live(fd, _FRAME, repeat=1)
    return "BPF_F_TEST_XDP_LIVE_FRAMES"


def try_prog_array() -> str:
    """A program is put into a slot."""
    with _map(_PROG_ARRAY) as slots, _program() as fd:
        bpf.map_update(slots, bytes(4), struct.pack("<I", fd))
    return "BPF_MAP_TYPE_PROG_ARRAY"


def try_percpu_array() -> str:
    """All CPUs' values of an entry are read."""
    with _map(_PERCPU_ARRAY, value_bytes=8) as fd:
        bpf.map_lookup(fd, bytes(4), 8 * bpf.possible_cpus())
    return f"{bpf.possible_cpus()} possible CPUs"


def try_lpm_trie() -> str:
    """A prefix is written by a batch update (Linux 5.6)."""
    with _map(_LPM_TRIE, key_bytes=8, flags=_NO_PREALLOC) as fd:
        bpf.map_update_batch(fd, struct.pack("<I4B", 8, 10, 0, 0, 0), bytes(4), 1)
    return "BPF_MAP_TYPE_LPM_TRIE, written in batches"


def try_devmap() -> str:
    """A device map is made."""
    with _map(_DEVMAP):
        return "BPF_MAP_TYPE_DEVMAP"


def try_jit() -> str:
    """The kernel tells how many bytes of machine code a program became."""
    with _program() as fd:
        if bpf.prog_info(fd).jited_bytes == 0:
            raise OSError(errno.ENOSYS, f"programs are interpreted ({JIT_SWITCH} is 0)")
    return "programs are compiled to machine code"


def try_stats() -> str:
    """Statistics of all programs are switched on and off (Linux 5.8)."""
    os.close(bpf.enable_stats())
    return "BPF_ENABLE_STATS"


def try_btf() -> str:
    """The kernel's own BTF starts with its magic number."""
    with BTF.open("rb") as file:
        if file.read(2) not in (b"\x9f\xeb", b"\xeb\x9f"):
            raise OSError(errno.EINVAL, f"{BTF} has no BTF magic")
    return str(BTF)


# -- interfaces ----------------------------------------------------------------------------


@contextmanager
def _namespace() -> Iterator[str]:
    try_sys_admin()
    from pyroute2 import netns

    name = f"iridescent-{secrets.token_hex(4)}"
    netns.create(name)
    try:
        yield f"{netns.NETNS_RUN_DIR}/{name}"
    finally:
        netns.remove(name)


def _on_veth(action: Callable[[Any, int], None]) -> None:
    """Call ``action(netlink, ifindex)`` on a fresh veth; without CAP_SYS_ADMIN it is made here."""
    if not _capable(CAP_NET_ADMIN):
        raise PermissionError(errno.EPERM, "CAP_NET_ADMIN not effective")
    if not _capable(CAP_SYS_ADMIN):
        _make_veth(None, action)
        return
    # the thread enters the namespace and ends with it; no other work ever runs on it
    with _namespace() as path, ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(_make_veth, path, action).result()


def _make_veth(namespace: str | None, action: Callable[[Any, int], None]) -> None:
    from pyroute2 import IPRoute, NetlinkError

    if namespace is not None:
        with Path(namespace).open() as file:
            syscall.setns(file.fileno())
    name = f"irx{secrets.token_hex(4)}"
    try:
        with IPRoute() as netlink:
            netlink.link("add", ifname=f"{name}a", kind="veth", peer={"ifname": f"{name}b"})
            ifindex = netlink.link_lookup(ifname=f"{name}a")[0]
            try:
                action(netlink, ifindex)
            finally:
                with suppress(NetlinkError):
                    netlink.link("del", index=ifindex)
    except NetlinkError as error:
        raise OSError(error.code, f"netlink: {os.strerror(error.code)}") from error


def _attach_link(_: Any, ifindex: int) -> None:
    with _program() as fd, _program() as other:
        link = bpf.link_create(fd, ifindex, bpf.XDP_FLAGS_SKB_MODE)
        try:
            bpf.link_update(link, other, fd)
        finally:
            os.close(link)


def _attach_native(netlink: Any, ifindex: int) -> None:
    with _program() as fd:
        attrs = [("IFLA_XDP_FD", fd), ("IFLA_XDP_FLAGS", bpf.XDP_FLAGS_DRV_MODE)]
        netlink.link("set", index=ifindex, IFLA_XDP={"attrs": attrs})


def try_netns() -> str:
    """A namespace is made and removed."""
    with _namespace() as path:
        return f"made and removed {path}"


def try_veth() -> str:
    """A pair is made and removed."""
    _on_veth(lambda *_: None)
    return "made and removed a pair"


def try_xdp_link() -> str:
    """A link is made on a veth, its program replaced by compare-and-swap (Linux 5.9)."""
    _on_veth(_attach_link)
    return "attached, replaced by compare-and-swap, detached"


def try_xdp_native() -> str:
    """A program is attached to a veth in native mode, by netlink."""
    _on_veth(_attach_native)
    return "attached in native mode"
