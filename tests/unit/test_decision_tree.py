# SPDX-License-Identifier: GPL-2.0-only
"""Search trees over small tables, checked on every key."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.decision.axes import Prior
from iridescent_xdp.decision.clauses import Clause
from iridescent_xdp.decision.nodes import (
    Field,
    If,
    InRange,
    Masked,
    Node,
    Test,
    count_nodes,
    evaluate,
)
from iridescent_xdp.decision.tree import tree_of
from iridescent_xdp.errors import ConfigError

X, Y, Z = Field("x"), Field("y"), Field("z")
TOPS = {X: 15, Y: 7, Z: 7}
PRIORS = {X: Prior(top=15), Y: Prior(top=7, likely={3: 0.4}), Z: Prior(top=7)}
KEYS = [dict(zip(TOPS, v, strict=True)) for v in product(*(range(t + 1) for t in TOPS.values()))]


def _ranges(field: Field) -> st.SearchStrategy[InRange]:
    value = st.integers(0, TOPS[field])
    return st.tuples(value, value).map(lambda v: InRange(field, min(v), max(v)))


_MASKED = st.tuples(st.integers(1, 7), st.integers(0, 7)).map(
    lambda v: Masked(Z, v[0], v[0] & v[1])
)


@st.composite
def tables(draw: st.DrawFn) -> list[Clause]:
    """Clauses with results 0, 1, ... and one at the end that matches all."""
    count = draw(st.integers(0, 10))
    return [Clause(_tests(draw) if place < count else (), place) for place in range(count + 1)]


def _tests(draw: st.DrawFn) -> tuple[Test, ...]:
    maybe = [draw(st.none() | _ranges(field)) for field in TOPS]
    masked = draw(st.none() | _MASKED)
    return tuple(test for test in (*maybe, masked) if test is not None)


def first_of(table: Sequence[Clause], key: dict[Field, int]) -> int:
    """The specification: the first clause of which every test holds."""
    return next(
        clause.result
        for clause in table
        if all(
            test.low <= key[test.field] <= test.high
            if isinstance(test, InRange)
            else key[test.field] & test.mask == test.value
            for test in clause.tests
        )
    )


@given(
    tables(),
    st.integers(1, 5),
    st.sampled_from((0.0, 0.001, 0.05, 1.0)),
    st.lists(st.floats(0, 100), min_size=11, max_size=11),
)
def test_a_tree_decides_as_the_table(
    table: list[Clause], leaf: int, price: float, weights: list[float]
) -> None:
    used = [*weights[: len(table) - 1], 1.0]
    node = tree_of(table, used, priors=PRIORS, leaf=leaf, price=price)
    for key in KEYS:
        assert evaluate(node, key) == first_of(table, key), key


def made(node: Node, key: dict[Field, int]) -> int:
    """How many tests a key meets."""
    count = 0
    while isinstance(node, If):
        count += 1
        node = node.then if node.test.holds(key[node.test.field]) else node.otherwise
    return count


WIDE = Field("wide")
POINTS = [Clause((InRange(WIDE, 100 * n, 100 * n),), n) for n in range(1, 65)]


def _tree(table: Sequence[Clause], weights: Sequence[float], price: float = 0.001) -> Node:
    return tree_of([*table, Clause((), 999)], weights, priors={}, leaf=2, price=price)


def test_64_values_are_found_in_few_tests() -> None:
    node = _tree(POINTS, [1.0] * 65)
    tests = [made(node, {WIDE: 100 * n}) for n in range(1, 65)]
    assert sum(tests) / 64 <= 8  # log2(64) + 1 is 7
    assert max(tests) <= 10


def test_what_is_hit_most_is_asked_for_first() -> None:
    weights = [1.0] * 65
    weights[39] = 1_000.0
    node = _tree(POINTS, weights)
    assert made(node, {WIDE: 4_000}) == 1
    assert evaluate(node, {WIDE: 4_000}) == 40


def test_a_clause_that_always_matches_hides_those_behind_it() -> None:
    table = [POINTS[0], Clause((), 7), *POINTS[1:]]
    node = _tree(table, [1.0] * 66)
    assert count_nodes(node) == 3


def test_like_regions_are_built_once() -> None:
    """Two axes that do not hide each other: the gaps of one share the search of the other."""
    table = [Clause((InRange(X, n, n),), n) for n in (1, 3, 5, 7)]
    table += [Clause((InRange(Y, n, n),), 10 + n) for n in (1, 3, 5)]
    node = tree_of([*table, Clause((), 99)], [1.0] * 8, priors=PRIORS, leaf=1, price=0.01)
    assert count_nodes(node) <= 8 + 2 * 4 + 2 * 3


def test_a_higher_price_makes_less_code() -> None:
    table = [Clause((InRange(X, n, n + 3),), n) for n in range(8)]
    table += [Clause((InRange(Y, n, n), InRange(Z, n, n + 1)), 10 + n) for n in range(6)]
    table.append(Clause((), 99))
    order = [table[i] for i in (0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 7, 14)]
    sizes = [
        count_nodes(tree_of(order, [1.0] * 15, priors=PRIORS, leaf=1, price=price))
        for price in (0.0001, 1.0)
    ]
    assert sizes[0] > sizes[1]


def test_skewed_weights_do_not_make_it_deep() -> None:
    table = [Clause((InRange(WIDE, 2 * n, 2 * n),), n) for n in range(1_000)]
    node = _tree(table, [0.5**n for n in range(1_000)] + [0.0])
    assert max(made(node, {WIDE: v}) for v in range(2_002)) <= 40


@pytest.mark.parametrize(
    ("table", "weights", "leaf", "price", "told"),
    [
        (POINTS[:2], [1, 1], 2, 0.1, "must match every key"),
        ([], [], 2, 0.1, "must match every key"),
        ([Clause((), 1)], [1, 2], 2, 0.1, "2 weights for 1 clauses"),
        ([Clause((), 1)], [0], 2, 0.1, "not all 0"),
        ([POINTS[0], Clause((), 1)], [-1, 3], 2, 0.1, "not negative"),
        ([Clause((), 1)], [float("inf")], 2, 0.1, "finite"),
        ([Clause((), 1)], [float("nan")], 2, 0.1, "finite"),
        ([Clause((), 1)], [1], 0, 0.1, "leaf=0"),
        ([Clause((), 1)], [1], 2, -0.1, "price=-0.1"),
    ],
)
def test_impossible_arguments_are_refused(
    table: list[Clause], weights: list[float], leaf: int, price: float, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        tree_of(table, weights, priors={}, leaf=leaf, price=price)


@pytest.mark.parametrize(
    "prior", [{"likely": {1: 1.0}}, {"likely": {1: 0.5}, "closed": True}, {"likely": {1: -0.1}}]
)
def test_impossible_priors_are_refused(prior: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="shares of likely values"):
        Prior(**prior)  # type: ignore[arg-type]
