# SPDX-License-Identifier: GPL-2.0-only
"""Reads what an operator file says about points: ``policy``, ``search`` and ``search.points``.

Whether a template has the point, and the value in its domain, is checked with the template.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from iridescent_xdp.config.check import checked_part, table
from iridescent_xdp.config.model import PointValue, SearchConfig
from iridescent_xdp.config.problems import KeyPath, Plain, Problems, quote, show_value
from iridescent_xdp.config.values import POLICY_SUFFIX, STRATEGIES
from iridescent_xdp.points import U32_MAX

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WITHOUT_STUDY = frozenset(STRATEGIES) - {"optuna"}
_INSPECT = "`iridescent inspect` lists a template's points and their values"


def read_search(raw: object, at: KeyPath, problems: Problems) -> SearchConfig | None:
    """``[interface.X.search]`` with its points; None if it is no table."""
    keys = table(raw, at, problems)
    if keys is None:
        return None
    at_points = (*at, "points")
    points: dict[str, tuple[PointValue, ...]] = {}
    for name, value in (table(keys.get("points", {}), at_points, problems) or {}).items():
        try:
            points[_point_name(name)] = _candidates(value)
        except Plain as error:
            problems.add((*at_points, name), error.what, error.cure)
    search = checked_part(SearchConfig, keys | {"points": points}, at, problems)
    if search.study is not None and search.strategy in _WITHOUT_STUDY:
        told = f"is not used by strategy {show_value(search.strategy)}"
        problems.add((*at, "study"), told, 'it belongs to strategy = "optuna"')
    return search.model_copy(
        update={"strategy": _strategy(search.strategy, (*at, "strategy"), problems)}
    )


def _strategy(name: str, at: KeyPath, problems: Problems) -> str:
    """A built-in strategy's name, or the absolute path of the operator's own policy."""
    if not name.endswith(POLICY_SUFFIX):
        return name
    file = (problems.file.parent / name).resolve()
    if not file.is_file():
        cure = "a relative path starts at the folder of this file"
        problems.add(at, f"no such file, got {quote(name)}", cure)
    return str(file)


def read_policy(
    raw: object,
    at: KeyPath,
    problems: Problems,
    *,
    searched: Collection[str],
    derived: Collection[str],
) -> dict[str, PointValue]:
    """``[interface.X.policy]``; a point that is ``searched`` or ``derived`` is not set here."""
    policy: dict[str, PointValue] = {}
    for name, value in (table(raw, at, problems) or {}).items():
        try:
            policy[_point_name(name)] = _point_value(value)
            _refuse_overlap(name, searched, derived)
        except Plain as error:
            problems.add((*at, name), error.what, error.cure)
    return policy


def _refuse_overlap(name: str, searched: Collection[str], derived: Collection[str]) -> None:
    if name in searched:
        raise Plain(
            "is set here and under search.points",
            "keep one: policy points are set here, all others there",
        )
    if name in derived:
        raise Plain("follows from the function's tables and cannot be set", "remove it")


def _point_name(name: str) -> str:
    if _NAME.fullmatch(name):
        return name
    raise Plain(f"a point's name has letters, digits and '_' only, got {quote(name)}", _INSPECT)


def _point_value(value: object) -> PointValue:
    if isinstance(value, str) or (isinstance(value, int) and 0 <= value <= U32_MAX):
        return value
    raise Plain(
        f"must be true, false, an integer from 0 to {U32_MAX} or a word in quotes, "
        f"got {show_value(value)}",
        _INSPECT,
    )


def _candidates(value: object) -> tuple[PointValue, ...]:
    """The values to try: a list restricts a point, a single value fixes it."""
    tried = tuple(_point_value(v) for v in value) if isinstance(value, list) else None
    if tried is None:
        return (_point_value(value),)
    if not tried:
        raise Plain("must list at least one value, got []", "leave the point out to search it all")
    for place, item in enumerate(tried):
        if any(type(item) is type(other) and item == other for other in tried[:place]):
            raise Plain(f"lists a value twice, got {show_value(item)}", "remove one of the two")
    return tried
