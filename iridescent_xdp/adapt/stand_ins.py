# SPDX-License-Identifier: GPL-2.0-only
"""The programs that stand around a look: counted and timed builds of what is live."""

from __future__ import annotations

from dataclasses import dataclass

from iridescent_xdp.controller import Controller
from iridescent_xdp.errors import PreflightError, ToolchainError, VerifierError
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.points import PointClass
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant

REFERENCE_ARM, SENSED_ARM = 29, 30  # where they count themselves; no search runs then


@dataclass(kw_only=True)
class StandIns:
    """Made for one live program, generic variant and version of the tables; owns its programs.

    ``sensed`` is the live variant and ``reference`` the generic code, counted and timed, and
    ``fallback`` is what ends the sample of a packet whose guard is missed. Each is None where it is
    not needed or could not be proven. The same variant may be live as another program, with other
    hot keys in it.
    """

    live: Variant
    program: int  # id of the live program
    generic: Variant
    version: int
    sensed: Program | None = None
    reference: Program | None = None
    fallback: Program | None = None

    def fit(self, controller: Controller) -> bool:
        """Whether they are made for what is live now."""
        plan, program = controller.plan, controller.live.info.prog_id
        now = (controller.live_variant, program, plan.generic, plan.function.version)
        return now == (self.live, self.program, self.generic, self.version)

    def close(self) -> None:
        """Give the programs back."""
        for program in (self.sensed, self.reference, self.fallback):
            if program is not None:
                program.close()


def bare(controller: Controller) -> StandIns:
    """None of the programs: headers are read, and nothing else."""
    with controller.lock:
        return StandIns(
            live=controller.live_variant,
            program=controller.live.info.prog_id,
            generic=controller.plan.generic,
            version=controller.plan.function.version,
        )


def make_stand_ins(controller: Controller) -> StandIns:
    """Build, prove and load them, without a lock: traffic goes on, and so may changes.

    The live variant's counted build is other code than the one that was proven, so it is compared
    with the generic code once more. When that fails, the event says so and nothing is timed.
    Raises TablesChangedError when the tables change meanwhile.
    """
    made = bare(controller)
    try:
        _add_timed(controller, made)
    except (ToolchainError, VerifierError, PreflightError) as error:
        controller.events.tell("sensor_untimed", reason=str(error))
    except BaseException:
        made.close()
        raise
    return made


def _add_timed(controller: Controller, made: StandIns) -> None:
    specialized = made.live != made.generic
    sensed = _measured(controller, made.live)
    if specialized:
        with controller.changes.proof.prepared((), made.version) as prepared:
            prepared().check(sensed, f"pf_{made.live.key}")
        made.reference = controller.state.load(
            _measured(controller, made.generic), "sensor_generic", arm=REFERENCE_ARM
        )
    if specialized and _guarded(controller, made.live):
        code = controller.builder.variant(controller.plan.function, made.generic, Role.FALLBACK)
        made.fallback = controller.state.load(code, "sensor_fallback", arm=SENSED_ARM)
    made.sensed = controller.state.load(sensed, "sensor_live", arm=SENSED_ARM)


def _measured(controller: Controller, variant: Variant) -> bytes:
    """Sampled packets are few, so each is timed."""
    each = variant.with_values(sample_shift=0)
    return controller.builder.variant(controller.plan.function, each, Role.ARM)


def _guarded(controller: Controller, variant: Variant) -> bool:
    return any(
        point.point_class is PointClass.NARROWING
        and variant[point.name] != controller.plan.generic[point.name]
        for point in controller.plan.template.points
    )
