# SPDX-License-Identifier: GPL-2.0-only
"""What several kernel tests share; pytest fixtures are in conftest.py."""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from random import Random

import numpy as np

from iridescent_xdp.functions.base import Function, function_for
from iridescent_xdp.functions.filter import count_totals
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.points import Point, PointKind
from iridescent_xdp.state import State
from iridescent_xdp.template import Template, bpf_directory, find_template, read_template
from iridescent_xdp.variant import Variant

UDP_PROTOCOL = 17
ATTEMPTS = 60  # rows looked at for each row of a covering array

RULES = (
    Rule(source=ip_network("10.1.0.0/16"), action="drop"),
    Rule(protocol=17, destination_ports=(53, 60), action="drop"),
    Rule(source=ip_network("10.0.0.0/8"), protocol=6, tcp_flags=(0x12, 0x02), action="pass"),
    Rule(source=ip_network("2001:db8::/32"), protocol=6, action="drop"),
    Rule(destination=ip_network("2001:db8:1::/48"), source_ports=(1000, 2000), action="pass"),
    Rule(destination=ip_network("192.0.2.0/24"), action="drop"),
)
TABLES = FilterTables(
    rules=RULES,
    allow=(ip_network("198.51.100.1/32"), ip_network("2001:db8:a::/48")),
    deny=(ip_network("198.51.100.7/32"), ip_network("2001:db8:d::/64")),
)


def wait_until(condition: Callable[[], object], what: str, *, seconds: float = 15.0) -> None:
    """Return as soon as ``condition`` holds; fail with ``what`` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.002)


def returns(verdict: int) -> bytes:
    """A program that returns a number."""
    return struct.pack("<BBhi", 0xB7, 0, 0, verdict) + struct.pack("<BBhi", 0x95, 0, 0, 0)


def filter_function(tables: FilterTables = TABLES, template: Template | None = None) -> Function:
    """The filter with tables; of another template where one is given."""
    return function_for(template or read_template(find_template("filter")), tables)


def generic_of(function: Function, **policy: int) -> Variant:
    """The generic variant under a policy."""
    return Variant.generic(function.template.points, {**function.policy(), **policy})


def extremes(point: Point) -> tuple[int, ...]:
    """The values of a point that a test looks at: all of a few, the ends of a long range."""
    if point.kind is PointKind.GENERIC:
        return (0, UDP_PROTOCOL)
    return point.domain if len(point.domain) <= 4 else (point.domain[0], point.domain[-1])


def searched_axes(function: Function, generic: Variant) -> dict[str, tuple[int, ...]]:
    """The values of each searched point that can be built for these tables."""
    return {
        point.name: tuple(
            value
            for value in extremes(point)
            if function.infeasible(generic.with_values(**{point.name: value})) is None
        )
        for point in function.template.points
        if point.searched
    }


def covering(axes: Mapping[str, Sequence[int]], seed: int = 0) -> list[dict[str, int]]:
    """Few rows in which every value of each point meets every value of each other point."""
    rng = Random(seed)
    missing = {
        frozenset(((a, x), (b, y)))
        for a, b in itertools.combinations(axes, 2)
        for x in axes[a]
        for y in axes[b]
    }
    rows: list[dict[str, int]] = []
    while missing or not rows:
        wanted = min(missing, key=sorted) if missing else frozenset()
        tries = [
            {name: rng.choice(values) for name, values in axes.items()} | dict(wanted)
            for _ in range(ATTEMPTS)
        ]
        best = max(tries, key=lambda row: len(_pairs(row) & missing))
        missing -= _pairs(best)
        rows.append(best)
    return rows


def _pairs(row: Mapping[str, int]) -> set[frozenset[tuple[str, int]]]:
    return {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}


def corners(function: Function, generic: Variant, seed: int = 0) -> list[Variant]:
    """Variants that cover every pair of searched values."""
    rows = covering(searched_axes(function, generic), seed)
    return list(dict.fromkeys(generic.with_values(**row) for row in rows))


def patched_template(folder: Path, *changes: tuple[str, str], name: str = "filter") -> Template:
    """A copy of a template and its headers with texts replaced, each of which must occur once."""
    sources = [bpf_directory() / f"{name}.bpf.c", *(bpf_directory() / "include").glob("*.h")]
    texts = {path.name: path.read_text() for path in sources}
    for old, new in changes:
        found = [file for file, text in texts.items() if old in text]
        assert len(found) == 1 and texts[found[0]].count(old) == 1, f"not once: {old!r}: {found}"
        texts[found[0]] = texts[found[0]].replace(old, new)
    for file, text in texts.items():
        (folder / file).write_text(text)
    return read_template(folder / f"{name}.bpf.c")


@dataclass(frozen=True)
class Counted:
    """Packets and bytes of the filter by verdict ("pass", "drop") and by slot; zeros left out."""

    verdicts: dict[str, tuple[int, int]]
    slots: dict[int, tuple[int, int]]


def counted(state: State) -> Counted:
    """What the filter has counted, as an operator reads it."""
    rows = state["counters"].read()
    assert rows is not None
    totals = [(int(p), int(b)) for p, b in count_totals(rows)]
    verdicts = dict(zip(("pass", "drop"), totals[:2], strict=True))
    return Counted(
        {verdict: hits for verdict, hits in verdicts.items() if any(hits)},
        {slot: hits for slot, hits in enumerate(totals[2:]) if any(hits)},
    )


def packets_per_slot(state: State) -> dict[int, int]:
    """Packets alone."""
    return {slot: packets for slot, (packets, _) in counted(state).slots.items()}


def per_cpu_sum(state: State, name: str, member: str, key: int = 0) -> int:
    """One member of a per-CPU record, summed up."""
    rows = state[name].read(key)
    assert rows is not None
    return int(np.asarray(rows[member]).sum())
