# SPDX-License-Identifier: GPL-2.0-only
"""What the load balancer counted. The program counts a packet once, at its backend or in a slot;
services and totals are sums."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from iridescent_xdp.functions.base import Counter
from iridescent_xdp.functions.l4lb_places import Places
from iridescent_xdp.functions.l4lb_tables import MAX_BACKENDS, L4lbTables, ServiceId
from iridescent_xdp.kernel.maps import Records
from iridescent_xdp.state import State
from iridescent_xdp.template import Template

Hits = tuple[int, int]  # packets and bytes
SLOT_NAMES = {
    "SLOT_NOT_IP": "not IP",
    "SLOT_GROUP_FRAME": "broadcast or multicast frame",
    "SLOT_MALFORMED": "malformed",
    "SLOT_BAD_CHECKSUM": "wrong IP checksum",
    "SLOT_NOT_SERVICE": "no service",
    "SLOT_FRAGMENT": "fragment",
    "SLOT_TOO_BIG": "too big",
    "SLOT_ECHO": "echo answered",
    "SLOT_NO_BACKEND": "no backend",
    "SLOT_NO_HEADROOM": "no headroom",
}


class Counts:
    """Reads and resets the counters of any state of one function."""

    def __init__(self, template: Template, places: Places) -> None:
        self._slots = {template.constants[name]: text for name, text in SLOT_NAMES.items()}
        self._places = places

    def rows(self, state: State, tables: L4lbTables) -> list[Counter]:
        """Totals, slots that counted something, services, backends."""
        slots = {slot: _slot(state, slot) for slot in self._slots}
        totals = _backend_totals(state)
        backends = dict(enumerate(self._own(totals)))
        forwarded = _sum([(int(p), int(b)) for p, b in totals[: self._places.used]])
        echo = next(s for s, text in self._slots.items() if text == "echo answered")
        rows = [
            _row("verdict tx", _sum([forwarded, slots[echo]])),
            _row("verdict other", _sum([h for s, h in slots.items() if s != echo])),
            _row("forwarded", forwarded),
            *(_row(self._slots[slot], hits) for slot, hits in slots.items() if hits[0]),
        ]
        return [*rows, *self._service_rows(backends, tables)]

    def _service_rows(self, backends: dict[int, Hits], tables: L4lbTables) -> Iterator[Counter]:
        """A service's total includes backends that were removed from it."""
        totals: dict[ServiceId, list[Hits]] = {service.id: [] for service in tables.services}
        for number, hits in backends.items():
            totals.get(self._places.pair(number)[0], []).append(hits)
        for service in tables.services:
            yield _row(f"service {service.id}", _sum(totals[service.id]))
            for backend in service.backends:
                number = self._places.numbers[service.id, backend.address]
                yield _row(f"service {service.id} backend {backend.address}", backends[number])

    def _own(self, totals: Records) -> list[Hits]:
        """What each number's present backend counted."""
        before = self._places.records["before"]
        return [
            (int(p - before[n]["packets"]), int(b - before[n]["bytes"]))
            for n, (p, b) in enumerate(totals[: self._places.used])
        ]

    def raw(self, state: State) -> dict[str, bytes]:
        """Every counter that is not zero, for a comparison."""
        slots = {f"slot_counts[{slot}]": _slot(state, slot) for slot in self._slots}
        told = {name: repr(hits).encode() for name, hits in slots.items() if hits[0]}
        totals = _backend_totals(state)
        used = np.flatnonzero(totals[:, 0]).tolist()
        return told | {f"backend_counts[{n}]": repr(totals[n].tolist()).encode() for n in used}

    def zero(self, state: State) -> None:
        """All counters to zero."""
        for slot in self._slots:
            state["slot_counts"].zero(slot)
        for cpu in range(state["backend_counts"].spec.entries):
            state["backend_counts"].zero(cpu)

    @staticmethod
    def note_before(state: State, places: Places, numbers: Iterable[int]) -> None:
        """These numbers get a new backend: what they counted so far is not its own."""
        totals = _backend_totals(state)
        for number in numbers:
            row = places.records[number]["before"]
            row["packets"], row["bytes"] = totals[number]


def _slot(state: State, slot: int) -> Hits:
    rows = state["slot_counts"].read(slot)
    assert rows is not None
    return int(rows["packets"].sum()), int(rows["bytes"].sum())


def _backend_totals(state: State) -> Records:
    """Packets and bytes of each number, of all CPUs."""
    held = state["backend_counts"]
    total = np.zeros((MAX_BACKENDS, 2), dtype=np.uint64)
    for cpu in range(held.spec.entries):
        row = held.read(cpu)
        assert row is not None
        total += np.frombuffer(row.tobytes(), dtype="<u8").reshape(MAX_BACKENDS, 2)
    return total


def _sum(hits: list[Hits]) -> Hits:
    return sum(h[0] for h in hits), sum(h[1] for h in hits)


def _row(name: str, hits: Hits) -> Counter:
    return Counter(name=name, packets=hits[0], bytes=hits[1])


__all__ = ["SLOT_NAMES", "Counts"]
