# SPDX-License-Identifier: GPL-2.0-only
"""The flat table against ``ipaddress``: built at once, and changed prefix by prefix."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iridescent_xdp.functions.router_flat import IN_CHUNK, FlatTable

LENGTHS = (0, 1, 8, 9, 15, 16, 17, 20, 23, 24, 25, 28, 31, 32)
Routes = dict[IPv4Network, int]


def read(table: FlatTable, address: int) -> int:
    """What the program does: at most three reads."""
    entry = int(table.top[address >> 16])
    for shift in (8, 0):
        if not entry & IN_CHUNK:
            break
        entry = int(table.chunks[entry & ~IN_CHUNK][address >> shift & 255])
    assert not entry & IN_CHUNK
    return entry


def expected(routes: Routes, address: int) -> int:
    found = [network for network in routes if IPv4Address(address) in network]
    return routes[max(found, key=lambda network: network.prefixlen)] if found else 0


def prefix(chance: random.Random) -> IPv4Network:
    """Prefixes in two /8, so that they nest and share chunks."""
    address = chance.choice((10, 11)) << 24 | chance.getrandbits(24)
    address &= chance.choice((0xFFFFFFFF, 0xFFFF0000, 0xFF0FFF00, 0xFFF00FFF, 0xFFFF0303))
    return IPv4Network((address, chance.choice(LENGTHS)), strict=False)


def edges(networks: list[IPv4Network]) -> set[int]:
    near = {
        int(end) + beside
        for network in networks
        for end in (network.network_address, network.broadcast_address)
        for beside in (-1, 0, 1)
    }
    return {address for address in near if 0 <= address < 1 << 32}


def parent(routes: Routes, network: IPv4Network) -> tuple[int, int]:
    above = [other for other in routes if network.subnet_of(other) and other != network]
    if not above:
        return 0, 0
    best = max(above, key=lambda other: other.prefixlen)
    return routes[best], best.prefixlen


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1 << 32))
def test_longest_prefix_match_after_every_change(seed: int) -> None:
    chance = random.Random(seed)
    routes = {prefix(chance): chance.randrange(1, 99) for _ in range(chance.randrange(40))}
    table = FlatTable(routes)
    touched = list(routes)
    for step in range(30):
        for address in edges(touched):
            assert read(table, address) == expected(routes, address), (step, address)
        network = chance.choice([*routes, prefix(chance)])
        if network in routes and chance.random() < 0.6:
            del routes[network]
            table.delete(network, *parent(routes, network))
        else:
            routes[network] = chance.randrange(1, 99)
            table.set(network, routes[network])
        touched = [network, *chance.sample(list(routes), min(4, len(routes)))]


def test_what_changed_is_told() -> None:
    """Whoever writes what is told as changed has the whole table."""
    chance = random.Random(7)
    routes = {prefix(chance): 1 for _ in range(50)}
    table = FlatTable(routes)
    table.written()
    top, chunks = table.top.copy(), {n: row.copy() for n, row in enumerate(table.chunks)}
    for _ in range(200):
        network = prefix(chance)
        table.set(network, chance.randrange(2, 99))
        if table.top_changed:
            top = table.top.copy()
        chunks |= {number: table.chunks[number].copy() for number in table.changed}
        table.written()
        assert (top == table.top).all()
        assert all((chunks[n] == row).all() for n, row in enumerate(table.chunks))
    table.set(IPv4Network("172.16.0.0/16"), 5)
    assert table.top_changed and not table.changed


@pytest.mark.parametrize(
    ("networks", "chunks"),
    [
        ([], 0),
        (["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16"], 0),
        (["10.1.0.0/17", "10.1.128.0/24"], 1),
        (["10.1.0.0/24", "10.2.0.0/24"], 2),
        (["10.1.1.1/32"], 2),
        (["10.1.1.1/32", "10.1.1.2/32", "10.1.2.0/25"], 3),
    ],
)
def test_how_many_chunks_routes_need(networks: list[str], chunks: int) -> None:
    assert FlatTable({IPv4Network(text): 1 for text in networks}).count == chunks
