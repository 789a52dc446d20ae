# SPDX-License-Identifier: GPL-2.0-only
"""Nested ifs against longest-prefix match by hand, and exact keys against a dictionary."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iridescent_xdp.decision.nodes import Field, If, Node, count_nodes, depth, evaluate
from iridescent_xdp.decision.prefixes import exact_keys, longest_prefix
from iridescent_xdp.errors import ConfigError

WORD = (Field("address"),)
WORDS = tuple(Field("address", i, True) for i in range(4))
Network = IPv4Network | IPv6Network
NONE = 7


def by_hand(entries: Sequence[tuple[Network, int]], address: int, bits: int) -> int:
    made = ipaddress.IPv4Address if bits == 32 else ipaddress.IPv6Address
    holding = [(n.prefixlen, i, r) for i, (n, r) in enumerate(entries) if made(address) in n]
    return max(holding)[2] if holding else NONE


def looked_up(node: Node, address: int, fields: Sequence[Field]) -> int:
    last = len(fields) - 1
    key = {f: address >> 32 * (last - i) & 0xFFFF_FFFF for i, f in enumerate(fields)}
    return evaluate(node, key)


def network_of(address: int, length: int, bits: int) -> Network:
    made = IPv4Network if bits == 32 else IPv6Network
    return made((address >> (bits - length) << (bits - length), length))


def tables(bits: int) -> st.SearchStrategy[list[tuple[Network, int]]]:
    """Prefixes that nest and touch: addresses differ in few bits."""
    places = st.sampled_from([0, 1, bits // 4, bits // 2 - 1, bits // 2, bits - 2, bits - 1])
    address = st.lists(places, max_size=4).map(lambda bits_: sum(1 << b for b in set(bits_)))
    row = st.tuples(address, st.integers(0, bits), st.integers(0, 3))
    return st.lists(row, max_size=12).map(
        lambda rows: [(network_of(a, length, bits), r) for a, length, r in rows]
    )


@pytest.mark.parametrize("bits", [32, 128])
def test_every_edge_of_every_prefix(bits: int) -> None:
    @settings(max_examples=300, deadline=None)
    @given(tables(bits), st.booleans())
    def check(entries: list[tuple[Network, int]], sampled: bool) -> None:
        fields = WORD if bits == 32 else WORDS
        edges = {0, (1 << bits) - 1, 1 << (bits - 1)}
        for network, _ in entries:
            first, last = int(network.network_address), int(network.broadcast_address)
            edges |= {first - 1, first, first + 1, last - 1, last, last + 1}
        asked = sorted(edge for edge in edges if 0 <= edge < 1 << bits)
        samples = {address: 1 + i * i for i, address in enumerate(asked)} if sampled else None
        node = longest_prefix(entries, fields=fields, default=NONE, samples=samples)
        for address in asked:
            assert looked_up(node, address, fields) == by_hand(entries, address, bits), address

    check()


def asked_until(node: Node, value: int) -> int:
    tests = 0
    while isinstance(node, If):
        node = node.then if node.test.holds(value) else node.otherwise
        tests += 1
    return tests


def random_routes(n: int, seed: int) -> list[tuple[Network, int]]:
    rng = random.Random(seed)
    found: dict[Network, int] = {}
    while len(found) < n:
        network = network_of(rng.getrandbits(32), rng.choice([8, 16, 20, 24, 24, 24, 28, 32]), 32)
        found[network] = rng.randrange(50)
    return list(found.items())


def test_a_thousand_routes_are_balanced() -> None:
    routes = random_routes(1000, 1)
    node = longest_prefix(routes, fields=WORD, default=NONE)
    assert depth(node) <= 14  # some 2,000 intervals: eleven tests at best
    assert count_nodes(node) < 2 * 2001 + 51


def test_what_is_asked_often_is_near_the_root() -> None:
    routes = random_routes(1000, 2)
    often = int(routes[5][0].network_address)
    node = longest_prefix(routes, fields=WORD, default=NONE, samples={often: 10_000, 1: 10})
    assert asked_until(node, often) <= 4


def test_the_last_of_equal_prefixes_counts() -> None:
    network = IPv4Network("10.0.0.0/8")
    node = longest_prefix([(network, 1), (network, 2)], fields=WORD, default=NONE)
    assert looked_up(node, 0x0A000001, WORD) == 2


def test_a_prefix_of_the_other_family_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"10\.0\.0\.0/8 is not a prefix of 128 bits"):
        longest_prefix([(IPv4Network("10.0.0.0/8"), 1)], fields=WORDS, default=NONE)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 70)), max_size=64, unique=True))
def test_exact_keys(keys: list[tuple[int, int]]) -> None:
    first, second = Field("first"), Field("second")
    entries = [({first: a, second: b}, 100 + i) for i, (a, b) in enumerate(keys)]
    node = exact_keys(entries, NONE)
    wanted = {key: 100 + i for i, key in enumerate(keys)}
    for a in range(7):
        for b in range(72):
            assert evaluate(node, {first: a, second: b}) == wanted.get((a, b), NONE)


def test_exact_keys_that_are_asked_often_come_first() -> None:
    field = Field("address")
    node = exact_keys([({field: 7 * i % 64}, i) for i in range(64)], NONE)
    assert depth(node) <= 24
    for rank, most in ((0, 4), (8, 12), (63, 24)):
        assert asked_until(node, 7 * rank % 64) <= most
