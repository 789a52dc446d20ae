# SPDX-License-Identifier: GPL-2.0-only
"""What is to be done with one interface, checked against the template; touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from iridescent_xdp.config import InterfaceConfig
from iridescent_xdp.config.problems import KeyPath, Problems
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.base import Function, function_for
from iridescent_xdp.points import Point
from iridescent_xdp.search.space import Space
from iridescent_xdp.template import Template, find_template, read_template
from iridescent_xdp.variant import Variant


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An operator's wish joined with a template's declarations."""

    config: InterfaceConfig
    template: Template
    function: Function
    generic: Variant
    restrict: Mapping[str, tuple[int, ...]]

    def space(self, observed: Mapping[str, tuple[int, ...]]) -> Space:
        """The variants that may be tried, given the values that the traffic showed."""
        return Space(
            points=self.template.points,
            generic=self.generic,
            restrict=self.restrict,
            observed=observed,
        )

    def map_entries(self) -> dict[str, int]:
        """Maps whose size follows from the tables or from a policy, by name."""
        keys = {"observed_keys": 1 << self.generic["key_depth"]}
        return {**keys, **self.function.map_entries()}

    @property
    def fresh_maps(self) -> frozenset[str]:
        """What a take-over makes anew: tables of the control plane, and notes of a look."""
        return self.function.control_maps | {"observed_keys"}

    def label(self, variant: Variant) -> str:
        """What differs from generic, for people."""
        return variant.label(self.template.points, self.generic)


def make_plan(config: InterfaceConfig, path: Path) -> Plan:
    """Check a configuration against its template.

    Raises ConfigError with every wrong key of [policy] and [search.points], and TemplateError.
    """
    template = read_template(find_template(config.function))
    function = function_for(template, config.tables)
    problems = Problems(path)
    at = ("interface", config.name)
    policy = {
        name: value
        for name, wanted in config.policy.items()
        for value in _values(template, (*at, "policy", name), name, (wanted,), False, problems)
    }
    restrict = {
        name: _values(template, (*at, "search", "points", name), name, wanted, True, problems)
        for name, wanted in config.search.points.items()
    }
    problems.raise_if_any()
    return Plan(
        config=config,
        template=template,
        function=function,
        generic=Variant.generic(template.points, {**function.policy(), **policy}),
        restrict=restrict,
    )


def _values(
    template: Template,
    at: KeyPath,
    name: str,
    wanted: tuple[object, ...],
    searched: bool,
    problems: Problems,
) -> tuple[int, ...]:
    points = {p.name: p for p in template.points}
    point = points.get(name)
    if point is None:
        problems.add(at, f"template '{template.name}' has no such point", _names(points, searched))
        return ()
    if point.searched != searched:
        where = "search.points" if point.searched else "policy"
        problems.add(at, f"this is a {point.point_class} point", f"set it under [{where}]")
        return ()
    try:
        return tuple(point.parse(value) for value in wanted)
    except ConfigError as error:
        problems.add(at, error.message, error.cure)
        return ()


def _names(points: Mapping[str, Point], searched: bool) -> str:
    return "it has " + ", ".join(n for n, p in points.items() if p.searched == searched)
