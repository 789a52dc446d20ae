# SPDX-License-Identifier: GPL-2.0-only
"""The space against a brute-force model: the product of the domains, Hamming distance."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.points import Point, PointClass, PointKind
from iridescent_xdp.search.space import Space
from iridescent_xdp.variant import Variant


def _point(
    name: str,
    domain: tuple[int, ...] = (0, 1),
    *,
    default: int = 0,
    kind: PointKind = PointKind.RANGE,
    point_class: PointClass = PointClass.TUNING,
    labels: tuple[str, ...] = (),
) -> Point:
    return Point(
        name=name,
        point_class=point_class,
        kind=kind,
        default=default,
        domain=domain,
        doc="a test point",
        labels=labels,
    )


POINTS = (
    _point("vlan_depth", (0, 1, 2), default=2, point_class=PointClass.NARROWING),
    _point("ipv6", default=1, kind=PointKind.BOOL, point_class=PointClass.NARROWING),
    _point("layout", (0, 1, 2), kind=PointKind.ENUM, labels=("map", "chain", "tree")),
    _point("protocol", (0,), kind=PointKind.GENERIC, point_class=PointClass.NARROWING),
    _point("verify", kind=PointKind.BOOL, point_class=PointClass.POLICY),
)
GENERIC = Variant.generic(POINTS, {"verify": 1})


def _space(
    restrict: Mapping[str, tuple[int, ...]] | None = None,
    observed: Mapping[str, tuple[int, ...]] | None = None,
) -> Space:
    return Space(points=POINTS, generic=GENERIC, restrict=restrict or {}, observed=observed or {})


def _model(*domains: tuple[int, ...]) -> set[Variant]:
    names = [p.name for p in POINTS]
    product = {Variant(tuple(zip(names, row, strict=True))) for row in itertools.product(*domains)}
    return product | {GENERIC}


def _distance(one: Variant, other: Variant) -> int:
    return sum(a != b for a, b in zip(one.values, other.values, strict=True))


CASES = {
    "all": (_space(), _model((0, 1, 2), (0, 1), (0, 1, 2), (0,), (1,)), 18),
    "observed": (
        _space(observed={"protocol": (6, 17, 6, 0)}),
        _model((0, 1, 2), (0, 1), (0, 1, 2), (0, 6, 17), (1,)),
        54,
    ),
    "restricted, generic inside": (
        _space({"vlan_depth": (0, 2)}),
        _model((0, 2), (0, 1), (0, 1, 2), (0,), (1,)),
        12,
    ),
    "fixed, generic outside": (
        _space({"layout": (1,), "ipv6": (0,)}),
        _model((0, 1, 2), (0,), (1,), (0,), (1,)),
        4,
    ),
    "one value away from generic": (
        _space({"layout": (2,)}),
        _model((0, 1, 2), (0, 1), (2,), (0,), (1,)),
        7,
    ),
    "operator names a protocol that was not seen": (
        _space({"protocol": (132,)}, {"protocol": (6,)}),
        _model((0, 1, 2), (0, 1), (0, 1, 2), (132,), (1,)),
        19,
    ),
}
every_case = pytest.mark.parametrize(("space", "model", "size"), CASES.values(), ids=CASES)


@every_case
def test_holds_the_product_and_generic_first(space: Space, model: set[Variant], size: int) -> None:
    listed = list(space)
    assert listed[0] == GENERIC
    assert len(listed) == len(set(listed)) == space.size == size
    assert set(listed) == model


@every_case
def test_contains_exactly_what_it_lists(space: Space, model: set[Variant], size: int) -> None:
    everything = itertools.product(range(4), range(3), range(4), (0, 6, 17, 132), (0, 1))
    for row in everything:
        variant = Variant(tuple(zip([p.name for p in POINTS], row, strict=True)))
        assert (variant in space) == (variant in model)
    assert Variant(GENERIC.values[:-1]) not in space
    assert Variant(tuple((f"{name}_", value) for name, value in GENERIC.values)) not in space
    assert "generic" not in space


@every_case
def test_neighbours_differ_in_one_point(space: Space, model: set[Variant], size: int) -> None:
    for variant in model:
        found = space.neighbours(variant)
        assert len(found) == len(set(found))
        assert set(found) == {other for other in model if _distance(variant, other) == 1}


def test_neighbours_of_a_stranger_are_refused() -> None:
    with pytest.raises(ConfigError, match="not in the space"):
        _space().neighbours(GENERIC.with_values(verify=0))


@every_case
def test_deviations_count_points(space: Space, model: set[Variant], size: int) -> None:
    assert all(space.deviations(v) == _distance(v, GENERIC) for v in model)


@given(n=st.integers(0, 60), seed=st.integers(0, 2**32), case=st.sampled_from(list(CASES)))
def test_sample_is_distinct_and_covers(n: int, seed: int, case: str) -> None:
    space, model, size = CASES[case]
    found = space.sample(n, np.random.default_rng(seed))
    assert len(found) == len(set(found)) == min(n, size)
    assert set(found) <= model
    if n >= max(len(axis) for axis in space.axes.values()):
        for name, axis in space.axes.items():
            assert set(axis) <= {variant[name] for variant in found}


def test_sample_depends_on_the_generator_alone() -> None:
    space = _space(observed={"protocol": (6, 17)})
    one, same, other = (space.sample(9, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same != other


def test_a_huge_space_is_listed_lazily() -> None:
    points = tuple(_point(f"p{i}", tuple(range(7))) for i in range(24))
    space = Space(points=points, generic=Variant.generic(points))
    assert space.size == 7**24
    assert len(list(itertools.islice(space, 10))) == 10
    assert len(space.sample(20, np.random.default_rng(0))) == 20
    assert len(space.neighbours(space.generic)) == 24 * 6


MISTAKES = {
    "unknown": ({"vlan_dept": (0,)}, {}, r"no point named 'vlan_dept'.*did you mean 'vlan_depth'"),
    "unknown, nothing near": ({"zzz": (0,)}, {}, r"no point named 'zzz'.*there are vlan_depth"),
    "unknown observed": ({}, {"protocl": (6,)}, r"'protocl'.*did you mean 'protocol'"),
    "outside": ({"vlan_depth": (0, 5)}, {}, r"'vlan_depth' takes 0, 1, 2, got 5.*did you mean 2"),
    "outside, labels": ({"layout": (3,)}, {}, r"takes map, chain, tree, got 3.*did you mean tree"),
    "no value": ({"ipv6": ()}, {}, r"'ipv6' is restricted to no value.*false, true"),
    "policy": ({"verify": (1,)}, {}, r"'verify' is a policy point.*\[policy\]"),
    "observed, not generic": ({}, {"vlan_depth": (1,)}, "only GENERIC points.*'vlan_depth'"),
    "observed too large": ({}, {"protocol": (2**32,)}, "'protocol' takes 0 to 4294967295"),
    "named too large": ({"protocol": (-1,)}, {}, "'protocol' takes 0 to 4294967295, got -1"),
}


@pytest.mark.parametrize(("restrict", "observed", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_name_rule_value_and_cure(
    restrict: dict[str, tuple[int, ...]], observed: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        _space(restrict, observed)


def test_generic_of_another_template_is_refused() -> None:
    with pytest.raises(ConfigError, match="other points"):
        Space(points=POINTS, generic=Variant.generic(POINTS[1:]))
