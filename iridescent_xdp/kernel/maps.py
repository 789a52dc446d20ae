# SPDX-License-Identifier: GPL-2.0-only
"""Live maps, made from a template's declarations; values are numpy records."""

from __future__ import annotations

import contextlib
import os
import struct
from pathlib import Path
from typing import Any, Self

import numpy as np

from iridescent_xdp.errors import StateError
from iridescent_xdp.kernel import bpf
from iridescent_xdp.template import MapSpec

Records = np.ndarray[Any, np.dtype[Any]]


class Map:
    """One map; owns its descriptor. Per-CPU values have one row per possible CPU."""

    def __init__(self, spec: MapSpec, fd: int, dtype: np.dtype[Any] | None = None) -> None:
        self.spec = spec
        self.fd = fd
        self.dtype = dtype if dtype is not None else np.dtype((np.void, spec.value_bytes))
        # the kernel rounds each CPU's value up to eight bytes
        self._stride = (spec.value_bytes + 7) // 8 * 8
        self._cpus = bpf.possible_cpus() if spec.per_cpu else 1

    @classmethod
    def create(cls, spec: MapSpec, dtype: np.dtype[Any] | None = None) -> Self:
        """A new, empty map."""
        fd = bpf.map_create(
            spec.map_type,
            spec.key_bytes,
            spec.value_bytes,
            spec.entries,
            flags=spec.flags,
            name=spec.name,
        )
        return cls(spec, fd, dtype)

    @classmethod
    def adopt(cls, spec: MapSpec, path: Path, dtype: np.dtype[Any] | None = None) -> Self:
        """A pinned map. Raises StateError when it has another shape than ``spec``."""
        fd = bpf.obj_get(path)
        info = bpf.map_info(fd)
        have = (info.map_type, info.key_bytes, info.value_bytes, info.entries)
        want = (spec.map_type, spec.key_bytes, spec.value_bytes, spec.entries)
        if have != want:
            os.close(fd)
            raise StateError(
                f"pinned map {path} has (type, key, value, entries) {have}, "
                f"the template wants {want}",
                cure="run 'iridescent detach' for this interface first",
            )
        return cls(spec, fd, dtype)

    def pin(self, path: Path) -> None:
        """Keep the map beyond this process."""
        bpf.obj_pin(self.fd, path)

    def read(self, key: bytes | int = 0) -> Records | None:
        """The value as an array of records, one per CPU; None when the key is not there."""
        size = self._stride * self._cpus if self.spec.per_cpu else self.spec.value_bytes
        raw = bpf.map_lookup(self.fd, self._key(key), size)
        if raw is None:
            return None
        if not self.spec.per_cpu:
            return np.frombuffer(raw, dtype=self.dtype, count=1)
        rows = [raw[i * self._stride :][: self.spec.value_bytes] for i in range(self._cpus)]
        return np.frombuffer(b"".join(rows), dtype=self.dtype)

    def write(self, key: bytes | int, value: bytes | Records) -> None:
        """Set a value: one for all CPUs, or all CPUs' rows."""
        raw = value if isinstance(value, bytes) else value.tobytes()
        if self.spec.per_cpu:
            size = self.spec.value_bytes
            rows = [raw[i : i + size] for i in range(0, len(raw), size)]
            rows = rows * self._cpus if len(rows) == 1 else rows
            raw = b"".join(row.ljust(self._stride, b"\0") for row in rows)
        bpf.map_update(self.fd, self._key(key), raw)

    def zero(self, key: bytes | int = 0) -> None:
        """All bytes of a value to zero."""
        self.write(key, bytes(self.spec.value_bytes))

    def delete(self, key: bytes | int) -> bool:
        """Take an entry out; False when it was not there."""
        return bpf.map_delete(self.fd, self._key(key))

    def keys(self) -> list[bytes]:
        """Every key, in the kernel's order."""
        found: list[bytes] = []
        key = bpf.map_next_key(self.fd, None, self.spec.key_bytes)
        while key is not None:
            found.append(key)
            key = bpf.map_next_key(self.fd, key, self.spec.key_bytes)
        return found

    def clear(self) -> None:
        """Take every entry out of a hash or trie."""
        for key in self.keys():
            self.delete(key)

    def write_many(self, keys: Records, values: bytes) -> None:
        """Many entries in few system calls; ``values`` holds one value per key."""
        count, size = len(keys), self.spec.value_bytes
        if count:
            bpf.map_update_batch(self.fd, keys.tobytes(), values[: count * size], count)

    def contents(self) -> dict[bytes, bytes]:
        """Every entry as bytes, for comparing two maps."""
        found: dict[bytes, bytes] = {}
        for key in self.keys():
            value = self.read(key)
            if value is not None:
                found[key] = value.tobytes()
        return found

    def _key(self, key: bytes | int) -> bytes:
        return struct.pack("<I", key) if isinstance(key, int) else key

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self.fd)
            self.fd = -1
