# SPDX-License-Identifier: GPL-2.0-only
"""Does the controller decide soon, rightly and cheaply, and does it keep up with its traffic?

Everything is live, on a testbed, with the settings that `iridescent run` has by default. One case
for each scenario; docs/benchmarks.md says what each figure means.
"""

from __future__ import annotations

from iridescent_xdp.bench.adapt_large import large_space
from iridescent_xdp.bench.adapt_phases import phases
from iridescent_xdp.bench.adapt_search import Regrets, own_cache, searches
from iridescent_xdp.bench.adapt_shifts import shifts
from iridescent_xdp.bench.results import Options, Result, show
from iridescent_xdp.builder import Builder

FAMILIES = (searches, large_space, phases, shifts)


def adapt(options: Options) -> list[Result]:
    """Single searches, a large space, whole runs of scenarios, changes and false alarms."""
    builder, regrets = Builder("llvm"), Regrets()
    results: list[Result] = []
    with own_cache(options):
        for family in FAMILIES:
            found = family(builder, options, regrets)
            for result in found:  # a later family may fail
                options.tell(f"adapt: {result.case}: {result.metric} {show(result.value)}")
            results += found
    return results + regrets.results()
