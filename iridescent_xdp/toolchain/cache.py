# SPDX-License-Identifier: GPL-2.0-only
"""Objects on disk, by content digest. A damaged or missing entry is just built again."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from iridescent_xdp.toolchain.base import Request, Toolchain

_SEAL_BYTES = 32


def cache_directory() -> Path:
    """Where objects are kept: IRIDESCENT_CACHE, else XDG_CACHE_HOME or ~/.cache."""
    chosen = os.environ.get("IRIDESCENT_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "iridescent-xdp"


def store(path: Path, content: bytes) -> None:
    """Write atomically; a cache that cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as temporary:
            temporary.write(content)
        Path(temporary.name).replace(path)
    except OSError:
        return


class CachedToolchain(Toolchain):
    """A toolchain behind the cache; counts what it found there."""

    def __init__(self, inner: Toolchain, directory: Path | None = None) -> None:
        self._inner = inner
        self._directory = directory
        self.name = inner.name
        self.hits = 0
        self.misses = 0

    @property
    def version(self) -> str:
        """The inner toolchain's version."""
        return self._inner.version

    def compile(self, request: Request) -> bytes:
        """From disk when the digest is known and the entry is whole, else from the toolchain."""
        digest = request.digest(self.name, self.version)
        path = (self._directory or cache_directory()) / "objects" / digest[:2] / digest
        insns = _read_sealed(path)
        if insns is not None:
            self.hits += 1
            return insns
        self.misses += 1
        insns = self._inner.compile(request)
        store(path, hashlib.sha256(insns).digest() + insns)
        return insns


def _read_sealed(path: Path) -> bytes | None:
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    seal, insns = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
    return insns if insns and hashlib.sha256(insns).digest() == seal else None
