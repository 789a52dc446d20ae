# SPDX-License-Identifier: GPL-2.0-only
"""A look at the live traffic before a search: packet heads, and the values points could take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np

from iridescent_xdp.kernel.program import Program
from iridescent_xdp.points import Point, PointClass, PointKind
from iridescent_xdp.state import State
from iridescent_xdp.switchboard import OBSERVER, OBSERVING, Switchboard
from iridescent_xdp.template import Template

HOPELESS_MISS_SHARE = 0.1  # a narrowing that sends more packets than this back is not tried
TRAIN = 4  # packets that are looked at in a row, SPEC_TRAIN in iridescent_run.h
WANTED_SHARE = 0.5  # an observed value that fewer packets have is not worth a guard


@dataclass(frozen=True, kw_only=True)
class Observation:
    """``values`` counts, for each point, the values that packets would have needed; ``keys``, for
    each table with hot keys, the raw keys that were looked up."""

    packets: int = 0
    heads: tuple[bytes, ...] = ()
    values: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    keys: Mapping[str, Mapping[bytes, int]] = field(default_factory=dict)

    def miss_share(self, point: Point, value: int) -> float:
        """The share of packets that would miss the guard if ``point`` had ``value``."""
        seen = self.values.get(point.name, {})
        total = sum(seen.values())
        if not total or value == point.default:
            return 0.0
        if point.kind is PointKind.ASSUME:
            return seen.get(0, 0) / total
        if point.kind is PointKind.GENERIC:
            return 1 - seen.get(value, 0) / total
        return sum(count for need, count in seen.items() if need > value) / total

    def candidates(self, point: Point) -> tuple[int, ...]:
        """For a GENERIC point: the values that most packets have."""
        seen = self.values.get(point.name, {})
        total = sum(seen.values())
        return tuple(v for v, count in seen.items() if v and count >= WANTED_SHARE * total)

    def hopeful(self, template: Template) -> dict[str, tuple[int, ...]]:
        """For each narrowing point the values whose guard would not be missed all the time."""
        kept: dict[str, tuple[int, ...]] = {}
        for point in template.points:
            if point.point_class is not PointClass.NARROWING:
                continue
            domain = point.domain
            if point.kind is PointKind.GENERIC:
                domain = tuple(dict.fromkeys((0, *self.candidates(point))))
            good = tuple(v for v in domain if self.miss_share(point, v) <= HOPELESS_MISS_SHARE)
            kept[point.name] = good
        return kept


@dataclass(frozen=True, kw_only=True)
class Lookers:
    """Programs of a look: generic code that is ``watched``, the ``observer`` that it sends a few
    packets to, and the ``observing`` build that decides about those."""

    watched: Program
    observer: Program
    observing: Program


def observe(
    board: Switchboard,
    lookers: Lookers,
    held_by: Callable[[Program], AbstractContextManager[None]],
    *,
    shift: int,
    seconds: float,
) -> Observation:
    """Let the link hold the watched generic code for ``seconds``; one packet in 2^``shift`` is
    looked at."""
    state = board.state
    forget_seen(state)
    state["observed"].zero()
    watch_one_in(state, shift)
    board.put(OBSERVER, lookers.observer)
    board.put(OBSERVING, lookers.observing)
    with held_by(lookers.watched):
        time.sleep(seconds)
    return Observation(
        packets=packets_watched(state),
        heads=_heads(board),
        values=values_seen(board.state),
        keys=keys_seen(board.state),
    )


def _heads(board: Switchboard) -> tuple[bytes, ...]:
    found: dict[bytes, None] = {}
    held = board.state["heads"]
    for place in range(held.spec.entries):
        rows = held.read(place)
        if rows is None:
            continue
        for row in rows:
            captured = int(row["captured"])
            if captured >= 14:
                data = row["data"].tobytes()[:captured]
                found[data.ljust(min(int(row["length"]), 1500), b"\0")] = None
    return tuple(found)


def watch_one_in(state: State, shift: int) -> None:
    """Watched code sends one packet in 2^``shift`` to the observer, counted from now."""
    watch = np.zeros(1, dtype=state.template.structs["watches"])
    watch["cpus"]["every"] = 1 << shift
    state["watch"].write(0, watch)


def packets_watched(state: State) -> int:
    """How many packets came to watched code since ``watch_one_in``."""
    rows = state["watch"].read()
    assert rows is not None
    cpus = rows["cpus"]
    trains, more = np.divmod(cpus["looks"], np.uint64(TRAIN))
    return int((trains * TRAIN * cpus["every"] + more - cpus["left"]).sum())


def forget_seen(state: State) -> None:
    """No value and no key has been seen."""
    state["observations"].clear()
    state["observed_keys"].clear()
    for place in range(len(state.template.points)):
        state["small_values"].zero(place)


def values_seen(state: State) -> dict[str, dict[int, int]]:
    """How often packets needed each value, by point, since ``forget_seen``."""
    names = [point.name for point in state.template.points]
    found: dict[str, dict[int, int]] = {}
    for place, name in enumerate(names):
        rows = state["small_values"].read(place)
        assert rows is not None
        counts = rows["seen"].sum(axis=0)
        if counts.any():
            found[name] = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    for key, value in state["observations"].contents().items():
        index, number = (int(n) for n in np.frombuffer(key, dtype="<u4"))
        if index < len(names):
            found.setdefault(names[index], {})[number] = int(np.frombuffer(value, "<u8")[0])
    return found


def keys_seen(state: State) -> dict[str, dict[bytes, int]]:
    """Counts by table and key; a key has as many bytes as its struct."""
    template = state.template
    found: dict[str, dict[bytes, int]] = {t.name: {} for t in template.tables if t.hot}
    for raw, value in state["observed_keys"].contents().items():
        table = template.tables[int.from_bytes(raw[:4], "little")]
        key = raw[4 : 4 + template.structs[table.key].itemsize]
        found[table.name][key] = int.from_bytes(value[:8], "little")
    return found
