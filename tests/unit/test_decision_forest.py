# SPDX-License-Identifier: GPL-2.0-only
"""Several trees for one table decide as the model; groups are forced, so that small tables do."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.decision import forest
from iridescent_xdp.decision.clauses import Clause
from iridescent_xdp.decision.forest import forest_of
from iridescent_xdp.decision.nodes import Field, InRange, Least, evaluate, parts_of
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.filter_layouts import tree
from iridescent_xdp.functions.rules import Rule
from tests.unit.filter_cases import expected, field_values, many_rules, near_key, rule_sets

X, Y = Field("x"), Field("y")


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever can be several trees is."""
    monkeypatch.setattr(forest, "MANY_RANGES", 0)
    monkeypatch.setattr(forest, "PART_TESTS", -1_000)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("small", [1, 3])
def test_a_forest_decides_as_the_model(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forest, "SMALL_GROUP", small)
    made: set[bool] = set()

    @given(rule_sets(16), st.randoms(use_true_random=False), st.integers(1, 16))
    def check(table: list[Rule], rng: Random, leaf: int) -> None:
        decision = tree(table, leaf=leaf)
        made.add(isinstance(decision, Least))
        for _ in range(15):
            key = near_key(rng, table)
            assert evaluate(decision, field_values(key)) == expected(table, key), key

    check()
    assert True in made


def test_a_large_table_of_many_kinds_is_a_forest_and_a_small_one_is_not() -> None:
    assert len(parts_of(tree(many_rules(1_000)))) > 2
    assert len(parts_of(tree(many_rules(40)))) == 1


def test_what_every_clause_asks_of_makes_no_groups() -> None:
    clauses = [Clause((InRange(X, n, n), InRange(Y, n, n)), n) for n in range(50)]
    decision = forest_of([*clauses, Clause((), 99)], [1.0] * 51, priors={}, leaf=4, price=1 / 3_200)
    assert not isinstance(decision, Least)
    assert evaluate(decision, {X: 7, Y: 7}) == 7
    assert evaluate(decision, {X: 7, Y: 8}) == 99


def test_results_that_do_not_grow_are_refused() -> None:
    """The least result would not be the first match."""
    clauses = [Clause((InRange(X, 1, 1),), 5), Clause((InRange(Y, 1, 1),), 4), Clause((), 9)]
    with pytest.raises(ConfigError, match="must grow"):
        forest_of(clauses, [1.0] * 3, priors={}, leaf=4, price=0.001)
