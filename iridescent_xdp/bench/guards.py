# SPDX-License-Identifier: GPL-2.0-only
"""What guards cost when they pass and when they miss, and what instrumentation costs.

Guards are measured where they stand: in a fast variant, with the function's tables compiled in and
everything assumed that its traffic allows. A guard's pass is that variant less the same program
compiled as if this guard could not fail, on packets that fit everything. A miss is that variant
less the generic one on packets none of which fit. Hot keys have no guard to leave out, and are
measured in the generic variant; their miss is a packet whose key is not hot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from iridescent_xdp.bench.instrumentation import instrumentation
from iridescent_xdp.bench.live import cpus
from iridescent_xdp.bench.loads import MANY, Loads
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
    """A point, the variant ``without`` the assumption, and the one ``narrowed`` by it; ``hot`` keys
    are not guarded."""

    point: Point
    without: Variant
    narrowed: Variant
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
            if not options.quick:
                results += _all_together(rig, stream, options)
            results += instrumentation(rig, subject.stream("low"), options)
    return results


def _guards(rig: Rig, subject: Subject) -> Iterator[_Guard]:
    fast = rig.changed({**subject.fast, **subject.narrow})
    for point in rig.function.template.points:
        name = point.name
        if point.point_class is PointClass.NARROWING:
            value = _narrowest(rig, point)
            if value != point.default:
                without = fast.with_values(**{name: point.default})
                narrowed = fast.with_values(**{name: value})
                yield _Guard(point=point, without=without, narrowed=narrowed)
        elif name in subject.hot_points:
            narrowed = rig.changed({name: subject.hot_points[name]})
            yield _Guard(point=point, without=rig.variant, narrowed=narrowed, hot=True)


def _narrowest(rig: Rig, point: Point) -> int:
    """The other value of a condition, the smallest of a range, what was seen most."""
    if point.kind is PointKind.GENERIC:
        seen = rig.seen.values.get(point.name, {})
        return max(seen, key=seen.__getitem__, default=point.default)
    return next(value for value in point.domain if value != point.default)


def _measure(rig: Rig, guard: _Guard, stream: Stream, options: Options) -> list[Result]:
    case = Case(suite="guards", name=f"{rig.subject.name}/{guard.point.name}")
    passing, missing = split(rig, rig.load(guard.narrowed), guard.point.name, stream)
    with Loads(options, MANY) as loads:
        _add_both(loads, rig, guard)
        if not guard.hot:
            loads.add_variant("generic", rig, rig.variant)
        on_miss = _timed(rig, loads, missing, options)
    with Loads(options, MANY) as loads:
        _add_both(loads, rig, guard)
        if not guard.hot:
            _add_unguarded(loads, rig, guard.narrowed, guard.point.name)
        on_pass = _timed(rig, loads, passing, options)
    return _told(case, list(_results(case, on_pass, on_miss)), options)


def _all_together(rig: Rig, stream: Stream, options: Options) -> list[Result]:
    """The passes of all guards that the subject's traffic allows, and of the way to the generic
    code, which a program without guards does not have."""
    names = sorted(rig.subject.narrow)
    if len(names) < 2:
        return []
    narrowed = rig.changed({**rig.subject.fast, **rig.subject.narrow})
    passing, _ = split(rig, rig.load(narrowed), names[0], stream)
    with Loads(options, MANY) as loads:
        loads.add_variant("narrowed", rig, narrowed)
        _add_unguarded(loads, rig, narrowed, *names)
        times = _timed(rig, loads, passing, options)
    case = Case(suite="guards", name=f"{rig.subject.name}/all {len(names)}")
    return _told(case, [case.median("all_pass_ns", "ns", _pass(times))], options)


def _told(case: Case, results: list[Result], options: Options) -> list[Result]:
    options.tell(f"guards/{case.name}: " + ", ".join(f"{r.metric} {r.value:.2f}" for r in results))
    return results


def _add_both(loads: Loads, rig: Rig, guard: _Guard) -> None:
    loads.add_variant("without", rig, guard.without)
    loads.add_variant("narrowed", rig, guard.narrowed)


def _add_unguarded(loads: Loads, rig: Rig, variant: Variant, *names: str) -> None:
    """The program whose guards cannot fail, on the same maps: others are not equally fast."""
    with (
        unguarded(rig.function.template, *names) as template,
        Rig(rig.builder, rig.subject, template=template) as other,
    ):
        other.function.learn_keys(rig.seen.keys)
        code = rig.builder.variant(other.function, variant, Role.STEADY)
    loads.add("unguarded", rig, code)


def _timed(rig: Rig, loads: Loads, stream: Stream, options: Options) -> Times:
    with StreamTimer(rig.builder, stream) as timer:
        return loads.by_load(timer, options.pick(5, 3))


def _results(case: Case, on_pass: Times, on_miss: Times) -> Iterator[Result]:
    guarded = "unguarded" in on_pass
    gain, cost = (_less(on_pass, "without", "narrowed"), _less(on_miss, "narrowed", "without"))
    if guarded:
        yield case.median("pass_ns", "ns", _pass(on_pass))
    on_top = _less(on_miss, "narrowed", "generic") if guarded else cost
    yield case.median("miss_ns", "ns", on_top)
    yield case.median("gain_ns", "ns", gain)
    rate = break_even(median(gain), median(cost))
    yield case.count("break_even_miss_rate", "share", rate, len(gain))


def _pass(times: Times) -> Sequence[float]:
    return _less(times, "narrowed", "unguarded")


def _less(times: Times, a: str, b: str) -> Sequence[float]:
    return [x - y for x, y in zip(times[a], times[b], strict=True)]


def break_even(gain_ns: float, cost_ns: float) -> float:
    """The share of misses at which a variant is as fast as without the assumption: there the gain
    of those that pass is what those that miss cost. 0 when it never gains, 1 when misses are free.
    """
    if gain_ns <= 0:
        return 0.0
    return gain_ns / (gain_ns + max(cost_ns, 0.0))
