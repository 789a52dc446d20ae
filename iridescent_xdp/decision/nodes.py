# SPDX-License-Identifier: GPL-2.0-only
"""Decision graphs: what a compiled table is before it is printed as C or LLVM IR.

A graph is made of ``If`` nodes and ``Result`` leaves and has no cycles; parts of it may be
shared. Fields are members of a C key struct, in host byte order, at most 32 bits wide; tests
compare unsigned. Nothing here recurses, so that a chain of thousands of tests is no problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from iridescent_xdp.errors import ConfigError

U32_MAX = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Field:
    """A member of the key struct; ``index`` picks an element when the member is an array.

    ``in_array`` only tells how C writes the first element; it is no part of what a field is.
    """

    name: str
    index: int = 0
    in_array: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.name.isascii():
            raise ConfigError(f"a field is named by a C identifier, got {self.name!r}")
        if self.index < 0:
            raise ConfigError(f"index >= 0 must hold, got {self.name}[{self.index}]")

    def __str__(self) -> str:
        return f"{self.name}[{self.index}]" if self.in_array or self.index else self.name


@dataclass(frozen=True, slots=True)
class InRange:
    """True when ``low <= field <= high``."""

    field: Field
    low: int
    high: int

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= U32_MAX:
            raise ConfigError(
                f"0 <= low <= high <= {U32_MAX} must hold for {self.field}, "
                f"got low={self.low}, high={self.high}"
            )

    def holds(self, value: int) -> bool:
        """The test on a value of the field."""
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Masked:
    """True when ``field & mask == value``."""

    field: Field
    mask: int
    value: int

    def __post_init__(self) -> None:
        if not 0 < self.mask <= U32_MAX:
            raise ConfigError(
                f"0 < mask <= {U32_MAX} must hold for {self.field}, got mask={self.mask}"
            )
        if self.value < 0 or self.value & ~self.mask:
            raise ConfigError(
                f"the value must lie inside the mask for {self.field}, "
                f"got mask={self.mask:#x}, value={self.value:#x}"
            )

    def holds(self, value: int) -> bool:
        """The test on a value of the field."""
        return value & self.mask == self.value


Test = InRange | Masked


@dataclass(frozen=True, slots=True, eq=False)
class If:
    """Go to ``then`` when the test holds, else to ``otherwise``; compared by identity."""

    test: Test
    then: Node
    otherwise: Node


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The end of a path: an unsigned 32-bit number; compared by identity."""

    value: int

    def __post_init__(self) -> None:
        if not 0 <= self.value <= U32_MAX:
            raise ConfigError(f"0 <= value <= {U32_MAX} must hold, got value={self.value}")


Node = If | Result


@dataclass(frozen=True, slots=True, eq=False)
class Least:
    """The smallest result of several graphs: a first match whose number is its place.

    Parts of a table that ask of different fields are searched one after the other; in one graph
    their sizes would be multiplied. Only the root of a decision can be one.
    """

    parts: tuple[Node, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError("the least of several results needs one graph at least")


Decision = Node | Least


def parts_of(decision: Decision) -> tuple[Node, ...]:
    """The graphs that a decision is made of."""
    return decision.parts if isinstance(decision, Least) else (decision,)


def evaluate(decision: Decision, key: Mapping[Field, int]) -> int:
    """The result for ``key``; raises KeyError when a tested field is missing from it."""
    return min(_result(node, key) for node in parts_of(decision))


def _result(node: Node, key: Mapping[Field, int]) -> int:
    while isinstance(node, If):
        node = node.then if node.test.holds(key[node.test.field]) else node.otherwise
    return node.value


def topological(node: Node) -> list[Node]:
    """Every reachable node once, each before the nodes it leads to, ``node`` first.

    What follows a failed test comes as early as it can, so that it is laid out behind it.
    """
    finished: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(node, False)]
    while stack:
        current, expanded = stack.pop()
        if expanded:
            finished.append(current)
        elif current not in seen:
            seen.add(current)
            stack.append((current, True))
            if isinstance(current, If):
                stack.append((current.otherwise, False))
                stack.append((current.then, False))
    finished.reverse()
    return finished


def count_nodes(decision: Decision) -> int:
    """How many distinct nodes are reachable, results included."""
    return len({node for part in parts_of(decision) for node in topological(part)})


def depth(node: Node) -> int:
    """The number of tests on the longest path."""
    longest: dict[Node, int] = {}
    for current in reversed(topological(node)):
        longest[current] = (
            1 + max(longest[current.then], longest[current.otherwise])
            if isinstance(current, If)
            else 0
        )
    return longest[node]


def fields_tested(decision: Decision) -> list[Field]:
    """The fields that some test looks at, in the order of ``topological``."""
    nodes = (node for part in parts_of(decision) for node in topological(part))
    return list(dict.fromkeys(node.test.field for node in nodes if isinstance(node, If)))
