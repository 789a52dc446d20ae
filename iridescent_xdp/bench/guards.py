# SPDX-License-Identifier: GPL-2.0-only
"""What guards cost when they pass and when they miss, and what instrumentation costs.

A guard's pass is the narrowed program less the same program compiled as if the guard could not
fail, on packets that fit. A miss is the narrowed program less the generic one on packets none of
which fit. Hot keys have no guard to leave out; their miss is a packet whose key is not hot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from iridescent_xdp.bench.instrumentation import instrumentation
from iridescent_xdp.bench.live import cpus
from iridescent_xdp.bench.loads import Loads
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.split import split
from iridescent_xdp.bench.subject import Subject
from iridescent_xdp.bench.subjects import wanted
from iridescent_xdp.bench.unguarded import unguarded
from iridescent_xdp.builder import Builder
from iridescent_xdp.points import Point, PointClass, PointKind
from iridescent_xdp.preflight import on_cpu
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import StreamTimer
from traffic.mix_stream import Stream

BREAK_SHARE = 0.5

Times = dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class _Guard:
    """A point and the value that is measured; ``hot`` keys are not guarded."""

    point: Point
    value: int
    hot: bool = False


def guards(options: Options) -> list[Result]:
    """Nanoseconds of passes and misses for each guard, and instrumentation in per cent.

    The quick form measures one guard of each function.
    """
    results: list[Result] = []
    for subject in wanted(options):
        with Rig(Builder("llvm"), subject) as rig, on_cpu(cpus()[1]):
            stream = subject.stream("high", BREAK_SHARE)
            with StreamTimer(rig.builder, subject.stream("high")) as timer:
                rig.learn(timer)
            chosen = list(_guards(rig, subject))
            short = [guard for guard in chosen if guard.hot] or chosen[-1:]
            for guard in short if options.quick else chosen:
                results += _measure(rig, guard, stream, options)
            results += instrumentation(rig, subject.stream("low"), options)
    return results


def _guards(rig: Rig, subject: Subject) -> Iterator[_Guard]:
    for point in rig.function.template.points:
        if point.point_class is PointClass.NARROWING:
            value = _narrowest(rig, point)
            if value != point.default:
                yield _Guard(point=point, value=value)
        elif point.name in subject.hot_points:
            yield _Guard(point=point, value=point.parse(subject.hot_points[point.name]), hot=True)


def _narrowest(rig: Rig, point: Point) -> int:
    """The other value of a condition, the smallest of a range, what was seen most."""
    if point.kind is PointKind.GENERIC:
        seen = rig.seen.values.get(point.name, {})
        return max(seen, key=seen.__getitem__, default=point.default)
    return next(value for value in point.domain if value != point.default)


def _measure(rig: Rig, guard: _Guard, stream: Stream, options: Options) -> list[Result]:
    name = guard.point.name
    case = Case(suite="guards", name=f"{rig.subject.name}/{name}")
    variant = rig.variant.with_values(**{name: guard.value})
    passing, missing = split(rig, rig.load(variant), name, stream)
    with Loads(options) as loads:
        _add_both(loads, rig, variant)
        on_miss = _timed(rig, loads, missing, options)
    with Loads(options) as loads:
        _add_both(loads, rig, variant)
        if not guard.hot:
            _add_unguarded(loads, rig, guard)
        on_pass = _timed(rig, loads, passing, options)
    results = list(_results(case, on_pass, on_miss))
    options.tell(f"guards/{case.name}: " + ", ".join(f"{r.metric} {r.value:.2f}" for r in results))
    return results


def _add_both(loads: Loads, rig: Rig, variant: Variant) -> None:
    loads.add_variant("generic", rig, rig.variant)
    loads.add_variant("narrowed", rig, variant)


def _add_unguarded(loads: Loads, rig: Rig, guard: _Guard) -> None:
    """The program whose guard cannot fail, on the same maps: others are not equally fast."""
    name = guard.point.name
    with (
        unguarded(rig.function.template, name) as template,
        Rig(rig.builder, rig.subject, template=template) as other,
    ):
        other.function.learn_keys(rig.seen.keys)
        variant = other.variant.with_values(**{name: guard.value})
        code = rig.builder.variant(other.function, variant, Role.STEADY)
    loads.add("unguarded", rig, code)


def _timed(rig: Rig, loads: Loads, stream: Stream, options: Options) -> Times:
    with StreamTimer(rig.builder, stream) as timer:
        return loads.rounds(timer, options.pick(25, 3))


def _results(case: Case, on_pass: Times, on_miss: Times) -> Iterator[Result]:
    gain, cost = (_less(on_pass, "generic", "narrowed"), _less(on_miss, "narrowed", "generic"))
    if "unguarded" in on_pass:
        yield case.median("pass_ns", "ns", _less(on_pass, "narrowed", "unguarded"))
    yield case.median("miss_ns", "ns", cost)
    yield case.median("gain_ns", "ns", gain)
    rate = break_even(median(gain), median(cost))
    yield case.count("break_even_miss_rate", "share", rate, len(gain))


def _less(times: Times, a: str, b: str) -> Sequence[float]:
    return [x - y for x, y in zip(times[a], times[b], strict=True)]


def break_even(gain_ns: float, miss_ns: float) -> float:
    """The share of misses at which a guarded variant is as fast as generic: there the gain of those
    that pass is what those that miss cost. 0 when it never gains, 1 when misses are free."""
    if gain_ns <= 0:
        return 0.0
    return gain_ns / (gain_ns + max(miss_ns, 0.0))
