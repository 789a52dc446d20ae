# SPDX-License-Identifier: GPL-2.0-only
"""Prefixes as nested ifs: a binary search whose numbers are in the code. Both toolchains."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from iridescent_xdp.representations import (
    Field,
    If,
    InRange,
    Node,
    Representation,
    Table,
    longest_prefix,
)

FAMILY, WORDS = Field("family"), tuple(Field("source", word, True) for word in range(4))
MOST_WORDS = 8_000  # a prefix of one word takes some three instructions; jumps reach 32,767 of them
NO_MATCH = 0xFFFF_FFFF

Entries = Sequence[tuple[IPv4Network | IPv6Network, int]]


def source_ifs(entries: Entries) -> Node:
    """The result of the longest prefix that holds the key's source."""
    four = [(n, result) for n, result in entries if n.version == 4]
    six = [(n, result) for n, result in entries if n.version == 6]
    return If(
        InRange(FAMILY, 4, 4),
        longest_prefix(four, fields=WORDS[:1], default=NO_MATCH),
        longest_prefix(six, fields=WORDS, default=NO_MATCH),
    )


class NestedIfs(Representation):
    """See the module."""

    name = "ifs"
    points = frozenset({"filter.set_layout"})

    def infeasible(self, table: Table) -> str | None:
        """Too many prefixes; those of IPv6 count as many times as they have words."""
        words = sum(1 + max(0, network.prefixlen - 1) // 32 for network, _ in table.entries)
        if words > MOST_WORDS:
            return (
                f"nested ifs of more than {MOST_WORDS:,} address words are not compiled, "
                f"got {words:,}: jumps would be too long"
            )
        return None

    def build(self, table: Table) -> Node:
        """One search for each family."""
        return source_ifs(table.entries)


REPRESENTATION = NestedIfs()
