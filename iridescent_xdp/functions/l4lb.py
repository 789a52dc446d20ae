# SPDX-License-Identifier: GPL-2.0-only
"""The load balancer's companion: services and rings into maps, hot flows into the program."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Mapping, Sequence

from iridescent_xdp.decision.nodes import Node
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.base import Compiled, Counter, Function, Later
from iridescent_xdp.functions.l4lb_counters import Counts
from iridescent_xdp.functions.l4lb_flows import (
    Flow,
    ServiceKey,
    hot_node,
    service_keys,
    services_node,
)
from iridescent_xdp.functions.l4lb_places import Places, pairs_of
from iridescent_xdp.functions.l4lb_records import (
    ring_of,
    ring_record,
    service_record,
    write_backends,
    write_identities,
    write_keys,
)
from iridescent_xdp.functions.l4lb_tables import L4lbTables, Service, ServiceId, changed
from iridescent_xdp.kernel.bpf import possible_cpus
from iridescent_xdp.kernel.maps import Records
from iridescent_xdp.state import State
from iridescent_xdp.template import Template
from iridescent_xdp.variant import Variant

SPARE_RINGS = 2
MOST_HOT = 64  # HOT_64 of bpf/l4lb.bpf.c


class L4lbFunction(Function):
    """See the module. Numbers of services and backends are the same in all of its states."""

    tables: L4lbTables
    control_maps = frozenset({"services", "service_data", "rings", "backends", "epoch"})

    def __init__(self, template: Template, tables: object = None) -> None:
        super().__init__(template, tables if isinstance(tables, L4lbTables) else L4lbTables())
        self.places = Places(template)
        self._counts = Counts(template, self.places)
        self._numbers: dict[ServiceId, int] = {}
        self._slots: dict[ServiceId, int] = {}  # where a service's ring is
        self._rings: dict[ServiceId, Records] = {}
        self._ring_room = 0
        self._hot: list[tuple[Flow, int]] = []
        self._learned: list[Flow] = []
        self._compiled: dict[tuple[int, int], Compiled] = {}
        self._arrange()

    # -- tables into maps ------------------------------------------------------------------

    def _arrange(self) -> list[int]:
        """Numbers, ring places and rings for the tables; returns numbers that are used again."""
        *_, reused = self.places.arrange(pairs_of(self.tables))
        self._numbers = _numbered([s.id for s in self.tables.services], self._numbers)
        self._slots = _numbered([s.id for s in self.tables.services], self._slots)
        numbers = self.places.numbers
        self._rings = {s.id: ring_of(s, numbers) for s in self.tables.services}
        self._forget_compiled()
        return reused

    def _forget_compiled(self) -> None:
        self._compiled.clear()
        self._hot = [(f, n) for f in self._learned if (n := self.choice(f)) is not None]

    def map_entries(self) -> dict[str, int]:
        """Rings with some spare, the operator's room for connections, a cache for each CPU."""
        room = max([len(self.tables.services), *(n + 1 for n in self._slots.values())])
        self._ring_room = max(self._ring_room, 1 << (room + SPARE_RINGS - 1).bit_length())
        return {
            "rings": self._ring_room,
            "connections": self.tables.settings.connections,
            "flow_caches": possible_cpus(),
            "backend_counts": possible_cpus(),
        }

    def fill(self, state: State) -> None:
        """All tables. On an interface's maps the backends' numbers go on from what is there."""
        if self.places.adopt(state):
            self._counts.note_before(state, self.places, self._arrange())
        write_identities(state["identities"], self.places, range(self.places.used))
        services = self.tables.services
        self._write_backends(state, services)
        for service in services:
            self._write_ring(state, service)
        write_keys(state["services"], self.template, {}, self._keys())
        self._next_epoch(state)

    def _keys(self) -> dict[ServiceKey, int]:
        return service_keys(self._numbers)

    def _write_backends(self, state: State, services: Sequence[Service]) -> None:
        settings = self.tables.settings
        write_backends(state["backends"], self.template, settings, services, self.places)

    def _write_ring(self, state: State, service: Service) -> None:
        """The ring first, then the service that refers to it."""
        slot = self._slots[service.id]
        state["rings"].write(slot, ring_record(self.template, self._rings[service.id]))
        record = service_record(self.template, service, slot)
        state["service_data"].write(self._numbers[service.id], record)

    @staticmethod
    def _next_epoch(state: State) -> None:
        """Cached flows of all CPUs count no longer."""
        state["epoch"].write(0, struct.pack("<Q", time.monotonic_ns()))

    # -- changes ---------------------------------------------------------------------------

    def apply(self, state: State, changes: Sequence[object]) -> None:
        """Changes of backends and services; see Function.apply.

        A service whose ring or data change gets them in a spare place, and one map update turns
        it over. Backends come before rings that name them and go after.
        """
        tables = changed(self.tables, changes)
        old = {service.id: service for service in self.tables.services}
        touched = [s for s in tables.services if old.get(s.id) != s]
        slots = self._spare_slots(state, [s.id for s in touched], {s.id for s in tables.services})
        keys, places = self._keys(), self.places.copy(self.template)
        new, removed, reused = places.arrange(pairs_of(tables))
        self._take(tables, places, slots, touched)
        self._counts.note_before(state, places, reused)
        self._write_backends(state, touched)
        write_identities(state["identities"], places, sorted({*new, *removed}))
        for service in touched:
            self._write_ring(state, service)
        write_keys(state["services"], self.template, keys, self._keys())
        for number in set(removed) - set(new):
            state["backends"].zero(number)
        self._next_epoch(state)

    def _spare_slots(
        self, state: State, wanted: Sequence[ServiceId], kept: set[ServiceId]
    ) -> dict[ServiceId, int]:
        """Ring places for the services that change; those in use are left alone."""
        room = state["rings"].spec.entries
        used = set(self._slots.values())
        spare = [slot for slot in range(room) if slot not in used]
        if len(wanted) > len(spare):
            raise ConfigError(
                f"there is room for {len(spare)} more rings, the changes need {len(wanted)}",
                cure="change fewer services at once, or restart with the new tables",
            )
        return {s: n for s, n in self._slots.items() if s in kept} | dict(
            zip(wanted, spare, strict=False)
        )

    def _take(
        self,
        tables: L4lbTables,
        places: Places,
        slots: dict[ServiceId, int],
        touched: Sequence[Service],
    ) -> None:
        """From here on these are the tables. Hot flows that keep their backend stay hot."""
        before = dict(self._hot)
        generations = {n: self.places.generation(n) for n in before.values()}
        self.tables, self.places, self._slots = tables, places, slots
        self._counts = Counts(self.template, places)
        self._numbers = _numbered([s.id for s in tables.services], self._numbers)
        self._rings = {s.id: self._rings[s.id] for s in tables.services if s.id in self._rings}
        self._rings |= {s.id: ring_of(s, places.numbers) for s in touched}
        self._learned = [
            flow
            for flow, number in before.items()
            if self.choice(flow) == number and places.generation(number) == generations[number]
        ]
        self._forget_compiled()

    # -- what specialized code is made from --------------------------------------------------

    def choice(self, flow: Flow) -> int | None:
        """The number of the backend that the ring gives a flow; None without such a service."""
        ring = self._rings.get(flow.service)
        return None if ring is None else int(ring[flow.ring_place])

    def learn_keys(self, seen: Mapping[str, Mapping[bytes, int]]) -> None:
        """The flows that are hot, the hottest first. Only flows come here whose entry in the
        connection table is the ring's choice, the observing program sees to that."""
        counted = sorted(seen.get("hot_backends", {}).items(), key=lambda item: (-item[1], item[0]))
        flows = (Flow.of_key(raw, self.template) for raw, _ in counted)
        known = [f for f in flows if f is not None and f.service in self._rings]
        self._learned = known[:MOST_HOT]
        self._forget_compiled()

    def seed(self, state: State) -> None:
        """Hot flows are in the connection table."""
        for flow, number in self._hot:
            value = struct.pack("<HHI", number, self.places.generation(number), 0)
            state["connections"].write(flow.key(self.template), value)

    def tables_digest(self) -> str:
        """A digest of services and settings."""
        told = repr((self.tables.services, self.tables.settings))
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def compile_tables(self, variant: Variant) -> Compiled:
        """Services, and as many hot flows as the variant wants."""
        choice = variant["service_layout"], self._hot_count(variant)
        if choice not in self._compiled:
            self._compiled[choice] = self._compile(bool(choice[0]), choice[1])
        return self._compiled[choice]

    def _hot_count(self, variant: Variant) -> int:
        label = self.template.point("hot_flows").show(variant["hot_flows"])
        return int(str(label))

    def _compile(self, services: bool, hot: int) -> Compiled:
        if not services and not hot:
            return Compiled()
        keys, flows = self._keys() if services else {}, self._hot[:hot]
        made_from = repr((services, list(keys.items()), hot, flows)).encode()

        def nodes() -> dict[str, Node]:
            found: dict[str, Node] = {}
            if services:
                found["services_compiled"] = services_node(keys)
            if hot:
                found["hot_backends"] = hot_node(flows)
            return found

        return Compiled(nodes=Later(nodes), digest=hashlib.sha256(made_from).hexdigest())

    def compiled_from_tables(self, variant: Variant) -> bool:
        """Compiled tables, and code that knows one encapsulation only."""
        return bool(self.compile_tables(variant).digest) or bool(variant["encapsulation"])

    def infeasible(self, variant: Variant) -> str | None:
        """Encapsulations that services do not have, and more hot flows than were seen."""
        kinds = {service.encapsulation for service in self.tables.services}
        wanted = self.template.point("encapsulation").show(variant["encapsulation"])
        if variant["encapsulation"] and kinds != {wanted}:
            return f"not all services are encapsulated in {wanted}"
        hot = self._hot_count(variant)
        if hot and len(self._hot) <= hot // 2:
            return f"{len(self._hot)} hot flows were seen"
        return None

    # -- counters --------------------------------------------------------------------------

    def counters(self, state: State) -> list[Counter]:
        """Verdicts, slots, services and backends."""
        return self._counts.rows(state, self.tables)

    def observable(self, state: State) -> dict[str, bytes]:
        """Counters and connections."""
        return self._counts.raw(state) | {
            f"connections[{key.hex()}]": value
            for key, value in state["connections"].contents().items()
        }

    def zero_effects(self, state: State) -> None:
        """Counters to zero; no connections, no cached flows."""
        self._counts.zero(state)
        state["connections"].clear()
        self._next_epoch(state)

    def corpus(self, observed: Sequence[bytes], seed: int) -> list[tuple[str, bytes]]:
        """Packets to services, hot flows and to nobody, damaged ones and ICMP errors included."""
        from traffic.corpus_l4lb import l4lb_corpus  # scapy is slow to import

        hot = [flow for flow, _ in self._hot]
        return list(l4lb_corpus(self.tables.services, hot, observed=observed, seed=seed))


def _numbered(wanted: Sequence[ServiceId], had: Mapping[ServiceId, int]) -> dict[ServiceId, int]:
    """A number for each service: what it had, else the lowest that is free."""
    kept = {service: had[service] for service in wanted if service in had}
    used = set(kept.values())
    free = iter(n for n in range(len(wanted) + len(used) + 1) if n not in used)
    return {service: kept[service] if service in kept else next(free) for service in wanted}


COMPANION = L4lbFunction
