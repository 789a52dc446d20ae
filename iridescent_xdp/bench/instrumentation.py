# SPDX-License-Identifier: GPL-2.0-only
"""What it costs to look at the traffic before a search, and to time arms during one.

*Looking*: watched generic code; one packet in 2^observe_shift goes through the observer and the
observing build, which notes values and keys. *Timing*: the generic program as an arm,
which counts all packets and times one in 2^sample_shift. Both against the generic program alone,
and both end with the search: the steady state has none of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from iridescent_xdp.bench.loads import LOADS, MOST, Loads
from iridescent_xdp.bench.results import Case, Options, Result, percent
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.observe import watch_one_in
from iridescent_xdp.state import State
from iridescent_xdp.statistics import ratio
from iridescent_xdp.switchboard import OBSERVER, OBSERVING
from iridescent_xdp.toolchain.base import Role
from traffic.generator import StreamTimer
from traffic.mix_stream import Stream

OBSERVE_SHIFTS = (0, 2, 4, 6, 8, 10)
SAMPLE_SHIFTS = (0, 2, 3, 5, 8)
ROUNDS = 5
TIMED_ARM = 1


def instrumentation(rig: Rig, stream: Stream, options: Options) -> list[Result]:
    """Per cent on top of the generic program, at the default rates and at others."""
    case = Case(suite="guards", name=rig.subject.name)
    results: list[Result] = []
    rounds = options.pick(ROUNDS, 3)
    with StreamTimer(rig.builder, stream) as timer:
        for metric, point, shifts in (
            ("instrumentation_pct", "observe_shift", OBSERVE_SHIFTS),
            ("timing_pct", "sample_shift", SAMPLE_SHIFTS),
        ):
            usual = rig.variant[point]
            for shift in sorted({*shifts, usual} if not options.quick else {usual}):
                name = metric if shift == usual else f"{metric}_1_in_{1 << shift}"
                with Loads(options, MOST if shift == usual else LOADS) as loads:
                    loads.add_variant("generic", rig, rig.variant)
                    if point == "observe_shift":
                        with _looking(rig, loads, shift):
                            times = loads.by_load(timer, rounds)
                    else:
                        variant = rig.variant.with_values(sample_shift=shift)
                        loads.add_variant("instrumented", rig, variant, Role.ARM, TIMED_ARM)
                        times = loads.by_load(timer, rounds)
                on_top = percent(ratio(times["instrumented"], times["generic"]))
                options.tell(f"guards/{case.name}: {name} {on_top.value:.2f}")
                results.append(case.of(name, on_top))
    return results


@contextmanager
def _looking(rig: Rig, loads: Loads, shift: int) -> Iterator[None]:
    """Watched code, with the observer and the observing build where they are looked for."""
    template, insns = rig.builder.helper("observer")
    with ExitStack() as stack:
        helper = State.create(template)
        stack.callback(helper.close)
        both = State(template, {**helper.maps, **rig.state.maps})
        rig.enter(stack.enter_context(both.load(insns, "bench_observer")), OBSERVER)
        code = rig.builder.variant(rig.function, rig.variant, Role.OBSERVE)
        rig.enter(stack.enter_context(rig.place(code, "bench_observing")), OBSERVING)
        watch_one_in(rig.state, shift)
        loads.add_variant("instrumented", rig, rig.variant, Role.WATCHED)
        yield
