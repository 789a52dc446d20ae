# SPDX-License-Identifier: GPL-2.0-only
"""Longest-prefix match and exact keys as decision graphs: generated nested ifs.

Prefixes become intervals of the address line, each with the result of its longest prefix, and the
intervals the leaves of a search tree in which what is asked for often is near the root. An IPv6
address is searched word by word.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from itertools import accumulate, groupby, pairwise

from iridescent_xdp.decision.nodes import U32_MAX, Field, If, InRange, Node, Result
from iridescent_xdp.errors import ConfigError

WORD = 32
CHAIN_KEYS = 4  # so few exact keys are asked one after the other
UNSEEN_SHARE = 0.05  # the weight of all leaves together beside that of the samples
UNEVEN = 0.2  # how often a test should hold; see search_tree

Network = IPv4Network | IPv6Network
Boundary = tuple[int, int]  # the first address of an interval, and its result


def longest_prefix(
    entries: Sequence[tuple[Network, int]],
    *,
    fields: Sequence[Field],
    default: int,
    samples: Mapping[int, int] | None = None,
) -> Node:
    """The result of the longest prefix that holds an address; ``default`` if none does.

    ``fields`` are the address's 32-bit words, the most significant first: one for IPv4, four for
    IPv6. ``samples`` counts addresses that were looked up. Raises ConfigError for prefixes of
    another size.
    """
    bits = WORD * len(fields)
    for network, _ in entries:
        if network.max_prefixlen != bits:
            raise ConfigError(f"{network} is not a prefix of {bits} bits")
    seen = sorted((samples or {}).items())
    asked = _Asked([a for a, _ in seen], [0, *accumulate(c for _, c in seen)])
    return _Words(fields, asked).node(0, _intervals(entries, default, bits))


def _intervals(entries: Sequence[tuple[Network, int]], default: int, bits: int) -> list[Boundary]:
    """Where the result changes, in ascending order, from address 0 on."""
    found: list[Boundary] = [(0, default)]
    open_: list[tuple[int, int]] = [(1 << bits, default)]  # end and result, the innermost last

    def change(start: int, result: int) -> None:
        if found[-1][0] == start:
            found.pop()
        if not found or found[-1][1] != result:
            found.append((start, result))

    def close(until: int) -> None:
        while len(open_) > 1 and open_[-1][0] <= until:
            end, _ = open_.pop()
            if end < 1 << bits:
                change(end, open_[-1][1])

    # one result for each prefix, the last one given
    unique = {(int(n.network_address), n.prefixlen): result for n, result in entries}
    for (start, length), result in sorted(unique.items()):
        close(start)
        change(start, result)
        open_.append((start + (1 << (bits - length)), result))
    close(1 << bits)
    return found


@dataclass(frozen=True, slots=True)
class _Asked:
    """Addresses that were looked up, ascending, and how often, summed from the left."""

    addresses: Sequence[int]
    sums: Sequence[int]

    def between(self, low: int, high: int) -> int:
        """Look-ups of addresses from ``low`` to below ``high``."""
        at = bisect_left(self.addresses, high)
        return self.sums[at] - self.sums[bisect_left(self.addresses, low)]


Part = Boundary | tuple[int, list[Boundary]]


class _Words:
    """Builds the graph for one family; results are shared."""

    def __init__(self, fields: Sequence[Field], asked: _Asked) -> None:
        self._fields = fields
        self._asked = asked
        self._results: dict[int, Node] = {}

    def node(self, level: int, boundaries: list[Boundary]) -> Node:
        """Decide addresses that share the words before ``level``; the first boundary is their
        lowest one."""
        if len(boundaries) == 1:
            return self._result(boundaries[0][1])
        shift = WORD * (len(self._fields) - 1 - level)
        base = boundaries[0][0]
        parts = _parts(boundaries, base, shift)
        edges = [base + (word << shift) for word, _ in parts] + [base + (1 << (shift + WORD))]
        counts = [self._asked.between(low, high) for low, high in pairwise(edges)]

        def leaf(number: int) -> Node:
            below = parts[number][1]
            return self._result(below) if isinstance(below, int) else self.node(level + 1, below)

        return search_tree(self._fields[level], [word for word, _ in parts], counts, leaf)

    def _result(self, value: int) -> Node:
        return self._results.setdefault(value, Result(value))


def _parts(boundaries: list[Boundary], base: int, shift: int) -> list[Part]:
    """The intervals by one word: each has one result, or is one word that the next ones decide."""
    parts: list[Part] = [(0, boundaries[0][1])]
    current = boundaries[0][1]
    for word, group in groupby(boundaries[1:], key=lambda b: b[0] - base >> shift):
        inside = list(group)
        start = base + (word << shift)
        if parts[-1][0] == word:
            parts.pop()
        if len(inside) == 1 and inside[0][0] == start:
            parts.append((word, inside[0][1]))
        else:
            whole = inside if inside[0][0] == start else [(start, current), *inside]
            parts.append((word, whole))
            if word < U32_MAX:
                parts.append((word + 1, inside[-1][1]))
        current = inside[-1][1]
    return parts


def search_tree(
    field: Field, starts: Sequence[int], counts: Sequence[int], leaf: Callable[[int], Node]
) -> Node:
    """A search tree: leaf i is for values from ``starts[i]`` to below the next one, and was asked
    for ``counts[i]`` times. Without counts the tree is as flat as it can be.

    What a test costs is mostly its mispredictions. A test that holds with probability p tells h(p)
    bits (Shannon's entropy) and is mispredicted min(p, 1 - p) of the times, so that an uneven test
    tells more for its price than an even one: the best is at about one in five.
    """
    total = sum(counts)
    share = max(1.0, total * UNSEEN_SHARE) / len(starts)
    weights = [count + share for count in counts]
    wanted = UNEVEN if total else 0.5

    def tree(places: Sequence[int]) -> Node:
        if len(places) == 1:
            return leaf(places[0])
        sums = [0.0, *accumulate(weights[place] for place in places)]
        at = max(range(len(places)), key=lambda i: weights[places[i]])
        if total and weights[places[at]] >= wanted * sums[-1]:
            return alone(places, at)
        middle = bisect_right(sums, wanted * sums[-1], 1, len(places) - 1)
        test = InRange(field, 0, starts[places[middle]] - 1)
        return If(test, tree(places[:middle]), tree(places[middle:]))

    def alone(places: Sequence[int], at: int) -> Node:
        """One leaf is asked for before all others; its values are nobody's afterwards."""
        low = starts[places[at]]
        last = places[at] + 1 == len(starts)
        high = U32_MAX if last else starts[places[at] + 1] - 1
        rest = [*places[:at], *places[at + 1 :]]
        return If(InRange(field, low, high), leaf(places[at]), tree(rest))

    return tree(range(len(starts)))


def exact_keys(entries: Sequence[tuple[Mapping[Field, int], int]], default: int) -> Node:
    """The result of the entry whose fields all are as in the key; ``default`` if there is none.

    The most frequent entries come first, and all have the same fields.
    """
    none = Result(default)
    if not entries:
        return none
    if len(entries) <= CHAIN_KEYS:
        return _chain(entries, none)
    fields = list(entries[0][0])
    field = max(fields, key=lambda f: len({key[f] for key, _ in entries}))
    groups: dict[int, list[tuple[Mapping[Field, int], int]]] = {}
    weights: dict[int, int] = {}
    for rank, (key, result) in enumerate(entries):
        groups.setdefault(key[field], []).append((key, result))
        weights[key[field]] = weights.get(key[field], 0) + 1000 // (rank + 1)  # as Zipf has it
    values = sorted(groups)
    chains = [_chain(groups[value], none) for value in values]
    return search_tree(field, [0, *values[1:]], [weights[v] for v in values], lambda i: chains[i])


def _chain(entries: Sequence[tuple[Mapping[Field, int], int]], none: Node) -> Node:
    """Whole keys compared one after the other."""
    node = none
    for key, result in reversed(entries):
        found: Node = Result(result)
        for field, value in reversed(list(key.items())):
            found = If(InRange(field, value, value), found, node)
        node = found
    return node
