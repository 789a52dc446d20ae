# SPDX-License-Identifier: GPL-2.0-only
"""First-match tables as lists of clauses: what chains and search trees are made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from iridescent_xdp.decision.nodes import If, InRange, Node, Result, Test
from iridescent_xdp.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Clause:
    """``result`` when all tests hold and no earlier clause does.

    Raises ConfigError when two ranges are asked of one field.
    """

    tests: tuple[Test, ...]
    result: int

    def __post_init__(self) -> None:
        ranged = [test.field for test in self.tests if isinstance(test, InRange)]
        if len(set(ranged)) < len(ranged):
            twice = next(field for field in ranged if ranged.count(field) > 1)
            raise ConfigError(
                f"a clause asks at most one range of a field, got two of {twice}",
                cure="intersect the ranges",
            )


def all_of(tests: Iterable[Test], then: Node, otherwise: Node) -> Node:
    """``then`` when every test holds; the tests are made in the order given."""
    node = then
    for test in reversed(tuple(tests)):
        node = If(test, node, otherwise)
    return node


def chain_of(clauses: Sequence[Clause], otherwise: Node) -> Node:
    """The clauses one after the other; what follows a failed clause is shared, not repeated."""
    node = otherwise
    for clause in reversed(clauses):
        node = all_of(clause.tests, Result(clause.result), node)
    return node
