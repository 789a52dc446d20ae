# SPDX-License-Identifier: GPL-2.0-only
"""What the steady state costs over the bare variant, and what the root costs during trials.

``steady`` is whatever the link holds after a controller has swapped the winner in; ``bare`` is the
same variant, built without instrumentation and loaded beside it. Equal code is expected, so this
is the check that nothing stays in front of it: with the root left in place it fails.
"""

from __future__ import annotations

from pathlib import Path

from iridescent_xdp.bench.live import cpus
from iridescent_xdp.bench.mixes import edge_traffic
from iridescent_xdp.bench.results import Case, Options, Result, percent
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.bench.sensing import sensing
from iridescent_xdp.bench.winner import find_winner
from iridescent_xdp.builder import Builder
from iridescent_xdp.config import InterfaceConfig
from iridescent_xdp.controller import STEADY_ARM, Controller
from iridescent_xdp.events import EventLog
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.plan import Plan, make_plan
from iridescent_xdp.preflight import on_cpu
from iridescent_xdp.statistics import ratio
from iridescent_xdp.switchboard import ENTRY
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import StreamTimer
from traffic.testbed import DUT_SIDE, Testbed, inside

PASSES = 16  # of the stream in one measurement: the difference is a fraction of a nanosecond


def overhead(options: Options) -> list[Result]:
    """Program time of the steady state, of the bare variant, and with the root in front."""
    case = Case(suite="overhead", name="filter")
    builder, stream = Builder("llvm"), edge_traffic("low")
    with on_cpu(cpus()[1]), StreamTimer(builder, stream) as timer:
        with Rig(builder, FilterTables(rules=RULES)) as rig:
            winner = find_winner(rig, timer, options, f"overhead/{case.name}")
        timer.repeat *= options.pick(PASSES, 2)
        options.tell("overhead: program time")
        times = _times(builder, timer, winner, options.pick(41, 7))
    return [
        case.of("steady_pct", percent(ratio(times["steady"], times["bare"]))),
        case.of("root_pct", percent(ratio(times["root"], times["bare"]))),
        *(case.median(f"{name}_ns", "ns", values) for name, values in times.items()),
        *sensing(options),
    ]


def _plan() -> Plan:
    config = InterfaceConfig(
        name=DUT_SIDE, function="filter", tables=FilterTables(rules=RULES), policy={}
    )
    return make_plan(config, Path("bench"))


def _times(
    builder: Builder, timer: StreamTimer, winner: Variant, rounds: int
) -> dict[str, list[float]]:
    with Testbed() as testbed, inside(testbed.dut), EventLog(None) as events:
        plan = _plan()
        controller = Controller(plan, builder, events)
        try:
            code = builder.variant(plan.function, winner, Role.STEADY)
            controller.swap(winner, code, reason="bench")
            state = controller.state
            with state.load(code, "bare", arm=STEADY_ARM) as bare:
                assert controller.board.holds(ENTRY) == controller.live.info.prog_id
                programs = {
                    "steady": controller.board.held,
                    "bare": bare,
                    "root": controller.board.root,
                }
                return timer.rounds(programs, rounds)
        finally:
            controller.release()
