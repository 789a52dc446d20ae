# SPDX-License-Identifier: GPL-2.0-only
"""How the time to compile a table in grows with its entries; LLVM, from decision to loaded.

The first time after a change of the table: the decision code, the optimizer and the verifier, each
alone and together. What is too large to compile stays in its map, and the reason is told.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.rules import many_rules
from iridescent_xdp.bench.subject import Changes, Subject
from iridescent_xdp.bench.subject_filter import FilterSubject
from iridescent_xdp.bench.subject_l4lb import L4lbSubject
from iridescent_xdp.bench.subject_router import RouterSubject
from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import IridescentError
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.toolchain.base import Role

SIZES, SIZES_QUICK = (100, 1_000, 10_000), (100,)
REPEATS = 3


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A table compiled in, and the variant that does it."""

    subject: Subject
    entries: int
    changes: Changes


def compile_sizes(options: Options) -> list[Result]:
    """Cases ``filter/100``, ``router/1000`` and so on."""
    results: list[Result] = []
    for size in SIZES_QUICK if options.quick else SIZES:
        for name, changes in (
            ("filter", {"rule_layout": "tree"}),
            ("router", {"lookup": "ifs"}),
            ("l4lb", {"service_layout": "compiled"}),
        ):
            if not options.wants(name):
                continue
            options.tell(f"compile/{name}/{size}: compiled in")
            try:
                table = _Table(subject=_subject(name, size), entries=size, changes=changes)
                results += _measure(table, options)
            except IridescentError as error:
                options.tell(f"compile/{name}/{size}: stays in the map: {error}")
    return results


def _subject(name: str, entries: int) -> Subject:
    if name == "filter":
        return FilterSubject(FilterTables(rules=many_rules(entries)))
    return RouterSubject(entries) if name == "router" else L4lbSubject(entries)


def _measure(table: _Table, options: Options) -> list[Result]:
    case = Case(suite="compile", name=f"{table.subject.name}/{table.entries}")
    builder = Builder("llvm", cached=False)
    decision_ms, build_ms, load_ms, total_ms = [], [], [], []
    with Rig(builder, table.subject) as rig:
        template, tables = rig.function.template, rig.function.tables
        for _ in range(options.pick(REPEATS, 1)):
            function = function_for(template, tables)
            function.map_entries()
            variant = rig.changed(table.changes)
            began = time.perf_counter()
            len(function.compile_tables(variant).nodes)
            decided = time.perf_counter()
            insns = builder.variant(function, variant, Role.STEADY)
            built = time.perf_counter()
            with rig.place(insns, "bench_compile"):
                loaded = time.perf_counter()
            decision_ms.append((decided - began) * 1000)
            build_ms.append((built - decided) * 1000)
            load_ms.append((loaded - built) * 1000)
            total_ms.append((loaded - began) * 1000)
    return [
        case.median("total_ms", "ms", total_ms),
        case.median("decision_ms", "ms", decision_ms),
        case.median("llvm_build_ms", "ms", build_ms),
        case.median("verifier_ms", "ms", load_ms),
        case.count("instructions", "instructions", len(insns) // 8, 1),
    ]
