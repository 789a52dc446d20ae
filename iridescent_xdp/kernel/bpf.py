# SPDX-License-Identifier: GPL-2.0-only
"""bpf(2), one function for each command.

Each function is one system call; descriptors are plain integers that the caller closes.
Failures raise OSError with the call's name. Layouts follow ``union bpf_attr`` of
<linux/bpf.h>; the kernel zero-extends shorter attributes, so only used members are packed.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from pathlib import Path

from iridescent_xdp.kernel.syscall import address as _address
from iridescent_xdp.kernel.syscall import bpf as _bpf
from iridescent_xdp.kernel.syscall import buffer as _bytes
from iridescent_xdp.kernel.syscall import zeros as _zeros

MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT_KEY, PROG_LOAD, OBJ_PIN, OBJ_GET = range(8)
PROG_GET_FD_BY_ID = 13
OBJ_GET_INFO = 15
MAP_UPDATE_BATCH = 26
LINK_CREATE, LINK_UPDATE, ENABLE_STATS = 28, 29, 32
LINK_DETACH = 34

PROG_TYPE_XDP = 6
ATTACH_XDP = 37
XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE = 1 << 1, 1 << 2
F_REPLACE = 1 << 2  # BPF_F_REPLACE of BPF_LINK_UPDATE: the old program must match
LOG_BYTES = 1 << 20

# -- maps ----------------------------------------------------------------------------------


def map_create(
    map_type: int,
    key_bytes: int,
    value_bytes: int,
    entries: int,
    *,
    flags: int = 0,
    name: str = "",
    inner: int = 0,
) -> int:
    """BPF_MAP_CREATE; returns the descriptor. ``inner`` is what a map of maps holds the like of."""
    attr = struct.pack(
        "<7I16s", map_type, key_bytes, value_bytes, entries, flags, inner, 0, name.encode()[:15]
    )
    return _bpf(MAP_CREATE, attr, f"creating map '{name}'")


def map_lookup(fd: int, key: bytes, value_bytes: int) -> bytes | None:
    """BPF_MAP_LOOKUP_ELEM; ``value_bytes`` covers all CPUs for a per-CPU map."""
    k, v = _bytes(key), _zeros(value_bytes)
    try:
        _bpf(MAP_LOOKUP, struct.pack("<I4xQQQ", fd, _address(k), _address(v), 0), "map look-up")
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return v.raw


def map_update(fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """BPF_MAP_UPDATE_ELEM."""
    k, v = _bytes(key), _bytes(value)
    _bpf(MAP_UPDATE, struct.pack("<I4xQQQ", fd, _address(k), _address(v), flags), "map update")


def map_delete(fd: int, key: bytes) -> bool:
    """BPF_MAP_DELETE_ELEM; False when the key was not there."""
    k = _bytes(key)
    try:
        _bpf(MAP_DELETE, struct.pack("<I4xQQQ", fd, _address(k), 0, 0), "map delete")
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def map_next_key(fd: int, key: bytes | None, key_bytes: int) -> bytes | None:
    """BPF_MAP_GET_NEXT_KEY; None after the last key."""
    k = _bytes(key) if key is not None else None
    out = _zeros(key_bytes)
    attr = struct.pack("<I4xQQQ", fd, _address(k) if k is not None else 0, _address(out), 0)
    try:
        _bpf(MAP_NEXT_KEY, attr, "next key")
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return out.raw


def map_update_batch(fd: int, keys: bytes, values: bytes, count: int) -> None:
    """BPF_MAP_UPDATE_BATCH (Linux 5.6) of ``count`` entries laid one after the other."""
    k, v = _bytes(keys), _bytes(values)
    attr = struct.pack("<QQQQIIQQ", 0, 0, _address(k), _address(v), count, fd, 0, 0)
    _bpf(MAP_UPDATE_BATCH, attr, "map batch update")


@dataclass(frozen=True, kw_only=True)
class MapInfo:
    """struct bpf_map_info, in part."""

    map_type: int
    map_id: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int
    name: str


def map_info(fd: int) -> MapInfo:
    """BPF_OBJ_GET_INFO_BY_FD of a map."""
    raw = _info(fd, 80)
    kind, map_id, key, value, entries, flags, name = struct.unpack_from("<6I16s", raw)
    return MapInfo(
        map_type=kind,
        map_id=map_id,
        key_bytes=key,
        value_bytes=value,
        entries=entries,
        flags=flags,
        name=name.split(b"\0")[0].decode(),
    )


# -- programs ------------------------------------------------------------------------------


def prog_load(insns: bytes, *, name: str, log: bool = False) -> tuple[int, str]:
    """BPF_PROG_LOAD of an XDP program; returns (descriptor, log).

    With ``log`` the verifier writes its log, which is attached to the OSError as ``bpf_log``.
    """
    code, license_text = _bytes(insns), _bytes(b"GPL\0")
    buffer = _zeros(LOG_BYTES) if log else None
    attr = struct.pack(
        "<IIQQIIQII16sII",
        PROG_TYPE_XDP,
        len(insns) // 8,
        _address(code),
        _address(license_text),
        1 if buffer is not None else 0,
        LOG_BYTES if buffer is not None else 0,
        _address(buffer) if buffer is not None else 0,
        0,
        0,
        name.encode()[:15],
        0,
        ATTACH_XDP,
    )
    try:
        fd = _bpf(PROG_LOAD, attr, f"loading program '{name}'")
    except OSError as error:
        text = buffer.value.decode(errors="replace") if buffer is not None else ""
        error.bpf_log = text  # type: ignore[attr-defined]
        raise
    return fd, buffer.value.decode(errors="replace") if buffer is not None else ""


@dataclass(frozen=True, kw_only=True)
class ProgInfo:
    """struct bpf_prog_info, in part. ``run_time_ns`` counts only while statistics are on."""

    prog_type: int
    prog_id: int
    tag: str
    jited_bytes: int
    xlated_bytes: int
    name: str
    run_time_ns: int
    run_count: int
    verified_insns: int


def prog_info(fd: int) -> ProgInfo:
    """BPF_OBJ_GET_INFO_BY_FD of a program."""
    raw = _info(fd, 224)
    kind, prog_id, tag, jited, xlated = struct.unpack_from("<II8sII", raw)
    run_time, run_count = struct.unpack_from("<QQ", raw, 192)
    return ProgInfo(
        prog_type=kind,
        prog_id=prog_id,
        tag=tag.hex(),
        jited_bytes=jited,
        xlated_bytes=xlated,
        name=raw[64:80].split(b"\0")[0].decode(),
        run_time_ns=run_time,
        run_count=run_count,
        verified_insns=struct.unpack_from("<I", raw, 216)[0],
    )


# -- pins, ids, links ----------------------------------------------------------------------


def obj_pin(fd: int, path: Path) -> None:
    """BPF_OBJ_PIN; the path must not exist and must lie in a bpf file system."""
    name = _bytes(str(path).encode() + b"\0")
    _bpf(OBJ_PIN, struct.pack("<QII", _address(name), fd, 0), f"pinning {path}")


def obj_get(path: Path) -> int:
    """BPF_OBJ_GET; returns a new descriptor."""
    name = _bytes(str(path).encode() + b"\0")
    return _bpf(OBJ_GET, struct.pack("<QII", _address(name), 0, 0), f"opening {path}")


def fd_by_id(command: int, object_id: int) -> int:
    """A descriptor for an id; needs CAP_SYS_ADMIN."""
    return _bpf(command, struct.pack("<III", object_id, 0, 0), f"opening id {object_id}")


def _info(fd: int, size: int) -> bytes:
    out = _zeros(size)
    _bpf(OBJ_GET_INFO, struct.pack("<IIQ", fd, size, _address(out)), "object info")
    return out.raw


def link_create(prog_fd: int, ifindex: int, flags: int) -> int:
    """BPF_LINK_CREATE of an XDP link (Linux 5.9)."""
    return _bpf(LINK_CREATE, struct.pack("<IIII", prog_fd, ifindex, ATTACH_XDP, flags), "attaching")


def link_update(link_fd: int, prog_fd: int, old_prog_fd: int | None = None) -> None:
    """BPF_LINK_UPDATE; with ``old_prog_fd`` it fails with EPERM unless the link holds that."""
    known = old_prog_fd is not None
    attr = struct.pack("<IIII", link_fd, prog_fd, F_REPLACE if known else 0, old_prog_fd or 0)
    _bpf(LINK_UPDATE, attr, "updating the link")


def link_detach(link_fd: int) -> None:
    """BPF_LINK_DETACH: force the link off its interface."""
    _bpf(LINK_DETACH, struct.pack("<I", link_fd), "detaching the link")


@dataclass(frozen=True, kw_only=True)
class LinkInfo:
    """struct bpf_link_info of an XDP link; ``ifindex`` is 0 once the interface is gone."""

    link_id: int
    prog_id: int
    ifindex: int


def link_info(fd: int) -> LinkInfo:
    """BPF_OBJ_GET_INFO_BY_FD of a link."""
    _, link_id, prog_id, _, ifindex = struct.unpack_from("<5I", _info(fd, 64))
    return LinkInfo(link_id=link_id, prog_id=prog_id, ifindex=ifindex)


def enable_stats() -> int:
    """BPF_ENABLE_STATS: run time of all programs is counted until the descriptor is closed."""
    return _bpf(ENABLE_STATS, struct.pack("<I", 0), "enabling program statistics")


def possible_cpus() -> int:
    """How many values a per-CPU map entry has."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.split("-")[-1].split(",")[-1]) + 1
