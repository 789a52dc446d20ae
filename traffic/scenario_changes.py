# SPDX-License-Identifier: GPL-2.0-only
"""Changes of control-plane tables at a time inside a phase: data that a runner applies.

What a change comes to may depend on the tables as they are then (a rule list is changed as a
whole, a route leads over the interface that the others take), so a runner asks for it::

    controller.changes.apply(change.for_tables(function.tables))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pydantic import Field

from iridescent_xdp.config.check import KeyHints, checked, table
from iridescent_xdp.config.model import Section
from iridescent_xdp.config.problems import KeyPath, Problems
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.filter_changes import SETS, Editor, PrefixSet, SetName
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.l4lb_tables import L4lbTables, changed
from iridescent_xdp.functions.router_tables import DeleteRoute, RouterTables, SetRoute
from iridescent_xdp.functions.rules import Network
from traffic import scenario_kinds as kinds
from traffic.scenario_kinds import Maker
from traffic.scenario_spec import MAX_SECONDS, FunctionName
from traffic.scenario_tables import Tables


@dataclass(frozen=True, kw_only=True)
class TableChange:
    """One change, ``at_s`` seconds after its phase began; ``what`` is the key in the file."""

    at_s: float
    what: str
    make: Maker = field(repr=False)

    def for_tables(self, tables: object) -> tuple[object, ...]:
        """The function's own changes (SetRules, DrainBackend, SetRoute, ...) for the tables that
        it has now. Raises ConfigError when they do not fit."""
        return self.make(tables)


class ChangeSection(Section):
    """One ``[[phase.changes]]``, without what is changed."""

    at_s: float = Field(
        ge=0,
        le=MAX_SECONDS,
        description=f"a number of seconds from 0 to {MAX_SECONDS:,.0f}",
        examples=[1.5],
    )


_Kind = (
    type[kinds.AddRule]
    | type[kinds.RemoveRule]
    | type[kinds.AddToSet]
    | type[kinds.RemoveFromSet]
    | type[kinds.Drain]
    | type[kinds.Remove]
    | type[kinds.Add]
    | type[kinds.SetTo]
    | type[kinds.Delete]
)
KINDS: Mapping[FunctionName, Mapping[str, _Kind]] = {
    "filter": {
        "add_rule": kinds.AddRule,
        "remove_rule": kinds.RemoveRule,
        "add_prefix": kinds.AddToSet,
        "remove_prefix": kinds.RemoveFromSet,
    },
    "l4lb": {
        "drain_backend": kinds.Drain,
        "remove_backend": kinds.Remove,
        "add_backend": kinds.Add,
    },
    "router": {"set_route": kinds.SetTo, "delete_route": kinds.Delete},
}


def read_change(
    raw: object, at: KeyPath, function: FunctionName, tables: Tables, problems: Problems
) -> TableChange | None:
    """One ``[[phase.changes]]``; None after a problem. ``tables`` are those of the file."""
    keys = table(raw, at, problems)
    if keys is None:
        return None
    kinds = KINDS[function]
    given = [key for key in keys if key in kinds]
    shared = {key: value for key, value in keys.items() if key not in kinds}
    section = checked(ChangeSection, shared, at, problems, KeyHints(known=tuple(kinds)))
    if section is None:
        return None
    if len(given) != 1:
        what = f"must hold one change, got {', '.join(given) or 'none'}"
        problems.add(at, what, f"function '{function}' knows {', '.join(kinds)}")
        return None
    (key,) = given
    inner = table(keys[key], (*at, key), problems)
    wanted = checked(kinds[key], inner, (*at, key), problems) if inner is not None else None
    if wanted is None:
        return None
    try:
        return TableChange(at_s=section.at_s, what=key, make=wanted.maker(tables))
    except ConfigError as error:
        problems.add((*at, key), error.message, error.cure or "see docs/scenarios.md")
    return None


def tables_after(tables: Tables, changes: Iterable[TableChange]) -> Tables:
    """The tables after ``changes``, in their order. Raises ConfigError for one that is wrong."""
    for change in changes:
        made = change.for_tables(tables)
        if isinstance(tables, FilterTables):
            tables = _filter_after(tables, made)
        elif isinstance(tables, L4lbTables):
            tables = changed(tables, made)
        else:
            tables = _router_after(tables, made)
    return tables


def _filter_after(tables: FilterTables, made: tuple[object, ...]) -> FilterTables:
    sets: dict[SetName, PrefixSet] = {name: PrefixSet(getattr(tables, name)) for name in SETS}
    edit = Editor(tables, sets).take(made)
    after: dict[SetName, tuple[Network, ...]] = {}
    for name in SETS:
        kept = tuple(p for p in getattr(tables, name) if p not in edit.removed(name))
        after[name] = kept + edit.added(name)
    return FilterTables(rules=edit.rules, comments=edit.comments, **after)


def _router_after(tables: RouterTables, made: tuple[object, ...]) -> RouterTables:
    routes = {route.prefix: route for route in tables.routes}
    for change in made:
        if isinstance(change, SetRoute):
            routes[change.route.prefix] = change.route
        elif isinstance(change, DeleteRoute) and routes.pop(change.prefix, None) is None:
            raise ConfigError(f"there is no route to {change.prefix}", cure="add it first")
    return replace(tables, routes=tuple(routes.values()))
