# SPDX-License-Identifier: GPL-2.0-only
"""Bench suites: what is claimed about speed, measured anew on the machine at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from iridescent_xdp.bench.adapt import adapt
from iridescent_xdp.bench.compile import compile_times
from iridescent_xdp.bench.functions import functions
from iridescent_xdp.bench.guards import guards
from iridescent_xdp.bench.overhead import overhead
from iridescent_xdp.bench.peers import peers
from iridescent_xdp.bench.results import Options, Result
from iridescent_xdp.bench.search import search
from iridescent_xdp.bench.swap import swap
from iridescent_xdp.bench.verdict_cache import verdict_cache

Suite = Callable[[Options], list[Result]]

SUITES: Mapping[str, Suite] = {
    "compile": compile_times,
    "swap": swap,
    "functions": functions,
    "peers": peers,
    "guards": guards,
    "overhead": overhead,
    "search": search,
    "adapt": adapt,
    "cache": verdict_cache,
}
