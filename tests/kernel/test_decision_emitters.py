# SPDX-License-Identifier: GPL-2.0-only
"""What is printed as C runs on this machine and decides as the model."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from iridescent_xdp.decision.emit_c import emit_c
from iridescent_xdp.decision.nodes import (
    Decision,
    Field,
    If,
    InRange,
    Least,
    Masked,
    Result,
    evaluate,
)
from iridescent_xdp.functions.filter_layouts import chain, tree
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.toolchain.llvm import find_clang
from tests.unit.filter_cases import (
    exact_rules,
    expected,
    many_rules,
    mixed_rules,
    near_key,
    packed,
    random_rules,
)

Decide = Callable[[bytes], int]

C_PRELUDE = """
typedef unsigned int __u32;
typedef unsigned short __u16;
typedef unsigned char __u8;
#define __always_inline inline __attribute__((always_inline))
struct packet_key {
	__u32 source[4], destination[4];
	__u16 source_port, destination_port;
	__u8 family, protocol, tcp_flags, has_ports;
};
"""
TABLES = {
    "mixed": mixed_rules(),
    "exact": exact_rules(200),
    "many": many_rules(400),
    "random": random_rules(60, seed=1),
    "few": random_rules(5, seed=2),
    "none": [],
}
LAYOUTS: dict[str, Callable[[Sequence[Rule]], Decision]] = {"chain": chain, "tree": tree}


@pytest.fixture(params=[(t, n) for t in TABLES for n in LAYOUTS], ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[Sequence[Rule], Decision]:
    """A table, and the graph of one of its layouts."""
    table, layout = request.param
    return TABLES[table], LAYOUTS[layout](TABLES[table])


def assert_decides(table: Sequence[Rule], decide: Decide) -> None:
    """Thousands of keys near the edges of the rules get the model's decision."""
    rng = Random(7)
    for _ in range(3_000):
        key = near_key(rng, table)
        assert decide(packed(key)) == expected(table, key), key


def test_c_decides_as_the_model(case: tuple[Sequence[Rule], Decision], tmp_path: Path) -> None:
    table, node = case
    source = tmp_path / "decide.c"
    source.write_text(
        C_PRELUDE
        + emit_c(node, function="rules", key_struct="packet_key")
        + "__u32 decide(const struct packet_key *key) { return rules(key); }\n"
    )
    library = tmp_path / "decide.so"
    _clang("-O2", "-shared", "-fPIC", "-o", str(library), str(source))
    function = ctypes.CDLL(str(library)).decide
    function.restype = ctypes.c_uint32
    assert_decides(table, lambda key: int(function(key)))


def test_c_compiles_for_bpf_without_warnings(
    case: tuple[Sequence[Rule], Decision], tmp_path: Path
) -> None:
    source = tmp_path / "decide.c"
    source.write_text(
        C_PRELUDE
        + emit_c(case[1], function="rules", key_struct="packet_key")
        + "__u32 decide(const struct packet_key *key) { return rules(key); }\n"
    )
    _clang("-target", "bpf", "-mcpu=v3", "-O2", "-c", "-o", str(tmp_path / "decide.o"), str(source))


def _clang(*arguments: str) -> None:
    run = subprocess.run(
        [find_clang(), "-Wall", "-Wextra", "-Werror", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[:2_000]


A, B = Field("source", 0, in_array=True), Field("protocol")


@pytest.mark.parametrize(
    "node",
    [
        If(InRange(A, 0, 0xFFFF_FFFF), Result(1), Result(2)),
        If(InRange(A, 0xFFFF_FFFF, 0xFFFF_FFFF), Result(0xFFFF_FFFF), Result(0)),
        If(Masked(A, 0x8000_0001, 0x8000_0000), Result(1), Result(2)),
        If(Masked(A, 0xFFFF_FFFF, 7), Result(1), Result(1)),
        If(InRange(A, 1, 0xFFFF_FFFE), Result(1), If(InRange(B, 200, 255), Result(2), Result(3))),
        Least(
            (
                If(InRange(A, 7, 0x8000_0000), Result(5), Result(0xFFFF_FFFF)),
                If(InRange(B, 200, 255), Result(2), Result(0xFFFF_FFFF)),
                Result(9),
            )
        ),
        Result(9),
    ],
)
def test_edges_of_the_language(node: Decision, tmp_path: Path) -> None:
    source = tmp_path / "decide.c"
    source.write_text(
        C_PRELUDE
        + emit_c(node, function="rules", key_struct="packet_key")
        + "__u32 decide(const struct packet_key *key) { return rules(key); }\n"
    )
    library = tmp_path / "decide.so"
    _clang("-O2", "-shared", "-fPIC", "-o", str(library), str(source))
    function = ctypes.CDLL(str(library)).decide
    function.restype = ctypes.c_uint32
    for source_word in (0, 1, 7, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, 0xFFFF_FFFE, 0xFFFF_FFFF):
        for protocol in (0, 199, 200, 255):
            key = bytearray(40)
            key[0:4] = source_word.to_bytes(4, "little")
            key[37] = protocol
            wanted = evaluate(node, {A: source_word, B: protocol})
            assert function(bytes(key)) == wanted
