# SPDX-License-Identifier: GPL-2.0-only
"""Whether a finalist may be chosen at all: its steady build is right and keeps the constraints."""

from __future__ import annotations

from iridescent_xdp.arms import Built, Workshop
from iridescent_xdp.controller import Controller
from iridescent_xdp.errors import PreflightError, ToolchainError, VerifierError
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.live import STEADY_ARM
from iridescent_xdp.measure import ArmResult
from iridescent_xdp.objectives.constraints import Footprint, broken, memory_bytes
from iridescent_xdp.objectives.p99 import Q
from iridescent_xdp.statistics import quantile
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant


class Fitness:
    """Looks at finalists of one search; makes each steady build once, and only when asked."""

    def __init__(self, controller: Controller, workshop: Workshop) -> None:
        self._controller = controller
        self._workshop = workshop
        self._constraints = controller.plan.config.constraints
        self._made: dict[Variant, bytes] = {}

    def steady(self, variant: Variant) -> bytes:
        """The build that would be swapped in, preflighted.

        Raises PreflightError, ToolchainError or VerifierError.
        """
        if variant not in self._made:
            self._made[variant] = self._workshop.steady(variant)
        return self._made[variant]

    def load(self, variant: Variant) -> Program:
        """The steady build of ``variant``, which may be generic, loaded once more."""
        controller = self._controller
        if variant == controller.plan.generic:
            insns = controller.builder.variant(controller.plan.function, variant, Role.STEADY)
        else:
            insns = self.steady(variant)
        return controller.state.load(insns, f"fit_{variant.key}", arm=STEADY_ARM)

    def keeps(self, built: Built, result: ArmResult, generic: ArmResult) -> bool:
        """Whether ``built`` keeps every constraint; if not that is told, with generic's figures."""
        if self._constraints == type(self._constraints)():
            return True
        try:
            footprint = self._footprint(built.variant, result)
        except (PreflightError, ToolchainError, VerifierError) as error:
            self.refuse(built, error)
            return False
        reasons = broken(self._constraints, footprint)
        if not reasons:
            return True
        exempt = broken(self._constraints, self._footprint(self._controller.plan.generic, generic))
        also = f"; generic is exempt and breaks it too: {'; '.join(exempt)}" if exempt else ""
        self._controller.events.tell(
            "constraint_broken",
            variant=built.label,
            key=built.variant.key,
            p99_ns=footprint.p99_ns,
            instructions=footprint.instructions,
            memory_bytes=footprint.memory_bytes,
            reason=f"{'; '.join(reasons)}{also}",
        )
        return False

    def refuse(self, built: Built, error: Exception) -> None:
        """Tell that a steady build cannot be used."""
        self._controller.events.tell(
            "refused", variant=built.label, key=built.variant.key, reason=f"steady build: {error}"
        )

    def _footprint(self, variant: Variant, result: ArmResult) -> Footprint:
        controller = self._controller
        with self.load(variant) as program:
            programs = [controller.generic]
            if variant != controller.plan.generic:
                programs.append(program)
            return Footprint(
                p99_ns=quantile(result.windows, Q),
                instructions=program.info.xlated_bytes // 8,
                memory_bytes=memory_bytes(controller.state, programs),
            )
