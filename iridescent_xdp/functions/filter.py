# SPDX-License-Identifier: GPL-2.0-only
"""The filter's companion: rules and address sets into maps, or compiled into the program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from iridescent_xdp.functions.address_hash import hashable
from iridescent_xdp.functions.base import Compiled, Counter
from iridescent_xdp.functions.filter_code import FilterCode
from iridescent_xdp.functions.filter_live import FilterWithTables
from iridescent_xdp.kernel.maps import Records
from iridescent_xdp.state import State
from iridescent_xdp.template import Template
from iridescent_xdp.variant import Variant

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
ENOUGH_HITS, RAREST = 1000, 1 / 4096  # packets to learn from; the smallest share that counts
CHAIN_LIMIT = 256  # rules; a longer compare chain does not compile in useful time


class FilterFunction(FilterWithTables):
    """Compiles rules into code and reads counters; the tables are in filter_live.py."""

    def __init__(self, template: Template, tables: object = None) -> None:
        super().__init__(template, tables)
        self._weights: tuple[float, ...] | None = None
        self._made: FilterCode | None = None

    @property
    def _code(self) -> FilterCode:
        if self._made is None:
            self._made = FilterCode(self.template, self.tables, self._weights)
        return self._made

    def compile_tables(self, variant: Variant) -> Compiled:
        """Rules and sets where they are compiled in; nothing when they stay in maps."""
        return self._code.compiled((variant["rule_layout"], variant["set_layout"]))

    def compiled_from_tables(self, variant: Variant) -> bool:
        """Rules or sets in the code, or sets in hashes that are not kept up to date."""
        in_code = variant["rule_layout"] != self.template.constants["LAYOUT_MAP"]
        return in_code or variant["set_layout"] != self.template.constants["SET_TRIE"]

    def apply(self, state: State, changes: Sequence[object]) -> None:
        """See FilterWithTables; rules that stay keep the weight that their hits gave them."""
        before, weights = self.tables.rules, self._weights
        super().apply(state, changes)
        self._made = None
        if weights is not None and before != self.tables.rules:
            known = dict(zip(before, weights, strict=False))
            kept = (
                known.get(rule, weights[place] if place < len(before) else RAREST)
                for place, rule in enumerate(self.tables.rules)
            )
            self._weights = (*kept, weights[-1])

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
        self._made = None

    def infeasible(self, variant: Variant) -> str | None:
        """Exact hashes hold single addresses only; long chains are not compiled."""
        layout, hashed = variant["set_layout"], self.template.constants["SET_HASH"]
        if layout == hashed and not hashable((*self.tables.allow, *self.tables.deny)):
            return "the hash holds single IPv4 addresses only; a set has wider prefixes"
        if layout and not (self.tables.allow or self.tables.deny):
            return "no address set is configured"
        for point in ("rule_layout", "set_layout"):
            reason = self._code.infeasible(point, variant[point])
            if reason is not None:
                return reason
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


COMPANION = FilterFunction
