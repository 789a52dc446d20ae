# SPDX-License-Identifier: GPL-2.0-only
"""Programs that are compared, each loaded several times.

The same code at another address is not equally fast: two loads of one program differ by some per
cent. So in each round all loads of all programs have their turn, and a program's time in that round
is the mean over its loads. They are loaded by turns, too: what comes one after the other has
addresses that are alike. Where a nanosecond matters, loads are what is repeated, not rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from statistics import fmean, median
from typing import Self

from iridescent_xdp.bench.results import Options
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.controller import STEADY_ARM
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import StreamTimer

LOADS = (9, 1)  # of each program; in the short form
MANY, MOST = (36, 2), (100, 2)  # where a nanosecond matters, and where less does


class Loads:
    """Programs by name; a context manager that closes them."""

    def __init__(self, options: Options, count: tuple[int, int] = LOADS) -> None:
        self._count, self._patience = options.pick(*count), options.patience
        self._wanted: dict[str, Callable[[], Program]] = {}
        self._programs: dict[str, list[Program]] = {}
        self._stack = ExitStack()

    def add(self, name: str, rig: Rig, insns: bytes, arm: int = STEADY_ARM) -> None:
        """Any instructions on the maps of ``rig``."""
        self._wanted[name] = lambda: rig.place(insns, name, arm)

    def add_variant(
        self, name: str, rig: Rig, variant: Variant, role: Role = Role.STEADY, arm: int = STEADY_ARM
    ) -> None:
        """A variant of the function of ``rig``. Raises ToolchainError."""
        self.add(name, rig, rig.builder.variant(rig.function, variant, role), arm)

    def rounds(self, timer: StreamTimer, n: int) -> dict[str, list[float]]:
        """ns per packet by name, ``n`` values each, as StreamTimer.rounds gives them: means over
        the loads. Raises VerifierError."""
        alone = self._timed(timer, n)
        return {name: [fmean(turn) for turn in zip(*at, strict=True)] for name, at in alone.items()}

    def by_load(self, timer: StreamTimer, n: int) -> dict[str, list[float]]:
        """ns per packet by name, one value for each load: the median of ``n`` rounds. Raises
        VerifierError."""
        return {name: [median(at) for at in loads] for name, loads in self._timed(timer, n).items()}

    def _timed(self, timer: StreamTimer, n: int) -> dict[str, list[list[float]]]:
        """The rounds of each load."""
        self._load()
        flat = {
            f"{name} {place}": program
            for name, programs in self._programs.items()
            for place, program in enumerate(programs)
        }
        timer.patience = self._patience
        times = timer.rounds(flat, n)
        return {
            name: [times[f"{name} {place}"] for place in range(self._count)]
            for name in self._programs
        }

    def _load(self) -> None:
        """What is not loaded yet."""
        new = {name: load for name, load in self._wanted.items() if name not in self._programs}
        for _ in range(self._count):
            for name, load in new.items():
                program = self._stack.enter_context(load())
                self._programs.setdefault(name, []).append(program)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
