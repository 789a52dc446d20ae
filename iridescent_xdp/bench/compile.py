# SPDX-License-Identifier: GPL-2.0-only
"""How long a variant takes from the decision to build it until the kernel has it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from iridescent_xdp.bench.compile_sizes import compile_sizes
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.subject import Changes, Subject
from iridescent_xdp.bench.subject_filter import NARROW, FilterSubject
from iridescent_xdp.bench.subject_l4lb import L4lbSubject
from iridescent_xdp.bench.subject_router import RouterSubject
from iridescent_xdp.builder import Builder, make_toolchain
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.statistics import ratio
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.toolchain.cache import CachedToolchain
from iridescent_xdp.variant import Variant
from traffic.calm import Calm
from traffic.generator import StreamTimer

# by difference from generic; they span the space: what is narrowed, and each way to keep tables
_FILTER: tuple[Changes, ...] = (
    {},
    NARROW,
    {**NARROW, "ipv6": False, "only_protocol": 6},
    {"rule_layout": "chain"},
    {"rule_layout": "chain", **NARROW},
    {"rule_layout": "chain", "ipv6": False, "counter_batch": "64"},
    {"rule_layout": "tree"},
    {"rule_layout": "tree", "vlan_depth": 1, "counter_batch": "16"},
    {"rule_layout": "tree", **NARROW},
    {"rule_layout": "tree", **NARROW, "ipv6": False},
    {"rule_layout": "tree", **NARROW, "counter_batch": "64"},
)
_ROUTER: tuple[Changes, ...] = (
    {},
    {"lookup": "flat"},
    {"hot_keys": "16"},
    {"lookup": "ifs"},
    {"lookup": "ifs", "ipv6": False},
    {"lookup": "ifs", "checksum_update": "full"},
    {"lookup": "ifs", "hot_keys": "4"},
    {"lookup": "ifs", "hot_keys": "64"},
)
_L4LB: tuple[Changes, ...] = (
    {},
    {"no_ip_options": True, "encapsulation": "ipip"},
    {"hot_flows": "16"},
    {"service_layout": "compiled"},
    {"service_layout": "compiled", "ipv6": False, "no_ip_options": True},
    {"service_layout": "compiled", "flow_cache": True},
    {"service_layout": "compiled", "hot_flows": "4"},
    {"service_layout": "compiled", "hot_flows": "64", "encapsulation": "ipip"},
)
ENTRIES = 100  # routes and services; of rules there are 64


@dataclass(frozen=True, kw_only=True)
class _Built:
    build_ms: float
    load_ms: float
    instructions: int

    @property
    def total_ms(self) -> float:
        """From the decision until the kernel has it."""
        return self.build_ms + self.load_ms


def compile_times(options: Options) -> list[Result]:
    """LLVM in the process against bcc, and the object cache, from decision to loaded."""
    results: list[Result] = []
    llvm, bcc = Builder("llvm", cached=False), Builder("bcc", cached=False)
    for subject, changes in (
        (FilterSubject(), _FILTER),
        (RouterSubject(ENTRIES), _ROUTER),
        (L4lbSubject(ENTRIES), _L4LB),
    ):
        if options.wants(subject.name):
            results += _function(subject, changes, llvm, bcc, options)
    return results + compile_sizes(options)


def _function(
    subject: Subject, changes: Sequence[Changes], llvm: Builder, bcc: Builder, options: Options
) -> list[Result]:
    case = Case(suite="compile", name=subject.name)
    with Rig(llvm, subject) as rig:
        with StreamTimer(llvm, subject.stream("high")) as timer:
            rig.learn(timer)
        variants = [rig.changed(change) for change in (changes[::5] if options.quick else changes)]
        for builder in (llvm, bcc):  # clang for the template, and both compilers' first use
            _build(builder, rig, variants[0])
        rounds = options.pick(5, 1)
        calm = Calm(options.patience)
        by_llvm, by_bcc, in_calm = ([list[_Built]() for _ in variants] for _ in range(3))
        for number in range(rounds):
            told = f"{len(variants)} variants, round {number + 1} of {rounds}"
            options.tell(f"compile/{case.name}: {told}")
            for place, variant in enumerate(variants):
                by_llvm[place].append(_build(llvm, rig, variant))
                by_bcc[place].append(_build(bcc, rig, variant))
                in_calm[place].append(calm.measured(partial(_build, llvm, rig, variant)))
        kept_ms, cached = _cached(rig, variants, rounds, options)
        tables_ms = [_table_ms(rig, variants[-1]) for _ in range(rounds)]
    results = _results(case, by_llvm, by_bcc, in_calm)
    return [
        *results,
        case.median("cached_ms", "ms", kept_ms),
        case.median("cached_on_disk_ms", "ms", [built.total_ms for built in cached]),
        case.median("cached_verifier_ms", "ms", [built.load_ms for built in cached]),
        case.median("table_ms", "ms", tables_ms),
    ]


def _table_ms(rig: Rig, variant: Variant) -> float:
    """The decision code for changed tables: once for all variants with the same layout."""
    function = function_for(rig.function.template, rig.function.tables)
    function.learn_keys(rig.seen.keys)
    began = time.perf_counter()
    len(function.compile_tables(variant).nodes)
    return (time.perf_counter() - began) * 1000


def _build(builder: Builder, rig: Rig, variant: Variant) -> _Built:
    began = time.perf_counter()
    insns = _instructions(builder, rig, variant)
    built = time.perf_counter()
    with rig.place(insns, "bench_compile"):
        loaded = time.perf_counter()
    return _Built(
        build_ms=(built - began) * 1000,
        load_ms=(loaded - built) * 1000,
        instructions=len(insns) // 8,
    )


def _cached(
    rig: Rig, variants: list[Variant], rounds: int, options: Options
) -> tuple[list[float], list[_Built]]:
    """Milliseconds for variants that this process has built and kept, and what another process
    needs, which finds the object on disk and has the verifier look at it."""
    options.tell("compile: built before")
    kept_ms: list[float] = []
    found: list[_Built] = []
    with tempfile.TemporaryDirectory(prefix="iridescent-bench-") as folder:
        builder = Builder("llvm")
        builder.toolchain = CachedToolchain(make_toolchain("llvm"), Path(folder))
        for variant in variants:
            rig.state.load_kept(_instructions(builder, rig, variant), "bench_kept")
        for _ in range(rounds):
            for variant in variants:
                found.append(_build(builder, rig, variant))
                began = time.perf_counter()
                rig.state.load_kept(_instructions(builder, rig, variant), "bench_kept")
                kept_ms.append((time.perf_counter() - began) * 1000)
    return kept_ms, found


def _instructions(builder: Builder, rig: Rig, variant: Variant) -> bytes:
    return builder.variant(rig.function, variant, Role.STEADY)


def _results(
    case: Case, by_llvm: list[list[_Built]], by_bcc: list[list[_Built]], in_calm: list[list[_Built]]
) -> list[Result]:
    """Each variant is one repetition, the median of its rounds. Both sides of a ratio are as they
    came, in turn; what has a limit in milliseconds is from ``in_calm``."""
    total_ms = [_medians(built, lambda b: b.total_ms) for built in (by_bcc, by_llvm)]
    build_ms = [_medians(built, lambda b: b.build_ms) for built in (by_bcc, by_llvm)]
    llvm_ms = _medians(in_calm, lambda built: built.total_ms)
    verifier_ms = _medians(in_calm, lambda built: built.load_ms)
    shares = [load / total for load, total in zip(verifier_ms, llvm_ms, strict=True)]
    return [
        case.of("speedup", ratio(total_ms[0], total_ms[1])),
        case.of("compiler_speedup", ratio(build_ms[0], build_ms[1])),
        case.median("llvm_ms", "ms", llvm_ms),
        case.count("llvm_worst_ms", "ms", max(llvm_ms), len(llvm_ms)),
        case.median("bcc_ms", "ms", total_ms[0]),
        case.median("verifier_ms", "ms", verifier_ms),
        case.median("verifier_share", "share", shares),
        case.median("instructions", "instructions", [built[0].instructions for built in by_llvm]),
    ]


def _medians(
    rounds_of_variants: Sequence[Sequence[_Built]], of: Callable[[_Built], float]
) -> list[float]:
    return [median(map(of, rounds)) for rounds in rounds_of_variants]
