# SPDX-License-Identifier: GPL-2.0-only
"""What stubs and C look like: structure only; tests/kernel runs it."""

from __future__ import annotations

import re

import llvmlite.binding as llvm
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.decision.embed import EmbeddedTable
from iridescent_xdp.decision.emit_c import emit_c
from iridescent_xdp.decision.lowering import lowered
from iridescent_xdp.decision.nodes import U32_MAX, Field, If, InRange, Least, Masked, Result, Test
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.filter_layouts import PACKET_KEY_LAYOUT, chain, tree
from tests.unit.filter_cases import mixed_rules

A, B = Field("a"), Field("b", 0, in_array=True)
VALUES = st.integers(0, U32_MAX) | st.sampled_from((0, 1, 255, 256, 1 << 31, U32_MAX))
RANGES = st.tuples(VALUES, VALUES).map(lambda v: InRange(A, min(v), max(v)))
PREFIXES = st.tuples(VALUES, st.integers(0, 32)).map(
    lambda v: InRange(A, v[0] >> v[1] << v[1], (v[0] >> v[1] << v[1]) + (1 << v[1]) - 1)
)
MASKS = st.tuples(st.integers(1, U32_MAX), VALUES).map(lambda v: Masked(A, v[0], v[0] & v[1]))


@given(RANGES | PREFIXES | MASKS, VALUES, st.integers(-1, 1))
def test_a_lowered_test_is_the_test(test: Test, anywhere: int, beside: int) -> None:
    compare = lowered(test)
    edges = (test.low, test.high) if isinstance(test, InRange) else (test.value, test.mask)
    for value in (anywhere, *(max(0, min(U32_MAX, edge + beside)) for edge in edges)):
        left = ((value & compare.mask) - compare.minus) & U32_MAX
        holds = {
            "==": left == compare.value,
            "<=": left <= compare.value,
            ">=": left >= compare.value,
        }[compare.operator]
        assert holds == test.holds(value), value


def test_a_prefix_becomes_a_mask_and_an_open_range_one_compare() -> None:
    assert lowered(InRange(A, 0x0A010200, 0x0A0102FF)).mask == 0xFFFFFF00
    assert lowered(InRange(A, 5, U32_MAX)).operator == ">="
    assert lowered(InRange(A, 0, 5)).operator == "<="
    assert lowered(InRange(A, 5, 5)).operator == "=="
    assert lowered(InRange(A, 5, 9)).minus == 5


def test_c_prints_a_shared_node_once_behind_a_label() -> None:
    shared = If(InRange(B, 7, 7), Result(1), Result(2))
    node = If(InRange(A, 1, 1), shared, If(Masked(A, 6, 2), Result(3), shared))
    text = emit_c(node, function="decide", key_struct="key")
    assert text == (
        "static __always_inline __u32 decide(const struct key *key)\n"
        "{\n"
        "\tconst __u32 f0 = key->a;\n"
        "\tconst __u32 f1 = key->b[0];\n"
        "\n"
        "\tif (f0 == 1u)\n"
        "\t\tgoto n2;\n"
        "\tif ((f0 & 0x6u) == 2u)\n"
        "\t\treturn 3u;\n"
        "n2:\n"
        "\tif (f1 == 7u)\n"
        "\t\treturn 1u;\n"
        "\treturn 2u;\n"
        "}\n"
    )


def test_a_graph_without_tests() -> None:
    assert "return 5u;" in emit_c(Result(5), function="decide", key_struct="key")


def test_c_takes_the_least_of_several_parts() -> None:
    node = Least(
        (If(InRange(A, 1, 1), Result(4), Result(9)), If(InRange(B, 7, 7), Result(3), Result(8)))
    )
    text = emit_c(node, function="decide", key_struct="key")
    assert "\tslots[1] = key->a ^ 0x55555555u;\n\tslots[3] = key->b[0] ^ 0x55555555u;\n" in text
    assert "\tconst __u32 f0 = slots[3] ^ 0x55555555u;\n" in text
    assert text.count("if (found < best)") == 2
    assert re.findall(r"slots\[(\d+)\] = decide__", text) == ["5", "5"]


@pytest.mark.parametrize("layout", [chain, tree])
def test_the_stub_is_valid_and_defines_only_the_function(layout: object) -> None:
    assert callable(layout)
    table = EmbeddedTable(layout(mixed_rules()), layout=PACKET_KEY_LAYOUT)
    module = llvm.parse_assembly(table.ir(function="decide"))
    module.verify()
    assert [f.name for f in module.functions] == ["decide"]
    assert not list(module.global_variables)
    assert module.triple == "bpfel"


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        ({}, r"no place in the key struct is known for field a"),
        ({A: (0, 8)}, "size=8, offset=0"),
        ({A: (-4, 4)}, "size=4, offset=-4"),
    ],
)
def test_a_field_needs_a_place(layout: dict[Field, tuple[int, int]], told: str) -> None:
    node = If(InRange(A, 1, 1), Result(1), Result(2))
    with pytest.raises(ConfigError, match=told):
        EmbeddedTable(node, layout=layout).ir(function="decide")
