# SPDX-License-Identifier: GPL-2.0-only
"""Several search trees for one first-match table.

Where some clauses ask for a source, others for a destination and others for a port, a search tree
has to tell apart every combination of them, and large tables fall back to long chains (the
replication that EffiCuts avoids in the same way; Vamanan, Voskuilen, Vijaykumar, SIGCOMM 2010).
Clauses that ask of the same fields get a tree of their own; the least result is the first match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from random import Random

from iridescent_xdp.decision.axes import Prior
from iridescent_xdp.decision.clauses import Clause
from iridescent_xdp.decision.nodes import (
    U32_MAX,
    Decision,
    Field,
    If,
    InRange,
    Least,
    Test,
    parts_of,
)
from iridescent_xdp.decision.tree import tree_of
from iridescent_xdp.errors import ConfigError

MANY_RANGES = 8  # a field with more different ranges is worth a group of its own
SMALL_GROUP = 8  # clauses; smaller groups are joined
KEYS = 96  # that are asked for, to compare one tree with several
PART_TESTS = 4  # what a part costs beside its tests, in tests


def forest_of(
    clauses: Sequence[Clause],
    weights: Sequence[float],
    *,
    priors: Mapping[Field, Prior],
    leaf: int,
    price: float,
) -> Decision:
    """One tree or several, whichever makes fewer tests. Arguments as in ``tree_of``, but ``price``
    is for each clause, and results grow from clause to clause: the first match has the least.

    Raises ConfigError when they do not, and as ``tree_of`` does.
    """
    results = [clause.result for clause in clauses]
    if any(one >= two for one, two in pairwise(results)):
        raise ConfigError("the results of a forest's clauses must grow from clause to clause")

    def tree(places: Sequence[int]) -> Decision:
        inside = sum(weights[i] for i in places)
        rest = max(sum(weights) - inside, 0.0)
        return tree_of(
            [*(clauses[i] for i in places), clauses[-1]],
            [*(weights[i] for i in places), rest],
            priors=priors,
            leaf=leaf,
            price=price * (len(places) + 1),
        )

    one = tree(range(len(clauses) - 1))
    groups = _groups(clauses[:-1])
    if len(groups) < 2:
        return one
    several = Least(tuple(part for group in groups for part in parts_of(tree(group))))
    keys = _likely_keys(clauses, weights, priors)
    return several if tests_made(several, keys) < tests_made(one, keys) else one


def tests_made(decision: Decision, keys: Sequence[Mapping[Field, int]]) -> float:
    """The mean number of tests, the cost of parts included."""
    total = 0
    parts = parts_of(decision)
    for key in keys:
        for part in parts:
            node = part
            while isinstance(node, If):
                total += 1
                node = node.then if node.test.holds(key[node.test.field]) else node.otherwise
    return total / len(keys) + PART_TESTS * (len(parts) - 1)


def _groups(clauses: Sequence[Clause]) -> list[list[int]]:
    """Places of the clauses, by which of the fields with many ranges they ask of."""
    ranges: dict[str, set[Test]] = {}
    for clause in clauses:
        for test in clause.tests:
            ranges.setdefault(test.field.name, set()).add(test)
    wide = {name for name, tests in ranges.items() if len(tests) > MANY_RANGES}
    found: dict[frozenset[str], list[int]] = {}
    for place, clause in enumerate(clauses):
        asked = frozenset(test.field.name for test in clause.tests) & wide
        found.setdefault(asked, []).append(place)
    large = [group for group in found.values() if len(group) >= SMALL_GROUP]
    small = sorted(i for group in found.values() if len(group) < SMALL_GROUP for i in group)
    return [*large, small] if small else large


def _likely_keys(
    clauses: Sequence[Clause], weights: Sequence[float], priors: Mapping[Field, Prior]
) -> list[dict[Field, int]]:
    """Keys that clauses match, each clause as often as its weight says."""
    rng = Random(0)
    fields = list(dict.fromkeys(test.field for clause in clauses for test in clause.tests))
    keys: list[dict[Field, int]] = []
    for clause in rng.choices(clauses, weights, k=KEYS):
        key = {field: _likely_value(field, priors, rng) for field in fields}
        for test in clause.tests:
            low, high = (test.low, test.high) if isinstance(test, InRange) else (test.value,) * 2
            key[test.field] = rng.randint(low, high)
        keys.append(key)
    return keys


def _likely_value(field: Field, priors: Mapping[Field, Prior], rng: Random) -> int:
    prior = priors.get(field, Prior(top=U32_MAX))
    if prior.likely:
        return rng.choices(list(prior.likely), list(prior.likely.values()))[0]
    return rng.randint(0, prior.top)
