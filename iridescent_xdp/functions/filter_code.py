# SPDX-License-Identifier: GPL-2.0-only
"""What the filter's variants have compiled in: rules, address sets, or neither."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from iridescent_xdp.decision.nodes import Decision
from iridescent_xdp.functions.base import Compiled, Later
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.filter_layouts import chain, tree
from iridescent_xdp.functions.filter_sets import set_entries
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.representations.base import Table
from iridescent_xdp.representations.registry import build, chosen, digest_of, table_of
from iridescent_xdp.template import Template
from iridescent_xdp.toolchain.base import Code

RULES, SETS = "rule_layout", "set_layout"  # SPEC_CUSTOM points
DEEP_LEAF, BROAD_LEAF = 4, 16  # rules asked one by one; broad mispredicts fewer branches

Weights = tuple[float, ...] | None
Layouts = tuple[int, int]  # of rules and of sets
Made = tuple[str, Callable[[], Code]]  # what it is made from, and how


class FilterCode:
    """The code for one state of the tables; every pair of layouts is made once."""

    def __init__(self, template: Template, tables: FilterTables, weights: Weights) -> None:
        self._template = template
        self._tables = tables
        self._weights = weights
        self._compiled: dict[Layouts, Compiled] = {}
        self._custom: dict[str, Table] = {}
        self._reasons: dict[tuple[str, int], str | None] = {}

    def compiled(self, layouts: Layouts) -> Compiled:
        """The code for a pair of layouts, and its digest."""
        if layouts not in self._compiled:
            constants = self._template.constants
            wanted: dict[str, Made] = {}
            if layouts[0] != constants["LAYOUT_MAP"]:
                wanted["rules_compiled"] = self._rules(layouts[0])
            if layouts[1] > constants["SET_HASH"]:
                wanted["sets_compiled"] = self._represented(SETS, layouts[1])
            self._compiled[layouts] = _joined(wanted)
        return self._compiled[layouts]

    def infeasible(self, point: str, layout: int) -> str | None:
        """Why a representation does not take the table; None for the template's own layouts."""
        representation = chosen(self._template, point, layout)
        if representation is None:
            return None
        if (point, layout) not in self._reasons:
            self._reasons[point, layout] = representation.infeasible(self._table(point))
        return self._reasons[point, layout]

    def _rules(self, layout: int) -> Made:
        if chosen(self._template, RULES, layout) is not None:
            return self._represented(RULES, layout)
        rules, weights = self._tables.rules, self._weights
        made_from = repr((layout, weights, rules))
        return made_from, partial(_rule_graph, self._template.constants, layout, rules, weights)

    def _represented(self, point: str, layout: int) -> Made:
        representation = chosen(self._template, point, layout)
        assert representation is not None
        table = self._table(point)
        made_from = repr((point, digest_of(representation), table.entries))
        return made_from, partial(build, representation, table)

    def _table(self, point: str) -> Table:
        if point not in self._custom:
            entries: object = self._tables.rules if point == RULES else self._set_entries()
            self._custom[point] = table_of(self._template, point, entries)
        return self._custom[point]

    def _set_entries(self) -> object:
        constants, tables = self._template.constants, self._tables
        return set_entries(
            tables.allow,
            tables.deny,
            allowed=2 * constants["SLOT_ALLOW_SET"],
            denied=2 * constants["SLOT_DENY_SET"] + 1,
        )


def _rule_graph(
    constants: Mapping[str, int], layout: int, rules: Sequence[Rule], weights: Weights
) -> Decision:
    if layout == constants["LAYOUT_CHAIN"]:
        return chain(rules)
    broad = layout == constants["LAYOUT_BROAD"]
    return tree(rules, weights=weights, leaf=BROAD_LEAF if broad else DEEP_LEAF)


def _joined(wanted: Mapping[str, Made]) -> Compiled:
    if not wanted:
        return Compiled()
    told = "\n".join(made_from for made_from, _ in wanted.values())
    return Compiled(
        nodes=Later(lambda: {name: make() for name, (_, make) in wanted.items()}),
        digest=hashlib.sha256(told.encode()).hexdigest(),
    )
