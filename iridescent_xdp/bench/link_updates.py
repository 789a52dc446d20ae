# SPDX-License-Identifier: GPL-2.0-only
"""How long a link update takes: to a program that the kernel does not know yet, and to one that a
controller has had it know (kernel/known_programs.py)."""

from __future__ import annotations

import time
from contextlib import closing

from iridescent_xdp.bench.results import Case, Options, Result, quantile_of
from iridescent_xdp.kernel.known_programs import KnownPrograms
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.kernel.program import Program
from traffic.testbed import DUT_SIDE, Testbed, inside

ROUNDS = (100, 5)


def link_updates(one: Program, other: Program, options: Options) -> list[Result]:
    """Microseconds of updates there and back on an idle veth, of one kind, then of the other."""
    times: dict[str, list[float]] = {}
    with (
        Testbed() as bed,
        inside(bed.dut),
        closing(Link.attach(one, find_interface(DUT_SIDE), "native")) as link,
        closing(KnownPrograms()) as known,
    ):
        times["new"] = _updates(link, one, other, options)
        known.add(one)
        known.add(other)
        times["known"] = _updates(link, one, other, options)
    case = Case(suite="swap", name="link")
    return [
        case.of(f"{kind}_us_p{round(q * 100)}", quantile_of(took, q, "us"))
        for kind, took in times.items()
        for q in (0.5, 0.99)
    ]


def _updates(link: Link, one: Program, other: Program, options: Options) -> list[float]:
    took = []
    for old, new in ((one, other), (other, one)) * options.pick(*ROUNDS):
        began = time.perf_counter_ns()
        link.replace(new, old)
        took.append((time.perf_counter_ns() - began) / 1000)
    return took
