# SPDX-License-Identifier: GPL-2.0-only
"""Machine code for decisions, run by an interpreter; and its place in a program."""

from __future__ import annotations

import re
import struct
from random import Random

import llvmlite.binding as llvm
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.decision.clauses import Clause, chain_of
from iridescent_xdp.decision.embed import EmbeddedTable
from iridescent_xdp.decision.machine import assemble
from iridescent_xdp.decision.nodes import (
    U32_MAX,
    Decision,
    Field,
    If,
    InRange,
    Least,
    Masked,
    Result,
    evaluate,
    fields_tested,
    parts_of,
)
from iridescent_xdp.decision.placement import Placement, placed
from iridescent_xdp.decision.splice import splice
from iridescent_xdp.errors import ConfigError, ToolchainError
from iridescent_xdp.functions.filter_layouts import PACKET_KEY_LAYOUT, chain, tree
from iridescent_xdp.functions.rules import Rule
from tests.unit import bpf_interpreter
from tests.unit.filter_cases import (
    exact_rules,
    expected,
    field_values,
    many_rules,
    mixed_rules,
    near_key,
    random_rules,
    rule_sets,
)

A, B = Field("a"), Field("b")
PLACE_A = placed(If(InRange(A, 1, 1), Result(1), Result(2)), {A: (0, 4)}).places


def registers(placement: Placement, values: dict[Field, int], rng: Random) -> dict[int, int]:
    """Arguments as a caller leaves them; above a single field's 32 bits there may be anything."""
    state: dict[int, int] = {}
    for number, group in enumerate(placement.arguments, start=1):
        places = [placement.places[field] for field in group]
        assert [p.register for p in places] == [number] * len(group)
        state[number] = sum(values[f] << p.shift for f, p in zip(group, places, strict=True))
        if len(group) == 1:
            state[number] |= rng.getrandbits(32) << 32
    return state


Assembled = list[tuple[Placement, bytes]]


def assembled(decision: Decision) -> Assembled:
    """The machine code of each part."""
    placements = [(node, placed(node, PACKET_KEY_LAYOUT)) for node in parts_of(decision)]
    return [(placement, assemble(node, placement.places)) for node, placement in placements]


def run(code: Assembled, values: dict[Field, int], rng: Random) -> int:
    return min(bpf_interpreter.run(c, registers(p, values, rng)) for p, c in code)


def decide(decision: Decision, values: dict[Field, int], rng: Random) -> int:
    return run(assembled(decision), values, rng)


@given(rule_sets(16), st.randoms(use_true_random=False))
def test_machine_code_decides_as_the_model(table: list[Rule], rng: Random) -> None:
    for node in (chain(table), tree(table)):
        for _ in range(15):
            key = near_key(rng, table)
            assert decide(node, field_values(key), rng) == expected(table, key), key


@pytest.mark.parametrize(
    "table", [mixed_rules(), random_rules(80, seed=3), exact_rules(100), many_rules(600)]
)
def test_large_tables(table: list[Rule]) -> None:
    rng = Random(11)
    for node in (chain(table), tree(table), tree(table, leaf=16)):
        code = assembled(node)
        for _ in range(600):
            key = near_key(rng, table)
            assert run(code, field_values(key), rng) == expected(table, key), key


EDGES = (0, 1, 2, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, U32_MAX - 1, U32_MAX)


@pytest.mark.parametrize(
    "test",
    [
        InRange(A, 0, U32_MAX),
        InRange(A, U32_MAX, U32_MAX),
        InRange(A, 0x8000_0000, U32_MAX),
        InRange(A, 0, 0x8000_0000),
        InRange(A, 1, U32_MAX - 1),
        InRange(A, 0x8000_0000, 0x8000_0001),
        Masked(A, 0x8000_0001, 0x8000_0000),
        Masked(A, U32_MAX, 2),
    ],
)
def test_compares_are_unsigned_and_32_bits_wide(test: InRange | Masked) -> None:
    node = If(test, Result(U32_MAX), Result(0x8000_0000))
    for value in EDGES:
        result = bpf_interpreter.run(assemble(node, PLACE_A), {1: value | 0xABCD << 32})
        assert result == evaluate(node, {A: value})


def test_a_result_alone_is_one_instruction() -> None:
    code = assemble(Result(7), {})
    assert len(code) == 8
    assert bpf_interpreter.run(code, {}) == 7


