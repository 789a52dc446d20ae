# SPDX-License-Identifier: GPL-2.0-only
"""Nodes, their validation, and walking graphs of them."""

from __future__ import annotations

import pytest

from iridescent_xdp.decision.clauses import Clause, chain_of
from iridescent_xdp.decision.nodes import (
    U32_MAX,
    Field,
    If,
    InRange,
    Masked,
    Result,
    count_nodes,
    depth,
    evaluate,
    fields_tested,
    topological,
)
from iridescent_xdp.errors import ConfigError

A, B = Field("a"), Field("b", 1)


def test_tests_hold_at_their_edges_and_not_beside_them() -> None:
    inside = InRange(A, 10, 20)
    assert [inside.holds(v) for v in (9, 10, 20, 21)] == [False, True, True, False]
    masked = Masked(A, 0xF0, 0x20)
    assert [masked.holds(v) for v in (0x1F, 0x20, 0x2F, 0x30, 0x120)] == [0, 1, 1, 0, 1]
    assert InRange(A, 0, U32_MAX).holds(U32_MAX)


def test_evaluate_follows_the_tests() -> None:
    node = If(InRange(A, 1, 1), Result(7), If(Masked(B, 3, 2), Result(8), Result(9)))
    assert evaluate(node, {A: 1, B: 0}) == 7
    assert evaluate(node, {A: 0, B: 6}) == 8
    assert evaluate(node, {A: 0, B: 7}) == 9


def test_a_missing_field_is_an_error() -> None:
    with pytest.raises(KeyError):
        evaluate(If(InRange(A, 1, 1), Result(7), Result(8)), {})


def test_shared_nodes_count_once_and_depth_is_the_longest_path() -> None:
    shared = If(InRange(A, 5, 6), Result(1), Result(2))
    node = If(InRange(A, 0, 1), shared, If(InRange(B, 0, 0), shared, shared))
    assert count_nodes(node) == 5
    assert depth(node) == 3
    assert depth(Result(1)) == 0


def test_parents_come_before_children() -> None:
    shared = If(InRange(A, 5, 6), Result(1), Result(2))
    node = If(InRange(A, 0, 1), shared, If(InRange(B, 0, 0), shared, Result(3)))
    place = {n: i for i, n in enumerate(topological(node))}
    assert len(place) == 6
    for n, at in place.items():
        if isinstance(n, If):
            assert at < min(place[n.then], place[n.otherwise])


def test_the_failed_test_is_followed_by_what_comes_next() -> None:
    last = If(InRange(A, 3, 3), Result(1), Result(2))
    middle = If(InRange(A, 2, 2), Result(3), last)
    first = If(InRange(A, 1, 1), Result(4), middle)
    assert [n for n in topological(first) if isinstance(n, If)] == [first, middle, last]


def test_thousands_of_tests_need_no_recursion() -> None:
    fields = [Field("f", i) for i in range(6)]
    clauses = [Clause(tuple(InRange(f, i, i) for f in fields), i) for i in range(1_024)]
    node = chain_of(clauses, Result(U32_MAX))
    assert depth(node) == 6 * 1_024
    assert count_nodes(node) == 7 * 1_024 + 1
    assert evaluate(node, dict.fromkeys(fields, 1_023)) == 1_023
    assert fields_tested(node) == fields


def test_nodes_are_compared_by_identity_and_tests_by_value() -> None:
    assert Result(1) != Result(1)
    assert InRange(A, 1, 2) == InRange(Field("a"), 1, 2)
    assert Field("a", in_array=True) == A


def test_a_field_is_shown_as_c_writes_it() -> None:
    assert str(Field("a")) == "a"
    assert str(Field("a", in_array=True)) == "a[0]"
    assert str(Field("a", 2)) == "a[2]"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Field("a b"), "'a b'"),
        (lambda: Field("a", -1), r"index >= 0 must hold, got a\[-1\]"),
        (lambda: InRange(A, 4, 2), "low=4, high=2"),
        (lambda: InRange(A, 0, 1 << 32), f"high={1 << 32}"),
        (lambda: InRange(A, -1, 0), "low=-1"),
        (lambda: Masked(A, 0, 0), "mask=0"),
        (lambda: Masked(A, 0xF0, 0x01), "mask=0xf0, value=0x1"),
        (lambda: Masked(A, 1 << 32, 0), "must hold for a"),
        (lambda: Result(-1), "value=-1"),
        (lambda: Result(1 << 32), f"value={1 << 32}"),
        (lambda: Clause((InRange(A, 1, 2), InRange(A, 2, 3)), 0), "two of a"),
    ],
)
def test_what_cannot_be_is_refused(make: object, told: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=told):
        make()
