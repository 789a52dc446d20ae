# SPDX-License-Identifier: GPL-2.0-only
"""The router's routes in its maps, and how they change while packets are forwarded."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path

import numpy as np

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.base import Function
from iridescent_xdp.functions.router_flat import FlatTable
from iridescent_xdp.functions.router_hops import Hops, pinned_hops, table_rows
from iridescent_xdp.functions.router_hot import build_hot_table
from iridescent_xdp.functions.router_keys import look_up, network_of
from iridescent_xdp.functions.router_links import Links
from iridescent_xdp.functions.router_tables import (
    DeleteRoute,
    Hop,
    LeftToKernel,
    Network,
    Route,
    RouterTables,
    SetRoute,
)
from iridescent_xdp.state import State
from iridescent_xdp.template import Template

FUZZED = 64  # mutated packets among the probes of a change


class LiveRoutes(Function):
    """Next hops are resolved, and the routes taken, when the tables are first needed."""

    control_maps = frozenset(
        {"routes4", "routes6", "flat_top", "flat_chunks", "hot_table", "fib_hops", "hops", "ports"}
    )

    def __init__(self, template: Template, tables: object = None) -> None:
        given = tables if isinstance(tables, RouterTables) else RouterTables()
        super().__init__(template, given)
        self._given = given
        self._hops = Hops(template)
        self._routes: dict[Network, int] = {}
        self._current: dict[Network, Route] | None = None
        self._digest = ""
        self._seen: dict[int, dict[int, int]] = {4: {}, 6: {}}
        self._flat: FlatTable | None = None
        self._room = 0  # chunks that the flat table was made for

    def _known(self) -> dict[Network, Route]:
        """The routes of now, by prefix."""
        if self._current is None:
            routes = self._first_routes()
            self._routes = self._hops.take(routes, resolver())
            self._current = {route.prefix: route for route in routes}
            self._digest = hashlib.sha256(repr(routes).encode()).hexdigest()[:16]
        return self._current

    def inherit(self, directory: Path) -> None:
        """Hops keep the numbers that they had for an earlier controller, and so their counters."""
        if self._current is None:
            self._hops.inherit(pinned_hops(directory, self.template))

    def _first_routes(self) -> Sequence[Route]:
        return self._given.routes

    def tables_digest(self) -> str:
        """A digest of the routes, and of all changes since."""
        self._known()
        return self._digest

    # -- maps ------------------------------------------------------------------------------

    def _flat_table(self) -> FlatTable:
        if self._flat is None:
            self._known()
            four = {n: hop for n, hop in self._routes.items() if isinstance(n, IPv4Network)}
            self._flat = FlatTable(four)
        return self._flat

    def map_entries(self) -> dict[str, int]:
        """Chunks of the flat table: twice what the routes need."""
        if not self._room:
            need = 2 * self._flat_table().count
            most = self.template.constants["MAX_CHUNKS"]
            self._room = min(most, max(64, 1 << (need - 1).bit_length()))
        return {"flat_chunks": self._room}

    def fill(self, state: State) -> None:
        """Hops and ports, both tries, the tables that only variants read.

        Raises ConfigError for unknown interfaces.
        """
        self._known()
        self._hops.write(state)
        for family in (4, 6):
            keys, values = table_rows(self._routes, self.template, family)
            state[f"routes{family}"].write_many(keys, values)
        self._write_hot(state)
        flat = self._flat_table()
        self._write_flat(state, range(flat.count), top=True)

    def settle_tables(self, state: State) -> None:
        """The flat table and the table of hot destinations, which changes do not touch."""
        self._write_hot(state)
        flat = self._flat_table()
        if flat.count > self._room and flat.leftovers:
            self._flat = None  # made anew it may fit
            flat = self._flat_table()
        self._write_flat(state, sorted(flat.changed), top=flat.top_changed)
        flat.written()

    def _write_hot(self, state: State) -> None:
        hot = {a: (self._hop_of(4, a), count) for a, count in self._seen[4].items()}
        dtype, bits = self.template.structs["hot_table"], self.template.constants["HOT_BITS"]
        state["hot_table"].write(0, build_hot_table(dtype, bits, hot))

    def _write_flat(self, state: State, chunks: Sequence[int], *, top: bool) -> None:
        flat = self._flat_table()
        if flat.count <= self._room:
            numbers = np.array(chunks, dtype="<u4")
            state["flat_chunks"].write_many(numbers, flat.chunks[numbers].tobytes())
            if top:
                state["flat_top"].write(0, flat.top.tobytes())

    def _hop_of(self, family: int, address: int) -> int:
        none = self.template.constants["HOP_NO_ROUTE"]
        return look_up(self._routes, network_of(family, address), none)

    # -- changes ---------------------------------------------------------------------------

    def changes_to(self, tables: object) -> Sequence[object]:
        """What leads from the routes of now to those of ``tables``."""
        if not isinstance(tables, RouterTables) or tables.from_kernel != self._given.from_kernel:
            raise ConfigError(
                "where the routes come from cannot change while the router runs",
                cure="run 'iridescent run' again",
            )
        return () if tables.from_kernel else changes_between(self._known(), tables.routes)

    def policy_for(self, changes: Sequence[object]) -> dict[str, int]:
        """No policy depends on the routes; wrong changes are refused here."""
        self._wanted(changes)
        return self.policy()

    def apply(self, state: State, changes: Sequence[object]) -> None:
        """SetRoute and DeleteRoute, all or nothing; hops keep their numbers."""
        wanted = self._wanted(changes)
        routes = [route for route in wanted.values() if route is not None]
        numbers = self._hops.take(routes, resolver())
        before = {prefix: self._routes[prefix] for prefix in wanted if prefix in self._routes}
        try:
            self._hops.write_new(state)
            self._write(state, {prefix: numbers.get(prefix) for prefix in wanted})
        except OSError as error:
            with contextlib.suppress(OSError):
                self._write(state, {prefix: before.get(prefix) for prefix in wanted})
            self._hops.give_back(numbers.values())
            raise ConfigError(
                f"the kernel has no room for these routes: {error.strerror}",
                cure="nothing was changed",
            ) from error
        for prefix, route in wanted.items():
            self._keep(prefix, route, numbers.get(prefix))
        self._hops.give_back(before.values())
        self._digest = hashlib.sha256(f"{self._digest}{wanted!r}".encode()).hexdigest()[:16]

    def _wanted(self, changes: Sequence[object]) -> dict[Network, Route | None]:
        """The route to each prefix that changes, None to delete it. Raises ConfigError."""
        known = self._known()
        wanted: dict[Network, Route | None] = {}
        for change in changes:
            if isinstance(change, SetRoute):
                wanted[change.route.prefix] = change.route
            elif isinstance(change, DeleteRoute):
                if wanted.get(change.prefix, known.get(change.prefix)) is None:
                    raise ConfigError(f"there is no route to {change.prefix} to delete")
                wanted[change.prefix] = None
            elif not isinstance(change, LeftToKernel):
                raise ConfigError(f"a router takes SetRoute and DeleteRoute, got {change!r}")
        more = sum(route is not None and prefix not in known for prefix, route in wanted.items())
        most = self.template.constants["MAX_ROUTES"]
        if len(known) + more > most:
            raise ConfigError(f"at most {most:,} routes, got {len(known) + more:,}")
        return {prefix: r for prefix, r in wanted.items() if r is not None or prefix in known}

    def _write(self, state: State, hops: Mapping[Network, int | None]) -> None:
        """Into the tries; what is added comes before what is taken out. Raises OSError."""
        for prefix, hop in sorted(hops.items(), key=lambda item: item[1] is None):
            key = prefix.prefixlen.to_bytes(4, "little") + prefix.network_address.packed
            trie = state[f"routes{prefix.version}"]
            if hop is None:
                trie.delete(key)
            else:
                trie.write(key, hop.to_bytes(4, "little"))

    def _keep(self, prefix: Network, route: Route | None, hop: int | None) -> None:
        known = self._known()
        if route is None or hop is None:
            del self._routes[prefix], known[prefix]
        else:
            self._routes[prefix], known[prefix] = hop, route
        if isinstance(prefix, IPv4Network):
            self._repaint(prefix, hop)

    def _repaint(self, prefix: IPv4Network, hop: int | None) -> None:
        """Keep the flat table as the routes are; it is written when it settles."""
        flat = self._flat_table()
        if hop is not None:
            flat.set(prefix, hop)
            return
        above = prefix
        while above.prefixlen and above not in self._routes:
            above = above.supernet()
        flat.delete(prefix, self._routes.get(above, 0), above.prefixlen)

    def probes(self, changes: Sequence[object], seed: int) -> list[tuple[str, bytes]]:
        """Packets on the edges of the routes that changed, header stacks, and mutated ones."""
        from traffic.corpus import fuzz  # scapy is slow to import
        from traffic.corpus_crafted import stacks
        from traffic.corpus_routes import for_routes

        edges = for_routes(_prefixes(changes), sizes=self._hops.mtus())
        return [*stacks(), *fuzz(FUZZED, seed), *edges]


def _prefixes(changes: Sequence[object]) -> list[Network]:
    found = dict.fromkeys(
        c.route.prefix if isinstance(c, SetRoute) else c.prefix
        for c in changes
        if isinstance(c, SetRoute | DeleteRoute)
    )
    return list(found)


def changes_between(
    known: Mapping[Network, Route], routes: Sequence[Route]
) -> list[SetRoute | DeleteRoute]:
    """What makes ``routes`` of those that are known."""
    wanted = {route.prefix: route for route in routes}
    gone = [DeleteRoute(prefix=prefix) for prefix in known if prefix not in wanted]
    return [*gone, *(SetRoute(route=r) for p, r in wanted.items() if known.get(p) != r)]


def resolver() -> Callable[[Route], Hop]:
    """Next hops of routes; the kernel is asked once, and only if a route needs it."""
    links: list[Links] = []

    def resolve(route: Route) -> Hop:
        if route.hop is not None:
            return route.hop
        if not links:
            links.append(Links())
        return links[0].hop(route)

    return resolve