def test_tests_with_a_common_mask_compute_it_once() -> None:
    prefixes = [InRange(A, n << 8, n << 8 | 0xFF) for n in range(1, 17)]
    clauses = [Clause((test,), n) for n, test in enumerate(prefixes)]
    code = assemble(chain_of(clauses, Result(99)), PLACE_A)
    opcodes = code[::8]
    assert opcodes.count(0x54) == 1  # BPF_ALU | BPF_AND | BPF_K
    assert opcodes.count(0x16) + opcodes.count(0x56) == 16  # JEQ, JNE


def test_up_to_five_fields_have_registers_of_their_own() -> None:
    fields = [Field("f", n) for n in range(5)]
    node = chain_of([Clause((InRange(f, 1, 1),), 1) for f in fields], Result(0))
    placement = placed(node, {f: (4 * f.index, 4) for f in fields})
    assert [len(group) for group in placement.arguments] == [1] * 5


def test_all_fields_of_the_filter_fit() -> None:
    clauses = [Clause((InRange(f, 1, 2),), n) for n, f in enumerate(PACKET_KEY_LAYOUT)]
    node = chain_of(clauses, Result(99))
    placement = placed(node, PACKET_KEY_LAYOUT)
    assert len(placement.arguments) == 5
    for wanted, field in enumerate(PACKET_KEY_LAYOUT):
        values = dict.fromkeys(PACKET_KEY_LAYOUT, 0) | {field: 2}
        assert decide(node, values, Random(1)) == wanted
    full = {f: (1 << 8 * size) - 1 for f, (_, size) in PACKET_KEY_LAYOUT.items()}
    assert decide(node, full, Random(1)) == 99 if min(full.values()) > 2 else True


def test_too_many_fields_and_a_field_without_a_place_are_told() -> None:
    fields = [Field("f", n) for n in range(11)]
    node = chain_of([Clause((InRange(f, 1, 1),), 1) for f in fields], Result(0))
    with pytest.raises(ConfigError, match="11 fields do not fit into 5 registers"):
        placed(node, {f: (4 * f.index, 4) for f in fields})
    with pytest.raises(ConfigError, match=r"known for field f\[3\]"):
        placed(node, {f: (0, 4) for f in fields if f.index != 3})


def test_a_graph_too_large_for_jumps_is_told() -> None:
    clauses = [Clause((InRange(A, n, n),), n) for n in range(20_000)]
    with pytest.raises(ConfigError, match="at most 32767 instructions, got"):
        assemble(chain_of(clauses, Result(U32_MAX)), PLACE_A)


MARKER = 0x4952_0000


def insn(opcode: int, to: int = 0, by: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, to | by << 4, offset, immediate)


BODY = (
    insn(0xB4, 0, immediate=10) + insn(0x16, 1, offset=1, immediate=5) + insn(0xB4, 0, immediate=20)
)
PROGRAM = b"".join(
    [
        insn(0xBF, 6, 1),  # r6 = r1
        insn(0xB4, 0, immediate=7),  # w0 = 7
        insn(0x16, 6, offset=2, immediate=1),  # if w6 == 1 goto +2
        insn(0xBF, 1, 6),  # r1 = r6
        insn(0x85, immediate=MARKER),
        insn(0x07, 0, immediate=1),  # r0 += 1
        insn(0x26, 0, offset=2, immediate=1_000),  # if w0 > 1000 goto exit
        insn(0x07, 6, immediate=1),  # r6 += 1
        insn(0x26, 0, offset=-6, immediate=20),  # if w0 > 20 goto "if w6 == 1"
        insn(0x95),
    ]
)


def test_a_body_takes_the_place_of_the_call_and_jumps_keep_their_targets() -> None:
    whole = splice(PROGRAM, {MARKER: BODY})
    assert len(whole) == len(PROGRAM) + len(BODY) - 8
    assert bpf_interpreter.run(whole, {1: 1}) == 8  # over the call
    assert bpf_interpreter.run(whole, {1: 5}) == 11  # through it
    assert bpf_interpreter.run(whole, {1: 2}) == 11  # back to it, until r6 is 5


def test_every_call_is_replaced_and_other_calls_stay() -> None:
    program = insn(0x85, immediate=MARKER) * 2 + insn(0x85, immediate=5) + insn(0x95)
    body = insn(0xB4, 0, immediate=3) * 2
    assert splice(program, {MARKER: body}) == body * 2 + program[16:]


