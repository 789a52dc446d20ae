# SPDX-License-Identifier: GPL-2.0-only
"""The part of the filter's companion that owns its tables: filled, changed, told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.address_hash import build_address_hash, hashable
from iridescent_xdp.functions.base import Function
from iridescent_xdp.functions.filter_changes import (
    SETS,
    AddPrefix,
    Edit,
    Editor,
    PrefixSet,
    RemovePrefix,
    SetName,
    SetPrefixes,
    SetRule,
    SetRules,
    changes_between,
)
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.filter_maps import (
    RuleLists,
    add_prefixes,
    fill_set,
    remove_prefixes,
)
from iridescent_xdp.functions.rules import Network, Rule
from iridescent_xdp.state import State
from iridescent_xdp.template import Template

SET_PROBES = 16  # entries of each address set that the corpus asks about
SMALLEST_LIST = 16  # rules that the table has room for, at least


class FilterWithTables(Function):
    """Rules and address sets in maps; each packet meets them before or after a change, whole."""

    tables: FilterTables
    control_maps = frozenset(
        {"rules4", "rules6", "allow4", "allow6", "deny4", "deny6", "allow_hash", "deny_hash"}
    )

    def __init__(self, template: Template, tables: object = None) -> None:
        super().__init__(template, tables if isinstance(tables, FilterTables) else FilterTables())
        self._lists = RuleLists(template)
        self._sets: dict[SetName, PrefixSet] | None = None

    def policy(self) -> dict[str, int]:
        """Whether the sets have entries, and the room the rule table needs."""
        tables = self.tables
        return _policy(len(tables.rules), len(tables.allow), len(tables.deny))

    def fill(self, state: State) -> None:
        """Rules in order for each family, sets as tries and, when exact, as hashes."""
        self._lists.fill(state, self.tables.rules)
        for name in SETS:
            fill_set(state, name, getattr(self.tables, name))
        self._fill_hashes(state)

    def _fill_hashes(self, state: State) -> None:
        for name in SETS:
            networks = getattr(self.tables, name)
            if hashable(networks):
                table = build_address_hash(self.template.structs["address_hash"], networks)
                state[f"{name}_hash"].write(0, table)

    def tables_digest(self) -> str:
        """A digest of rules and sets."""
        told = repr((self.tables.rules, self.tables.allow, self.tables.deny))
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    # -- changes ---------------------------------------------------------------------------

    def changes_to(self, tables: object) -> Sequence[object]:
        """Single rules and prefixes; the whole list where its length changes."""
        assert isinstance(tables, FilterTables)
        return changes_between(self.tables, tables)

    def policy_for(self, changes: Sequence[object]) -> dict[str, int]:
        """Room for the longer list, and sets that are looked at while they have entries."""
        edit, tables = self._edit(changes), self.tables
        return _policy(
            max(len(tables.rules), len(edit.rules)),
            len(tables.allow) + len(edit.added("allow")),
            len(tables.deny) + len(edit.added("deny")),
        )

    def apply(self, state: State, changes: Sequence[object]) -> None:
        """See Function.apply; of the types in filter_changes.py.

        The order makes each packet's decision the old one or the new one: what enters a set before
        the rules change, what leaves it behind, the deny set first.
        """
        edit = self._edit(changes)
        self._add(state, edit)
        if edit.rules != self.tables.rules:
            self._lists.change(state, edit.rules)
        for name in reversed(SETS):
            remove_prefixes(state, name, edit.removed(name))
        self._commit(edit)

    def _edit(self, changes: Sequence[object]) -> Edit:
        return Editor(self.tables, self._known_sets()).take(changes)

    def _known_sets(self) -> dict[SetName, PrefixSet]:
        if self._sets is None:
            self._sets = {name: PrefixSet(getattr(self.tables, name)) for name in SETS}
        return self._sets

    def _add(self, state: State, edit: Edit) -> None:
        try:
            add_prefixes(state, "allow", edit.added("allow"))
            try:
                add_prefixes(state, "deny", edit.added("deny"))
            except OSError:
                remove_prefixes(state, "allow", edit.added("allow"))
                raise
        except OSError as error:
            raise ConfigError(
                f"the sets have no room for all of this: {error.strerror}",
                cure="join neighbouring prefixes; nothing was changed",
            ) from error

    def _commit(self, edit: Edit) -> None:
        sets = self._known_sets()
        for name in SETS:
            for prefix in edit.removed(name):
                sets[name].remove(prefix)
            for prefix in edit.added(name):
                sets[name].add(prefix)
        self.tables = FilterTables(
            rules=edit.rules,
            comments=edit.comments,
            allow=tuple(sets["allow"]) if edit.prefixes["allow"] else self.tables.allow,
            deny=tuple(sets["deny"]) if edit.prefixes["deny"] else self.tables.deny,
        )

    def settle_tables(self, state: State) -> None:
        """The hashes, which only specialized variants read; and the lists are at rest again."""
        self._fill_hashes(state)
        self._lists.wait()

    # -- packets ---------------------------------------------------------------------------

    def corpus(self, observed: Sequence[bytes], seed: int) -> list[tuple[str, bytes]]:
        """Crafted, malformed and truncated packets, and packets on every rule's edges."""
        from traffic.corpus import corpus  # scapy is slow to import; only preflight needs it

        samples = corpus(self.tables.rules, seed=seed, observed=observed)
        probes = [
            (name, networks[:: max(1, len(networks) // SET_PROBES)])
            for name, networks in (("allow", self.tables.allow), ("deny", self.tables.deny))
        ]
        return [
            *((s.name, s.data) for s in samples),
            *(packet for name, networks in probes for packet in _set_probes(name, networks)),
        ]

    def probes(self, changes: Sequence[object], seed: int) -> list[tuple[str, bytes]]:
        """Packets on the edges of what was changed; the whole corpus for whole lists."""
        if any(isinstance(change, SetRules | SetPrefixes) for change in changes):
            return self.corpus((), seed)
        from traffic.corpus import for_rules

        rules = [change.rule for change in changes if isinstance(change, SetRule)]
        prefixes = [c for c in changes if isinstance(c, AddPrefix | RemovePrefix)]
        return [
            *for_rules(rules),
            *(p for name in SETS for p in _set_probes(name, _named(prefixes, name))),
        ]


def _policy(rules: int, allow: int, deny: int) -> dict[str, int]:
    capacity = SMALLEST_LIST
    while capacity < rules:
        capacity *= 2
    return {"allow_set": int(allow > 0), "deny_set": int(deny > 0), "rule_capacity": capacity}


def _named(changes: Sequence[AddPrefix | RemovePrefix], name: SetName) -> list[Network]:
    return [change.prefix for change in changes if change.name == name]


def _set_probes(name: str, networks: Sequence[Network]) -> Iterator[tuple[str, bytes]]:
    """Packets from some entries of an address set, at their edges and just beside."""
    from traffic.corpus import for_rules

    for label, data in for_rules([Rule(source=n, action="pass") for n in networks]):
        yield f"{name}-{label.replace('rule', 'set', 1)}", data
