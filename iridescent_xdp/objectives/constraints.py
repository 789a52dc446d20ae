# SPDX-License-Identifier: GPL-2.0-only
"""What a chosen variant must keep to, and what it is compared with.

Memory is what the kernel would hold with the variant live: all maps of the function and of the
programs around it (they outlive every variant), the generic program (it is always loaded), and the
variant's program; a program as its instructions and as machine code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from iridescent_xdp.config.model import ConstraintsConfig
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.state import State

_BOUNDS = (("p99_ns", "ns", 1), ("instructions", "instructions", 0), ("memory_bytes", "bytes", 0))
FDINFO = Path("/proc/self/fdinfo")


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """``p99_ns`` as measured, with what the clock reads cost; ``instructions`` before the JIT."""

    p99_ns: float
    instructions: int
    memory_bytes: int


def broken(constraints: ConstraintsConfig, footprint: Footprint) -> list[str]:
    """One sentence for each constraint that ``footprint`` does not keep."""
    told = []
    for name, unit, digits in _BOUNDS:
        most, found = getattr(constraints, name), getattr(footprint, name)
        if most is not None and found > most:
            told.append(f"{name} is at most {most:,} {unit}, got {found:,.{digits}f}")
    return told


def memory_bytes(state: State, programs: Iterable[Program]) -> int:
    """What ``state``'s maps and these programs hold, as the kernel counts it (``memlock``)."""
    maps = sum(_memlock(held.fd) for held in state.maps.values())
    return maps + sum(_memlock(p.fd) + p.info.jited_bytes for p in programs)


def _memlock(fd: int) -> int:
    for line in (FDINFO / str(fd)).read_text().splitlines():
        if line.startswith("memlock:"):
            return int(line.split()[1])
    return 0
