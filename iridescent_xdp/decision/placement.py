# SPDX-License-Identifier: GPL-2.0-only
"""Where the fields of a key are when machine code starts: in the five argument registers.

With up to five fields each has a register of its own. With more, fields share registers, those
that are tested least first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from iridescent_xdp.decision.nodes import Field, If, Node, topological
from iridescent_xdp.errors import ConfigError

REGISTERS = (1, 2, 3, 4, 5)  # the calling convention's arguments; free to be changed
REGISTER_BITS = 64


@dataclass(frozen=True, slots=True)
class Place:
    """Bits ``shift..shift+bits-1`` of a register of which ``used`` bits carry something."""

    register: int
    shift: int
    bits: int
    used: int


@dataclass(frozen=True, slots=True)
class Placement:
    """The fields of each argument, the lowest bits first, and the place of each field."""

    arguments: tuple[tuple[Field, ...], ...]
    places: Mapping[Field, Place]


def placed(node: Node, layout: Mapping[Field, tuple[int, int]]) -> Placement:
    """Places for every field that ``node`` tests; ``layout`` gives offset and size in bytes.

    Raises ConfigError when a field has no place in the key, or all do not fit.
    """
    tests: dict[Field, int] = {}
    for current in topological(node):
        if isinstance(current, If):
            tests[current.test.field] = tests.get(current.test.field, 0) + 1
    for field in tests:
        if field not in layout:
            raise ConfigError(f"no place in the key struct is known for field {field}")
    bits = {field: 8 * layout[field][1] for field in tests}
    groups = _grouped(tests, bits, tests) or _grouped(tests, bits, bits)
    if groups is None:
        raise ConfigError(
            f"{len(tests)} fields do not fit into {len(REGISTERS)} registers",
            cure="ask for fewer fields in one table",
        )
    places: dict[Field, Place] = {}
    for register, group in zip(REGISTERS, groups, strict=False):
        used, shift = sum(bits[field] for field in group), 0
        for field in group:
            places[field] = Place(register, shift, bits[field], used)
            shift += bits[field]
    return Placement(tuple(tuple(group) for group in groups), places)


def _grouped(
    fields: Iterable[Field], bits: Mapping[Field, int], rank: Mapping[Field, int]
) -> list[list[Field]] | None:
    """Share registers until there are enough, the fields with the lowest ranks first."""
    groups = [[field] for field in fields]
    while len(groups) > len(REGISTERS):
        fitting = [
            (sum(rank[field] for field in (*one, *two)), i, j)
            for i, one in enumerate(groups)
            for j, two in enumerate(groups[:i])
            if sum(bits[field] for field in (*one, *two)) <= REGISTER_BITS
        ]
        if not fitting:
            return None
        _, i, j = min(fitting)
        groups[j] += groups.pop(i)
    return groups