def test_an_empty_body_removes_the_call() -> None:
    program = insn(0x05, offset=1) + insn(0x85, immediate=MARKER) + insn(0x95)
    assert splice(program, {MARKER: b""}) == insn(0x05, offset=0) + insn(0x95)


def test_half_a_wide_load_is_no_call() -> None:
    wide = insn(0x18, 1) + struct.pack("<BBhi", 0x85, 0, 0, MARKER)
    assert splice(wide + insn(0x95), {MARKER: b""}) == wide + insn(0x95)


def test_calls_inside_the_program_are_aimed_again() -> None:
    program = insn(0x85, by=1, immediate=2) + insn(0x85, immediate=MARKER) + insn(0x95) * 2
    moved = splice(program, {MARKER: insn(0xB4) * 5})
    assert moved[:8] == insn(0x85, by=1, immediate=6)
    backward = insn(0x95) + insn(0x85, immediate=MARKER) + insn(0x85, by=1, immediate=-3)
    assert splice(backward, {MARKER: insn(0xB4) * 5})[-8:] == insn(0x85, by=1, immediate=-7)


def test_a_jump_that_gets_too_long_is_told() -> None:
    program = insn(0x05, offset=1) + insn(0x85, immediate=MARKER) + insn(0x95)
    assert len(splice(program, {MARKER: insn(0xB4) * 32_767})) == 8 * 32_769
    with pytest.raises(ToolchainError, match="32768 instructions long"):
        splice(program, {MARKER: insn(0xB4) * 32_768})


def test_callbacks_are_refused() -> None:
    program = insn(0x18, 1, 4, immediate=3) + insn(0) + insn(0x85, immediate=MARKER)
    with pytest.raises(ToolchainError, match="callbacks"):
        splice(program, {MARKER: b""})


def test_tables_of_one_program_have_markers_of_their_own() -> None:
    node = If(InRange(A, 1, 1), Result(1), If(InRange(A, 2, 2), Result(3), Result(2)))
    one, two = (EmbeddedTable(node, layout={A: (0, 4)}, number=n) for n in (0, 1))
    assert not set(one.bodies) & set(two.bodies)


def test_a_family_is_asked_in_the_stub_where_a_constant_can_decide_it() -> None:
    table = EmbeddedTable(tree(mixed_rules()), layout=PACKET_KEY_LAYOUT)
    assert len(table.bodies) == 2
    text = table.ir(function="rules")
    assert re.search(r"icmp \w+ i32 %f0, \d+\n  br i1", text)
    assert text.count("inttoptr") == 2


def test_parts_that_the_verifier_must_not_multiply_go_through_odd_halves_of_slots() -> None:
    """One look at each field and result, whatever is known of them; the least one counts."""
    decision = tree(many_rules(600))
    parts = parts_of(decision)
    assert len(parts) > 2
    table = EmbeddedTable(decision, layout=PACKET_KEY_LAYOUT)
    text = table.ir(function="rules")
    llvm.parse_assembly(text).verify()
    stores = re.findall(r"store volatile i32 %[\w.]+, ptr (%[\w.]+)", text)
    places = dict(re.findall(r"(%[\w.]+) = getelementptr inbounds i8, ptr %slots, i64 (\d+)", text))
    asked = {f for part in parts for f in fields_tested(part)}
    assert {int(places[at]) % 8 for at in stores} == {4}
    assert len(parts) < len(stores) <= len(parts) + len(asked)
    assert text.count("icmp ult i32 %u") == len(parts) - 1


def test_as_many_results_as_the_verifier_may_follow_need_no_slots() -> None:
    clauses = [Clause((InRange(A, n, n),), n) for n in range(300)]
    for count, slots in ((200, False), (300, True)):
        node = chain_of(clauses[:count], Result(U32_MAX))
        text = EmbeddedTable(node, layout={A: (0, 4)}).ir(function="rules")
        assert ("alloca" in text) == slots


def test_too_many_pieces_are_told() -> None:
    fields = [Field("a", n, in_array=True) for n in range(65)]
    parts = tuple(
        If(InRange(f, 1, 1), Result(1), If(InRange(f, 2, 2), Result(2), Result(3))) for f in fields
    )
    with pytest.raises(ConfigError, match="at most 64 pieces"):
        EmbeddedTable(Least(parts), layout={f: (4 * f.index, 4) for f in fields})
