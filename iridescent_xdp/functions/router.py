# SPDX-License-Identifier: GPL-2.0-only
"""The router's companion: routes into tries and flat tables, or compiled into the program."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from iridescent_xdp.decision.nodes import Field, Node
from iridescent_xdp.decision.prefixes import exact_keys, longest_prefix
from iridescent_xdp.functions.base import Compiled, Counter, Later
from iridescent_xdp.functions.router_hops import hops_in
from iridescent_xdp.functions.router_keys import key_of, network_of, number_of
from iridescent_xdp.functions.router_mirrored import MirroredRoutes
from iridescent_xdp.kernel.maps import Records
from iridescent_xdp.state import State
from iridescent_xdp.template import Template
from iridescent_xdp.variant import Variant

IFS_LIMIT = 10_000  # routes; more do not compile in useful time
NOT_HOT = 0xFFFF_FFFF  # SPEC_NOT_HOT of bpf/include/iridescent.h
SAMPLES_KEPT = 4096  # destinations that shape the nested ifs
ENOUGH_SAMPLES = 100
PROBED = 100  # routes, and hot destinations, whose edges the corpus asks about
_WORDS = {4: (Field("address"),), 6: tuple(Field("address", i, True) for i in range(4))}
_SLOTS = {
    "SLOT_NOT_IP": "not IP: to the kernel",
    "SLOT_MALFORMED": "malformed",
    "SLOT_BAD_CHECKSUM": "wrong IP checksum",
    "SLOT_OPTIONS": "IPv4 options: to the kernel",
    "SLOT_MARTIAN": "multicast, loopback, link-local: to the kernel",
    "SLOT_EXPIRED": "TTL expired: to the kernel",
    "SLOT_NO_NEIGHBOUR": "neighbour unknown: to the kernel",
    "SLOT_TOO_BIG": "over the MTU: to the kernel",
    "HOP_NO_ROUTE": "no route: to the kernel",
    "HOP_LOCAL": "local address: to the kernel",
    "HOP_BLACKHOLE": "blackhole",
}
_DROPPED = ("SLOT_MALFORMED", "SLOT_BAD_CHECKSUM", "HOP_BLACKHOLE")


class RouterFunction(MirroredRoutes):
    """See the module."""

    def __init__(self, template: Template, tables: object = None) -> None:
        super().__init__(template, tables)
        self._compiled: dict[tuple[tuple[int, ...], int], Compiled] = {}

    def apply(self, state: State, changes: Sequence[object]) -> None:
        """See MirroredRoutes; what was compiled is old afterwards."""
        super().apply(state, changes)
        self._compiled.clear()

    # -- compiled --------------------------------------------------------------------------

    def learn_keys(self, seen: Mapping[str, Mapping[bytes, int]]) -> None:
        """Destinations that packets went to: the most frequent become hot keys, and nested ifs
        put them near the root."""
        for family in (4, 6):
            counts = seen.get(f"hot{family}", {})
            ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:SAMPLES_KEPT]
            self._seen[family] = {number_of(raw): count for raw, count in ranked}
        self._compiled.clear()

    def compile_tables(self, variant: Variant) -> Compiled:
        """Nested ifs when they are wanted, and as many hot destinations as the point says."""
        ifs = self._in_ifs(variant)
        table = variant["hot_keys"] == self.template.constants["HOT_TABLE"]
        hot = 0 if table else int(self.template.point("hot_keys").show(variant["hot_keys"]))
        if not ifs and not hot:
            return Compiled()
        self._known()
        if (ifs, hot) not in self._compiled:
            made_from = repr((ifs, hot, self._numbered(ifs, hot), self._seen)).encode()
            self._compiled[ifs, hot] = Compiled(
                nodes=Later(lambda: self._nodes(ifs, hot)),
                digest=hashlib.sha256(made_from).hexdigest(),
            )
        return self._compiled[ifs, hot]

    def compiled_from_tables(self, variant: Variant) -> bool:
        """All but the tries: changes do not touch the other tables."""
        trie = variant["lookup"] == self.template.constants["LOOKUP_TRIE"]
        return not trie or bool(variant["hot_keys"])

    def _in_ifs(self, variant: Variant) -> tuple[int, ...]:
        """The families whose routes are nested ifs."""
        constants = self.template.constants
        if variant["lookup"] == constants["LOOKUP_IFS"]:
            return (4, 6)
        return (6,) if variant["lookup"] == constants["LOOKUP_FLAT"] else ()

    def _numbered(self, ifs: tuple[int, ...], hot: int) -> list[tuple[int, ...]]:
        """The hops' numbers in the code: they are given anew by each process, and an object is
        kept for longer."""
        routes = [(n, hop) for n, hop in self._routes.items() if n.version in ifs]
        told = [(n.version, int(n.network_address), n.prefixlen, hop) for n, hop in routes]
        return [*told, *((f, a, self._hop_of(f, a)) for f, a in self._hottest(hot))]

    def _nodes(self, ifs: tuple[int, ...], hot: int) -> dict[str, Node]:
        self._known()
        nodes: dict[str, Node] = {}
        for family in (4, 6):
            if family in ifs:
                nodes[f"ifs{family}"] = self._ifs(family)
            if hot:
                nodes[f"hot{family}"] = self._hot(family, hot)
        return nodes

    def _ifs(self, family: int) -> Node:
        routes = [(n, hop) for n, hop in self._routes.items() if n.version == family]
        none = self.template.constants["HOP_NO_ROUTE"]
        samples = self._seen[family]
        enough = sum(samples.values()) >= ENOUGH_SAMPLES
        return longest_prefix(
            routes, fields=_WORDS[family], default=none, samples=samples if enough else None
        )

    def _hot(self, family: int, most: int) -> Node:
        words = _WORDS[family]
        entries = [
            (key_of(address, words), self._hop_of(family, address))
            for of, address in self._hottest(most)
            if of == family
        ]
        return exact_keys(entries, NOT_HOT)

    def _hottest(self, most: int) -> list[tuple[int, int]]:
        """Family and address of the ``most`` hottest destinations of both families together."""
        both = [(c, f, a) for f, seen in self._seen.items() for a, c in seen.items()]
        return [(family, address) for _, family, address in sorted(both, reverse=True)[:most]]

    def infeasible(self, variant: Variant) -> str | None:
        """A kernel that says something else than the routes, too many of them to compile, no room
        in the flat table, or no destination seen."""
        constants = self.template.constants
        if variant["lookup"] == constants["LOOKUP_FIB"] and (reason := self._why_not_asked()):
            return reason
        self._known()
        ifs = self._in_ifs(variant)
        if sum(network.version in ifs for network in self._routes) > IFS_LIMIT:
            return f"nested ifs of more than {IFS_LIMIT:,} routes are not compiled"
        room, flat = self.map_entries()["flat_chunks"], constants["LOOKUP_FLAT"]
        if variant["lookup"] == flat and self._flat_table().count > room:
            return f"the flat table has room for {room:,} chunks only, since it was attached"
        if variant["hot_keys"] and not any(self._seen.values()):
            return "no destination was observed yet"
        full = variant["checksum_update"] == constants["CHECKSUM_FULL"]
        if full and not variant["verify_ip_checksum"]:
            return "a checksum that is not verified must not be computed anew: it would be mended"
        return None

    # -- what is compared ------------------------------------------------------------------

    def corpus(self, observed: Sequence[bytes], seed: int) -> list[tuple[str, bytes]]:
        """Crafted, malformed and truncated packets, and packets on the edges of some routes and of
        all hot destinations."""
        from traffic.corpus import corpus  # scapy is slow to import; only preflight needs it
        from traffic.corpus_routes import for_routes

        self._known()
        routes = list(self._routes)
        hot = [network_of(family, a) for family, seen in self._seen.items() for a in seen]
        probed = [*routes[:: max(1, len(routes) // PROBED)], *hot[:PROBED]]
        samples = ((s.name, s.data) for s in corpus((), seed=seed, observed=observed))
        return [*samples, *for_routes(probed, sizes=self._hops.mtus())]

    # -- what was counted ------------------------------------------------------------------

    def counters(self, state: State) -> list[Counter]:
        """Verdicts, then every hop and reason that counted something."""
        if self._current is None:  # as for `status`, which has no routes
            self._hops.inherit(hops_in(state["hops"], state["ports"]))
        totals = self._totals(state)
        dropped = totals[[self.template.constants[name] for name in _DROPPED]].sum(axis=0)
        constants = self.template.constants
        sent = totals[constants["FIRST_HOP"] : constants["MAX_HOPS"]].sum(axis=0)
        passed = totals.sum(axis=0) - dropped - sent
        verdicts = (("drop", dropped), ("pass", passed), ("redirect", sent))
        return [
            *(_counter(f"verdict {name}", row) for name, row in verdicts),
            *(_counter(self._name(int(i)), totals[i]) for i in np.flatnonzero(totals[:, 0])),
        ]

    def _name(self, number: int) -> str:
        for constant, name in _SLOTS.items():
            if self.template.constants[constant] == number:
                return name
        return self._hops.name(number)

    def _totals(self, state: State) -> Records:
        rows = state["counts"].read()
        assert rows is not None
        of = rows["of"]
        return np.stack([of["packets"].sum(axis=0), of["bytes"].sum(axis=0)], axis=1)

    def observable(self, state: State) -> dict[str, bytes]:
        """Packets and bytes of each hop and reason."""
        totals = self._totals(state)
        return {
            f"packets and bytes of {self._name(int(i))}": totals[i].tobytes()
            for i in np.flatnonzero(totals.any(axis=1))
        }

    def zero_effects(self, state: State) -> None:
        """All counts to zero."""
        state["counts"].zero()


def _counter(name: str, row: Records) -> Counter:
    return Counter(name=name, packets=int(row[0]), bytes=int(row[1]))


COMPANION = RouterFunction
