# SPDX-License-Identifier: GPL-2.0-only
"""Compiled rules decide as the independent model does."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.decision.nodes import (
    Decision,
    Field,
    If,
    InRange,
    Result,
    count_nodes,
    depth,
    evaluate,
    parts_of,
    topological,
)
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.filter_layouts import NO_MATCH, PACKET_KEY_LAYOUT, chain, tree
from iridescent_xdp.functions.rules import Rule
from tests.unit.filter_cases import (
    exact_rules,
    expected,
    field_values,
    many_rules,
    mixed_rules,
    near_key,
    packed,
    rule_sets,
)
from tests.unit.filter_model import PacketKey


def _tests_made(decision: Decision, values: dict[Field, int]) -> int:
    count = 0
    for part in parts_of(decision):
        node = part
        while isinstance(node, If):
            count += 1
            node = node.then if node.test.holds(values[node.test.field]) else node.otherwise
    return count


@given(rule_sets(), st.randoms(use_true_random=False))
def test_a_chain_decides_as_the_model(table: list[Rule], rng: Random) -> None:
    node = chain(table)
    for _ in range(40):
        key = near_key(rng, table)
        assert evaluate(node, field_values(key)) == expected(table, key), key


@given(rule_sets(), st.integers(1, 6), st.randoms(use_true_random=False))
def test_a_tree_decides_as_the_model(table: list[Rule], leaf: int, rng: Random) -> None:
    node = tree(table, leaf=leaf)
    for _ in range(40):
        key = near_key(rng, table)
        assert evaluate(node, field_values(key)) == expected(table, key), key


@given(rule_sets(12), st.randoms(use_true_random=False))
def test_weights_change_the_tree_but_not_what_it_decides(table: list[Rule], rng: Random) -> None:
    weights = [rng.choice((0.0, 1.0, 1e6)) for _ in table] + [1.0]
    node = tree(table, weights=weights)
    for _ in range(40):
        key = near_key(rng, table)
        assert evaluate(node, field_values(key)) == expected(table, key), key


@pytest.mark.parametrize("table", [mixed_rules(1), mixed_rules(2), exact_rules(300)])
def test_large_tables(table: list[Rule]) -> None:
    rng = Random(5)
    layouts = (chain(table), tree(table), tree(table, leaf=16))
    for _ in range(1_500):
        key = near_key(rng, table)
        values, wanted = field_values(key), expected(table, key)
        assert [evaluate(node, values) for node in layouts] == [wanted] * 3, key


def test_without_rules_nothing_is_tested() -> None:
    for node in (chain([]), tree([])):
        assert isinstance(node, Result)
        assert node.value == NO_MATCH


def test_1000_sources_are_found_by_binary_search() -> None:
    table = exact_rules(1_000)
    node = tree(table)
    keys = (
        PacketKey(source=rule.source[0], destination=ip_address("192.0.2.1"), protocol=1)
        for rule in table
        if rule.source is not None
    )
    tests = [_tests_made(node, field_values(key)) for key in keys]
    assert sum(tests) / 1_000 <= 12
    assert max(tests) <= 16
    assert count_nodes(node) < 2_600


def test_64_mixed_rules_take_few_tests_in_little_code() -> None:
    table, rng = mixed_rules(), Random(3)
    node = tree(table)
    keys = [near_key(rng, table) for _ in range(2_000)]
    tests = [_tests_made(node, field_values(key)) for key in keys]
    in_chain = [_tests_made(chain(table), field_values(key)) for key in keys]
    assert sum(tests) / len(tests) <= 16
    assert sum(tests) <= 0.5 * sum(in_chain)
    assert count_nodes(node) <= 500 + 65


def test_1000_rules_of_many_kinds_take_few_tests_in_little_code() -> None:
    """One tree would be a chain of hundreds of tests."""
    table, rng = many_rules(1_000), Random(3)
    weights = [1.0] * 1_000 + [1_000.0]
    for node in (tree(table), tree(table, weights=weights, leaf=16)):
        keys = [near_key(rng, table) for _ in range(500)]
        for key in keys:
            assert evaluate(node, field_values(key)) == expected(table, key), key
        tests = [_tests_made(node, field_values(key)) for key in keys]
        assert sum(tests) / len(tests) <= 64
        assert max(tests) <= 100
        assert count_nodes(node) <= 5_000


def test_the_rule_that_takes_nearly_all_traffic_comes_first() -> None:
    table = exact_rules(64)
    weights = [1.0] * 65
    weights[17] = 1e6
    source = table[17].source
    assert source is not None
    key = PacketKey(source=source[0], destination=ip_address("192.0.2.1"), protocol=1)
    assert _tests_made(tree(table, weights=weights), field_values(key)) <= 2  # family, address


def test_a_family_skips_the_rules_of_the_other_in_a_chain() -> None:
    table = [Rule(source=ip_network(f"2001:db8:{n}::/48"), action="drop") for n in range(20)] + [
        Rule(source=ip_network("10.0.0.0/8"), action="drop")
    ]
    key = PacketKey(source=ip_address("192.0.2.1"), destination=ip_address("192.0.2.2"), protocol=1)
    assert _tests_made(chain(table), field_values(key)) == 2
    assert depth(chain(table)) > 20


def test_a_port_test_stands_for_has_ports_unless_0_is_allowed() -> None:
    def fields_of(ports: tuple[int, int]) -> set[str]:
        node = chain([Rule(destination_ports=ports, action="drop")])
        return {n.test.field.name for n in topological(node) if isinstance(n, If)}

    assert fields_of((1, 9)) == {"destination_port"}
    assert fields_of((0, 9)) == {"destination_port", "has_ports"}
    assert fields_of((0, 65_535)) == {"has_ports"}


def test_the_layout_is_that_of_the_struct() -> None:
    key = PacketKey(
        source=ip_address("2001:db8:1:2:3:4:5:6"),
        destination=ip_address("fe80::1"),
        protocol=6,
        source_port=1_234,
        destination_port=443,
        tcp_flags=0x12,
        has_ports=True,
    )
    image = packed(key)
    assert len(image) == 40
    read = {
        field: int.from_bytes(image[at : at + size], "little")
        for field, (at, size) in PACKET_KEY_LAYOUT.items()
    }
    assert read == field_values(key)


@pytest.mark.parametrize("weights", [[], [1.0], [1.0, 1.0, 1.0]])
def test_one_weight_for_each_rule_and_one_for_none(weights: list[float]) -> None:
    with pytest.raises(
        ConfigError, match=f"need 2 weights, the last for no match, got {len(weights)}"
    ):
        tree([Rule(action="drop")], weights=weights)


FOUR, SIX = ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"action": "reject"}, "'pass' or 'drop', got 'reject'"),
        ({"source": FOUR, "destination": SIX}, "one family, got source=10.0.0.0/8"),
        ({"protocol": 256}, "protocol=256"),
        ({"protocol": -1}, "protocol=-1"),
        ({"source_ports": (4, 2)}, "source_ports, got 4..2"),
        ({"destination_ports": (0, 65_536)}, "destination_ports, got 0..65536"),
        ({"protocol": 1, "destination_ports": (1, 2)}, "destination_ports needs .* protocol=1 "),
        ({"protocol": 1, "source_ports": (0, 0)}, "source_ports needs .* protocol=1 "),
        ({"protocol": 17, "tcp_flags": (2, 2)}, "tcp_flags needs protocol 6"),
        ({"tcp_flags": (0x02, 0x12)}, "mask=0x02, value=0x12"),
        ({"tcp_flags": (0x100, 0)}, "mask=256"),
        ({"tcp_flags": (1, -1)}, "inside its mask"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Rule(**{"action": "drop", **fields})  # type: ignore[arg-type]


def test_a_rule_knows_its_family() -> None:
    assert Rule(action="drop").family is None
    assert Rule(source=FOUR, action="drop").family == 4
    assert Rule(destination=SIX, action="drop").family == 6


def test_a_range_that_ends_at_the_top_of_its_field_is_one_compare() -> None:
    node = tree([Rule(destination_ports=(1_024, 65_535), action="drop")])
    assert isinstance(node, If)
    assert node.test == InRange(Field("destination_port"), 1_024, 0xFFFF_FFFF)
