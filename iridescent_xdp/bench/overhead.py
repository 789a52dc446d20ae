# SPDX-License-Identifier: GPL-2.0-only
"""What the steady state costs: root and slot in front of a variant, against the variant alone."""

from __future__ import annotations

from iridescent_xdp.bench.live import Dut, cpus
from iridescent_xdp.bench.mixes import edge_traffic
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.builder import Builder
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.preflight import on_cpu
from iridescent_xdp.statistics import Effect, ratio
from traffic.generator import StreamTimer

PASSES = 16  # of the stream in one measurement: the difference is a fraction of a nanosecond


def overhead(options: Options) -> list[Result]:
    """The steady state against the same variant attached directly: time and live throughput."""
    case = Case(suite="overhead", name="filter")
    builder, stream = Builder("llvm"), edge_traffic("low")
    with Rig(builder, FilterTables(rules=RULES), default_action=1) as rig:
        with on_cpu(cpus()[1]), StreamTimer(builder, stream) as timer:
            winner = rig.load(rig.find_winner(timer, options, f"overhead/{case.name}"))
            timer.repeat *= options.pick(PASSES, 2)
            rig.enter(winner)
            options.tell("overhead: program time")
            programs = {"steady": rig.root(), "direct": winner}
            times = timer.rounds(programs, options.pick(41, 7))
        options.tell("overhead: live")
        with Dut(rig, stream, threaded=True) as dut:
            rig.enter(winner)
            enter = {
                "steady": lambda: dut.attach(rig.root()),
                "direct": lambda: dut.attach(winner),
            }
            mpps = dut.turns(enter, options.pick(41, 6), options.pick(100, 30) / 1000).mpps
    return [
        case.of("steady_pct", _percent(ratio(times["steady"], times["direct"]))),
        case.of("steady_live_pct", _percent(ratio(mpps["direct"], mpps["steady"]))),
        *(case.median(f"{name}_ns", "ns", values) for name, values in times.items()),
        *(case.median(f"{name}_mpps", "Mpps", values) for name, values in mpps.items()),
    ]


def _percent(effect: Effect) -> Effect:
    """A ratio of costs as what is paid on top."""
    value, low, high = ((x - 1) * 100 for x in (effect.value, effect.low, effect.high))
    return Effect(value=value, low=low, high=high, n=effect.n, unit="%")
