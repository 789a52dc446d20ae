# SPDX-License-Identifier: GPL-2.0-only
"""Both emitters' output runs on this machine and decides as the model; and what LLVM makes of it
for BPF has neither loads from the key nor tables.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import llvmlite.binding as llvm
import pytest

from iridescent_xdp.decision.emit_c import emit_c
from iridescent_xdp.decision.emit_ir import BPF_DATA_LAYOUT, BPF_TRIPLE, emit_ir
from iridescent_xdp.decision.nodes import Field, If, InRange, Masked, Node, Result, evaluate
from iridescent_xdp.functions.filter_layouts import PACKET_KEY_LAYOUT, chain, tree
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.toolchain.llvm import find_clang
from tests.unit.filter_cases import (
    exact_rules,
    expected,
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
    "random": random_rules(60, seed=1),
    "few": random_rules(5, seed=2),
    "none": [],
}
LAYOUTS = {"chain": chain, "tree": tree}


@pytest.fixture(params=[(t, n) for t in TABLES for n in LAYOUTS], ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[Sequence[Rule], Node]:
    """A table, and the graph of one of its layouts."""
    table, layout = request.param
    return TABLES[table], LAYOUTS[layout](TABLES[table])


def assert_decides(table: Sequence[Rule], decide: Decide) -> None:
    """Thousands of keys near the edges of the rules get the model's decision."""
    rng = Random(7)
    for _ in range(3_000):
        key = near_key(rng, table)
        assert decide(packed(key)) == expected(table, key), key


def _callable(address: int) -> Decide:
    function = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_char_p)(address)
    return lambda key: int(function(key))


@pytest.fixture(scope="module")
def host() -> llvm.TargetMachine:
    """The machine that runs the tests."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(opt=2)


@pytest.fixture(scope="module")
def bpf() -> llvm.TargetMachine:
    """The machine that variants are compiled for."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(BPF_TRIPLE).create_target_machine(cpu="v3", opt=2)


def _optimize(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)


@pytest.fixture
def jit(host: llvm.TargetMachine) -> Iterator[Callable[[Node], Decide]]:
    """Compiles a graph as IR for this machine."""
    engines = []

    def make(node: Node) -> Decide:
        text = emit_ir(
            node,
            function="decide",
            layout=PACKET_KEY_LAYOUT,
            triple=llvm.get_default_triple(),
            data_layout=str(host.target_data),
        )
        module = llvm.parse_assembly(text)
        module.verify()
        _optimize(module, host)
        engine = llvm.create_mcjit_compiler(
            module, llvm.Target.from_default_triple().create_target_machine()
        )
        engines.append(engine)
        engine.finalize_object()
        return _callable(engine.get_function_address("decide"))

    yield make
    for engine in engines:
        engine.close()


def test_ir_decides_as_the_model(
    case: tuple[Sequence[Rule], Node], jit: Callable[[Node], Decide]
) -> None:
    table, node = case
    assert_decides(table, jit(node))


def test_c_decides_as_the_model(case: tuple[Sequence[Rule], Node], tmp_path: Path) -> None:
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
    case: tuple[Sequence[Rule], Node], tmp_path: Path
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


# a caller that keeps its key on the stack, as a template does
CALLER = f"""
target datalayout = "{BPF_DATA_LAYOUT}"
target triple = "{BPF_TRIPLE}"
declare i32 @decide(ptr)
define i32 @caller(ptr %data) section "xdp" {{
  %key = alloca [40 x i8], align 4
  call void @llvm.memset.p0.i64(ptr %key, i8 0, i64 40, i1 false)
  COPIES
  %result = call i32 @decide(ptr %key)
  ret i32 %result
}}
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""


def _caller() -> str:
    copies = []
    for number, (offset, size) in enumerate(PACKET_KEY_LAYOUT.values()):
        copies += [
            f"%a{number} = getelementptr i8, ptr %data, i64 {offset}",
            f"%v{number} = load i{8 * size}, ptr %a{number}, align 1",
            f"%b{number} = getelementptr i8, ptr %key, i64 {offset}",
            f"store i{8 * size} %v{number}, ptr %b{number}, align {size}",
        ]
    return CALLER.replace("COPIES", "\n  ".join(copies))


def test_inlined_the_key_stays_in_registers_and_no_table_appears(
    case: tuple[Sequence[Rule], Node], bpf: llvm.TargetMachine
) -> None:
    module = llvm.parse_assembly(_caller())
    text = emit_ir(case[1], function="decide", layout=PACKET_KEY_LAYOUT)
    module.link_in(llvm.parse_assembly(text))
    module.get_function("decide").linkage = "internal"
    _optimize(module, bpf)
    assert [f.name for f in module.functions if not f.is_declaration] == ["caller"]
    assert "alloca" not in str(module)
    assert not list(module.global_variables)
    sections = {
        str(s.name()): s.size()
        for s in llvm.ObjectFileRef.from_data(bpf.emit_object(module)).sections()
    }
    assert not [name for name in sections if re.search(r"rel|rodata|data|bss", name)], sections


A, B = Field("source", 0, in_array=True), Field("protocol")


@pytest.mark.parametrize(
    "node",
    [
        If(InRange(A, 0, 0xFFFF_FFFF), Result(1), Result(2)),
        If(InRange(A, 0xFFFF_FFFF, 0xFFFF_FFFF), Result(0xFFFF_FFFF), Result(0)),
        If(Masked(A, 0x8000_0001, 0x8000_0000), Result(1), Result(2)),
        If(Masked(A, 0xFFFF_FFFF, 7), Result(1), Result(1)),
        If(InRange(A, 1, 0xFFFF_FFFE), Result(1), If(InRange(B, 200, 255), Result(2), Result(3))),
        Result(9),
    ],
)
def test_edges_of_the_language(node: Node, jit: Callable[[Node], Decide], tmp_path: Path) -> None:
    decide = jit(node)
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
            assert decide(bytes(key)) == wanted
            assert function(bytes(key)) == wanted
