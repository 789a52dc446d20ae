# SPDX-License-Identifier: GPL-2.0-only
"""The filter's companion: rules and address sets into maps, or compiled into the program."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from iridescent_xdp.decision.nodes import Node
from iridescent_xdp.functions.address_hash import build_address_hash, hashable
from iridescent_xdp.functions.base import Compiled, Counter, Function, Later
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.filter_layouts import chain, tree
from iridescent_xdp.functions.rules import Network, Rule
from iridescent_xdp.kernel.maps import Map, Records
from iridescent_xdp.state import State
from iridescent_xdp.template import Template
from iridescent_xdp.variant import Variant

_TCP = 6
_SLOT_NAMES = {
    "SLOT_DEFAULT": "no rule matched",
    "SLOT_ALLOW_SET": "allow set",
    "SLOT_DENY_SET": "deny set",
    "SLOT_NOT_IP": "not IP",
    "SLOT_MALFORMED": "malformed",
    "SLOT_BAD_CHECKSUM": "wrong IP checksum",
    "SLOT_FRAGMENT": "later fragment",
}
VERDICTS = 2  # pass and drop, before the slots
DEEP_LEAF, BROAD_LEAF = 4, 16  # rules asked one by one; broad mispredicts fewer branches
ENOUGH_HITS, RAREST = 1000, 1 / 4096  # packets to learn from; the smallest share that counts
SET_PROBES = 16  # entries of each address set that the corpus asks about
CHAIN_LIMIT = 256  # rules; a longer compare chain does not compile in useful time


class FilterFunction(Function):
    """See the module."""

    tables: FilterTables
    control_maps = frozenset(
        {"rules4", "rules6", "allow4", "allow6", "deny4", "deny6", "allow_hash", "deny_hash"}
    )

    def __init__(self, template: Template, tables: object = None) -> None:
        super().__init__(template, tables if isinstance(tables, FilterTables) else FilterTables())
        self._compiled: dict[int, Compiled] = {}
        self._weights: tuple[float, ...] | None = None

    def policy(self) -> dict[str, int]:
        """Whether the sets have entries, and the room the rule table needs."""
        capacity = 16
        while capacity < len(self.tables.rules):
            capacity *= 2
        return {
            "allow_set": int(bool(self.tables.allow)),
            "deny_set": int(bool(self.tables.deny)),
            "rule_capacity": capacity,
        }

    def fill(self, state: State) -> None:
        """Rules in order for each family, sets as tries and, when exact, as hashes."""
        for family, dtype in ((4, "rules4"), (6, "rules6")):
            state[dtype].write(0, _rule_table(self.template, self.tables.rules, family))
        for name, networks in (("allow", self.tables.allow), ("deny", self.tables.deny)):
            for family in (4, 6):
                chosen = [n for n in networks if n.version == family]
                _write_trie(state[f"{name}{family}"], chosen)
            if hashable(networks):
                table = build_address_hash(self.template.structs["address_hash"], networks)
                state[f"{name}_hash"].write(0, table)

    def tables_digest(self) -> str:
        """A digest of rules and sets."""
        told = repr((self.tables.rules, self.tables.allow, self.tables.deny))
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def compile_tables(self, variant: Variant) -> Compiled:
        """The rules as a compare chain or a search tree; nothing when they stay in the map."""
        layout = variant["rule_layout"]
        if layout == self.template.constants["LAYOUT_MAP"]:
            return Compiled()
        if layout not in self._compiled:
            made_from = repr((layout, self._weights, self.tables.rules)).encode()
            digest = hashlib.sha256(made_from).hexdigest()
            nodes = Later(lambda: {"rules_compiled": self._node(layout)})
            self._compiled[layout] = Compiled(nodes=nodes, digest=digest)
        return self._compiled[layout]

    def _node(self, layout: int) -> Node:
        rules = self.tables.rules
        if layout == self.template.constants["LAYOUT_CHAIN"]:
            return chain(rules)
        broad = layout == self.template.constants["LAYOUT_BROAD"]
        return tree(rules, weights=self._weights, leaf=BROAD_LEAF if broad else DEEP_LEAF)

    def hits(self, state: State) -> Records:
        """Packets so far: one number for each rule, and last for no rule."""
        slots = self._totals(state)[VERDICTS:, 0]
        default = self.template.constants["SLOT_DEFAULT"]
        return slots[[*range(len(self.tables.rules)), default]]

    def learn(self, hits: Records) -> None:
        """Trees put what is hit often near the root. Shares are rounded to powers of two, so
        that like traffic finds its programs in the cache."""
        if hits.sum() < ENOUGH_HITS:
            return
        shares = np.maximum(hits / hits.sum(), RAREST)
        self._weights = tuple(float(w) for w in 2.0 ** np.round(np.log2(shares)))
        self._compiled.clear()

    def infeasible(self, variant: Variant) -> str | None:
        """Exact hashes hold single addresses only; long chains are not compiled."""
        if variant["set_layout"] and not hashable((*self.tables.allow, *self.tables.deny)):
            return "the hash holds single IPv4 addresses only; a set has wider prefixes"
        if variant["set_layout"] and not (self.tables.allow or self.tables.deny):
            return "no address set is configured"
        if (
            variant["rule_layout"] == self.template.constants["LAYOUT_CHAIN"]
            and len(self.tables.rules) > CHAIN_LIMIT
        ):
            return f"a compare chain of more than {CHAIN_LIMIT} rules is not compiled"
        return None

    def counters(self, state: State) -> list[Counter]:
        """Every slot that counted something, pending batches included."""
        totals = self._totals(state)
        rows = [
            Counter(name=self._slot_name(i), packets=int(p), bytes=int(b))
            for i, (p, b) in enumerate(totals[VERDICTS:])
            if p or i < len(self.tables.rules)
        ]
        verdicts = [
            Counter(name=_row_name(i), packets=int(p), bytes=int(b))
            for i, (p, b) in enumerate(totals[:VERDICTS])
        ]
        return verdicts + rows

    def _slot_name(self, slot: int) -> str:
        for constant, name in _SLOT_NAMES.items():
            if self.template.constants[constant] == slot:
                return name
        return f"rules[{slot}]"

    def _totals(self, state: State) -> Records:
        rows = state["counters"].read()
        assert rows is not None
        return count_totals(rows)

    def observable(self, state: State) -> dict[str, bytes]:
        """Counters with pending batches added: that is what an operator reads."""
        totals = self._totals(state)
        return {
            f"packets and bytes of {_row_name(int(i))}": totals[i].tobytes()
            for i in np.flatnonzero(totals.any(axis=1))
        }

    def zero_effects(self, state: State) -> None:
        """All counters to zero."""
        state["counters"].zero()

    def corpus(self, observed: Sequence[bytes], seed: int) -> list[tuple[str, bytes]]:
        """Crafted, malformed and truncated packets, and packets on every rule's edges."""
        from traffic.corpus import corpus  # scapy is slow to import; only preflight needs it

        samples = corpus(self.tables.rules, seed=seed, observed=observed)
        return [*((s.name, s.data) for s in samples), *self._set_probes()]

    def _set_probes(self) -> Iterator[tuple[str, bytes]]:
        """Packets from some entries of each address set, at their edges and just beside."""
        from traffic.corpus import for_rules

        for name, networks in (("allow", self.tables.allow), ("deny", self.tables.deny)):
            chosen = networks[:: max(1, len(networks) // SET_PROBES)]
            for label, data in for_rules([Rule(source=n, action="pass") for n in chosen]):
                yield f"{name}-{label.replace('rule', 'set', 1)}", data


def _row_name(row: int) -> str:
    return ("verdict pass", "verdict drop")[row] if row < VERDICTS else f"slot {row - VERDICTS}"


def count_totals(rows: Records) -> Records:
    """Packets and bytes over all CPUs: row 0 pass, row 1 drop, then the slots; shape (n, 2)."""
    hits = np.concatenate([rows["verdicts"], rows["slots"]], axis=1)
    totals = np.stack([hits["packets"].sum(axis=0), hits["bytes"].sum(axis=0)], axis=1)
    for row in rows:  # one per CPU
        if row["pending_packets"]:
            decision = int(row["pending_decision"])
            for index in (decision & 1, 2 + (decision >> 1)):
                totals[index] += (row["pending_packets"], row["pending_bytes"])
    return totals


def _words(network: Network) -> tuple[list[int], list[int]]:
    """Address and mask as four host-order words; IPv4 in the first."""
    size = 32 if network.version == 4 else 128
    pack = [int(network.network_address) << (128 - size), int(network.netmask) << (128 - size)]
    address, mask = ([(value >> (96 - 32 * i)) & 0xFFFF_FFFF for i in range(4)] for value in pack)
    return address, mask


def _rule_table(template: Template, rules: Sequence[Rule], family: int) -> Records:
    table = np.zeros(1, dtype=template.structs[f"rules{family}"])
    rows = table[0]["rules"]
    chosen = [(i, r) for i, r in enumerate(rules) if r.family in (None, family)]
    table[0]["count"] = len(chosen)
    for row, (number, rule) in zip(rows, chosen, strict=False):
        for side in ("source", "destination"):
            network = getattr(rule, side)
            if network is not None:
                address, mask = _words(network)
                row[side], row[f"{side}_mask"] = (
                    (address[0], mask[0]) if family == 4 else (address, mask)
                )
        _fill_rest(row["rest"], rule, number)
    return table


def _fill_rest(rest: Records, rule: Rule, number: int) -> None:
    flags = rule.tcp_flags
    protocol = _TCP if flags is not None else rule.protocol
    for side in ("source", "destination"):
        low, high = getattr(rule, f"{side}_ports") or (0, 0xFFFF)
        rest[f"{side}_low"], rest[f"{side}_high"] = low, high
    rest["protocol"], rest["protocol_mask"] = (protocol, 0xFF) if protocol is not None else (0, 0)
    rest["needs_ports"] = any((rule.source_ports, rule.destination_ports, flags is not None))
    rest["tcp_mask"], rest["tcp_value"] = flags or (0, 0)
    rest["drop"] = rule.action == "drop"
    rest["id"] = number


def _write_trie(held: Map, networks: Sequence[Network]) -> None:
    held.clear()
    if not networks:
        return
    size = networks[0].max_prefixlen // 8
    keys = np.zeros(len(networks), dtype=[("length", "<u4"), ("address", f"V{size}")])
    keys["length"] = [n.prefixlen for n in networks]
    packed = b"".join(n.network_address.packed for n in networks)
    keys["address"] = np.frombuffer(packed, dtype=f"V{size}")
    held.write_many(keys, b"\x01" * len(networks))


COMPANION = FilterFunction
