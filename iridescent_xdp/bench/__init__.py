# SPDX-License-Identifier: GPL-2.0-only
"""Bench suites: what is claimed about speed, measured anew on the machine at hand.

A suite is imported when it is asked for: `iridescent bench swap` needs nothing of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from iridescent_xdp.bench.results import Options, Result

    Suite = Callable[[Options], list[Result]]

_FUNCTIONS = {  # by suite: its module here, and the function there
    "compile": ("compile", "compile_times"),
    "swap": ("swap", "swap"),
    "functions": ("functions", "functions"),
    "peers": ("peers", "peers"),
    "guards": ("guards", "guards"),
    "overhead": ("overhead", "overhead"),
    "search": ("search", "search"),
    "adapt": ("adapt", "adapt"),
    "cache": ("verdict_cache", "verdict_cache"),
}


class _Suites(Mapping[str, "Suite"]):
    """Functions by the name of their suite."""

    def __getitem__(self, name: str) -> Suite:
        module, function = _FUNCTIONS[name]
        return cast("Suite", getattr(import_module(f"{__name__}.{module}"), function))

    def __iter__(self) -> Iterator[str]:
        return iter(_FUNCTIONS)

    def __len__(self) -> int:
        return len(_FUNCTIONS)

    def __contains__(self, name: object) -> bool:
        return name in _FUNCTIONS


SUITES: Mapping[str, Suite] = _Suites()
