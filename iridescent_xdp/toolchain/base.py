# SPDX-License-Identifier: GPL-2.0-only
"""What a toolchain is: it turns a variant in a role into BPF instructions.

The instructions carry placeholders instead of descriptors (``MAP_FD_BASE`` plus the map's
index in the template), so that an object can be cached and loaded on any host.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from pathlib import Path

from iridescent_xdp.decision.ir_table import IrTable
from iridescent_xdp.decision.nodes import Decision
from iridescent_xdp.template import Template, source_digest
from iridescent_xdp.variant import Variant

Code = Decision | IrTable  # of a compiled table

MAP_FD_BASE = 0x4D50_0000
ENTRY = "iridescent_entry"


class Role(IntEnum):
    """Which of its jobs a program is compiled for: ``enum spec_roles`` in C."""

    STEADY = 0
    ARM = 1
    FALLBACK = 2
    OBSERVE = 3
    WATCHED = 4


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be built. ``tables`` maps a table's name to its code."""

    template: Template
    variant: Variant
    role: Role
    tables: Mapping[str, Code] = field(default_factory=dict)
    tables_digest: str = ""

    def constants(self) -> dict[str, int]:
        """Everything that is constant in the program: its job, and the value of every point."""
        return {**self.job(), **dict(self.variant.values)}

    def job(self) -> dict[str, int]:
        """The role, and whether code for rare packets is in it: it is in generic code only."""
        searched = [point for point in self.template.points if point.searched]
        whole = all(self.variant[point.name] == point.default for point in searched)
        return {"spec_role": int(self.role), "spec_whole": int(whole)}

    def defines(self) -> dict[str, int]:
        """What is the same for all variants of the template."""
        numbers = {f"MAP_FD_{m.name}": MAP_FD_BASE + m.index for m in self.template.maps}
        numbers |= {f"SPEC_TABLE_{t.name}": i for i, t in enumerate(self.template.tables)}
        numbers |= {f"SPEC_INDEX_{p.name}": i for i, p in enumerate(self.template.points)}
        return numbers

    def digest(self, toolchain: str, version: str) -> str:
        """The content that decides about the object, as hexadecimal digits."""
        parts = [toolchain, version, source_digest(self.template.path), self.tables_digest]
        parts += [f"{k}={v}" for k, v in sorted(self.constants().items())]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Toolchain(ABC):
    """Turns requests into instructions; knows its own version for the cache's sake."""

    name: str

    @property
    @abstractmethod
    def version(self) -> str:
        """What the output depends on beside the request."""

    @abstractmethod
    def compile(self, request: Request) -> bytes:
        """BPF instructions with placeholders. Raises ToolchainError with the diagnostics."""


@lru_cache(maxsize=1)
def own_digest() -> str:
    """The digest of the code that makes objects: a change of it makes the cache forget."""
    package = Path(__file__).resolve().parent
    files = sorted({*package.glob("*.py"), *(package.parent / "decision").glob("*.py")})
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
