# SPDX-License-Identifier: GPL-2.0-only
"""Would a verdict cache pay? What one look-up by flow costs."""

from __future__ import annotations

from pathlib import Path

from iridescent_xdp.bench.mixes import edge_traffic
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.builder import Builder
from iridescent_xdp.functions.base import Function
from iridescent_xdp.state import State
from iridescent_xdp.template import read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import StreamTimer

SOURCE = Path(__file__).resolve().parents[2] / "bench" / "verdict_cache.bpf.c"


def verdict_cache(options: Options) -> list[Result]:
    """Parsing alone, and parsing with a look-up in an LRU hash, on traffic with few hot flows."""
    case = Case(suite="cache", name="filter/high")
    builder, template = Builder("llvm"), read_template(SOURCE)
    function, state = Function(template), State.create(template)
    programs = {
        name: state.load(
            builder.variant(function, Variant.generic(template.points, {"with_cache": on}), role),
            name,
        )
        for name, on, role in (("parsing", 0, Role.STEADY), ("lookup", 1, Role.STEADY))
    }
    options.tell("cache: one look-up by flow")
    with StreamTimer(builder, edge_traffic("high")) as timer:
        times = timer.rounds(programs, options.pick(25, 5))
    for program in programs.values():
        program.close()
    state.close()
    pairs = zip(times["lookup"], times["parsing"], strict=True)
    return [case.median("lookup_ns", "ns", [with_it - without for with_it, without in pairs])]
