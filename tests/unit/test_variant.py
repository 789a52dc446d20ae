# SPDX-License-Identifier: GPL-2.0-only
"""Variants as values: equality, changes, names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.points import Point, PointClass, PointKind
from iridescent_xdp.variant import Variant

DEPTH = Point(
    name="depth",
    point_class=PointClass.NARROWING,
    kind=PointKind.RANGE,
    default=2,
    domain=(0, 1, 2),
    doc="tags",
)
LAYOUT = Point(
    name="layout",
    point_class=PointClass.TUNING,
    kind=PointKind.ENUM,
    default=0,
    domain=(0, 1, 2),
    doc="how",
    labels=("map", "chain", "tree"),
)
ACTION = Point(
    name="drops",
    point_class=PointClass.POLICY,
    kind=PointKind.BOOL,
    default=0,
    domain=(0, 1),
    doc="what",
)
POINTS = (DEPTH, LAYOUT, ACTION)
GENERIC = Variant.generic(POINTS)
VALUES = st.fixed_dictionaries({p.name: st.sampled_from(p.domain) for p in POINTS})


def test_generic_is_all_defaults_but_the_policy() -> None:
    assert GENERIC.values == (("depth", 2), ("layout", 0), ("drops", 0))
    assert Variant.generic(POINTS, {"drops": 1}).values[2] == ("drops", 1)


def test_a_change_makes_another_variant() -> None:
    changed = GENERIC.with_values(layout=2)
    assert (changed["layout"], changed["depth"], GENERIC["layout"]) == (2, 2, 0)
    assert changed != GENERIC and changed.with_values(layout=0) == GENERIC


@pytest.mark.parametrize("name", ["Layout", "", "lay"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ConfigError, match=f"no point named '{name}'"):
        GENERIC.with_values(**{name: 1})
    with pytest.raises(ConfigError, match=f"no point named '{name}'"):
        GENERIC[name]


@given(VALUES, VALUES)
def test_equal_values_are_the_same_variant(one: dict[str, int], other: dict[str, int]) -> None:
    a, b = GENERIC.with_values(**one), GENERIC.with_values(**other)
    assert (a == b) == (one == other)
    assert (a.key == b.key) == (one == other)
    assert len({a, b}) == (1 if one == other else 2)


def test_the_key_stays_the_same_from_run_to_run() -> None:
    # sha256 of "depth=2,layout=0,drops=0", the first eight digits
    assert GENERIC.key == "e17fa158"


def test_a_label_tells_what_differs() -> None:
    policy = Variant.generic(POINTS, {"drops": 1})
    changed = policy.with_values(depth=0, layout=2)
    assert changed.label(POINTS, policy) == "depth=0 layout=tree"
    assert policy.label(POINTS, policy) == "generic"
    assert GENERIC.label(POINTS, policy) == "drops=false"
