# SPDX-License-Identifier: GPL-2.0-only
"""From a variant to an arm: built, proven harmless, loaded. Refusals are data, not accidents."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from iridescent_xdp.controller import Controller
from iridescent_xdp.errors import PreflightError, ToolchainError, VerifierError
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.live import STEADY_ARM
from iridescent_xdp.measure import Arm
from iridescent_xdp.preflight import Preflight
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant

GENERIC_ARM, TWIN_ARM, FIRST_CANDIDATE = 0, 1, 2
ARMS = STEADY_ARM  # numbers below it are for trials
COPIES_S = 0.3  # for loading copies of the arms of one trial: nobody looks at the traffic meanwhile


@dataclass(frozen=True, kw_only=True)
class Built:
    """A variant that may meet traffic, or the reason why not."""

    variant: Variant
    label: str
    reason: str = ""
    measured: bytes = b""
    build_ms: float = 0.0
    preflight_ms: float = 0.0

    @property
    def refused(self) -> bool:
        """Whether it may not meet traffic."""
        return bool(self.reason)


class Workshop:
    """Builds and checks each variant once; loads arms and the programs a trial needs. ``between``
    is called before each load, which may take a tenth of a second."""

    def __init__(
        self,
        controller: Controller,
        preflight: Preflight,
        between: Callable[[], object] = lambda: None,
    ) -> None:
        self._controller = controller
        self._between = between
        self._preflight = preflight
        self._built: dict[Variant, Built] = {}
        plan, builder = controller.plan, controller.builder
        self._version = plan.function.version  # of the tables that everything here is made for
        self._numbers: dict[Variant, int] = {}  # a variant that keeps its number is loaded once
        self._generic = builder.variant(plan.function, plan.generic, Role.ARM)
        self.generic, self.twin = self.controls()
        fallback = builder.variant(plan.function, plan.generic, Role.FALLBACK)
        self.fallback = self._load(fallback, GENERIC_ARM, hold=True)

    def controls(self, copies: int = 1) -> tuple[Arm, Arm]:
        """Generic, and generic again, each loaded so often."""
        return (
            self._arm("generic", GENERIC_ARM, self._generic, copies, hold=True),
            self._arm("generic again", TWIN_ARM, self._generic, copies, hold=True),
        )

    def _arm(self, name: str, number: int, insns: bytes, copies: int, *, hold: bool = False) -> Arm:
        programs = [self._load(insns, number, copy=n, hold=hold) for n in range(copies)]
        return Arm(name=name, number=number, program=programs[0], copies=tuple(programs[1:]))

    def _load(self, insns: bytes, arm: int, *, copy: int = 0, hold: bool = False) -> Program:
        self._between()
        programs = self._controller.arm_programs
        return programs.load(insns, f"arm_{arm}", arm=arm, copy=copy, hold=hold)

    def build(self, variant: Variant) -> Built:
        """Compile the measured program and preflight it."""
        if variant not in self._built:
            self._built[variant] = self._make(variant)
            self._tell(self._built[variant])
        return self._built[variant]

    def _make(self, variant: Variant) -> Built:
        plan, builder = self._controller.plan, self._controller.builder
        label = plan.label(variant)
        began = time.perf_counter()
        try:
            measured = builder.variant(plan.function, variant, Role.ARM)
            built = time.perf_counter()
            self._preflight.check(measured, f"pf_{variant.key}")
        except (ToolchainError, VerifierError, PreflightError) as error:
            return Built(variant=variant, label=label, reason=str(error))
        return Built(
            variant=variant,
            label=label,
            measured=measured,
            build_ms=(built - began) * 1000,
            preflight_ms=(time.perf_counter() - built) * 1000,
        )

    def _tell(self, built: Built) -> None:
        events, key = self._controller.events, built.variant.key
        if built.refused:
            events.tell("refused", variant=built.label, key=key, reason=built.reason)
            return
        events.tell(
            "built",
            variant=built.label,
            key=key,
            build_ms=built.build_ms,
            preflight_ms=built.preflight_ms,
            packets=len(self._preflight.packets),
            instructions=len(built.measured) // 8,
        )

    def steady(self, variant: Variant) -> bytes:
        """The program without instrumentation, preflighted too: it is other code.

        Raises PreflightError, ToolchainError or VerifierError.
        """
        plan = self._controller.plan
        insns = self._controller.builder.variant(plan.function, variant, Role.STEADY)
        self._preflight.check(insns, f"pf_{variant.key}")
        return insns

    def arms(self, built: Sequence[Built], copies: int = 1) -> list[Arm]:
        """Candidates of one trial, each loaded so often, with a number of its own. Raises
        VerifierError."""
        wanted = [self._numbers.get(b.variant, 0) for b in built]
        free = (n for n in range(FIRST_CANDIDATE, ARMS) if n not in wanted)
        numbers = [n if n and n not in wanted[:p] else next(free) for p, n in enumerate(wanted)]
        self._numbers |= {b.variant: number for b, number in zip(built, numbers, strict=True)}
        return [
            self._arm(b.label, number, b.measured, copies)
            for b, number in zip(built, numbers, strict=True)
        ]

    def affordable(self, built: Sequence[Built], most: int) -> int:
        """How often generic, its twin and ``built`` may be loaded: ``most`` times, or what does not
        take longer than COPIES_S."""
        self.arms(built)  # once in any case
        codes = [self._generic, self._generic, *(item.measured for item in built)]
        once_s = sum(self._controller.arm_programs.load_s(code) for code in codes)
        return min(most, 1 + int(COPIES_S / max(once_s, 1e-3)))

    def close(self) -> None:
        """Leave the sandboxes to whoever needs them next; programs are held no longer."""
        self._controller.arm_programs.let_go()
        self._controller.keep(self._preflight, self._version)
