# SPDX-License-Identifier: GPL-2.0-only
"""A few BPF instructions, run as the kernel's Documentation/bpf/standardization says.

An independent check of machine code: opcodes are taken apart into class, source and operation
here, the assembler writes whole opcodes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

U32, U64 = (1 << 32) - 1, (1 << 64) - 1
ALU, JMP, JMP32, ALU64 = 0x04, 0x05, 0x06, 0x07
EXIT, CALL = 0x90, 0x80
LD_IMM64 = 0x18

_ARITHMETIC: dict[int, Callable[[int, int, int], int]] = {
    0x00: lambda a, b, _: a + b,
    0x10: lambda a, b, _: a - b,
    0x40: lambda a, b, _: a | b,
    0x50: lambda a, b, _: a & b,
    0x60: lambda a, b, bits: a << (b % bits),
    0x70: lambda a, b, bits: a >> (b % bits),
    0xB0: lambda _, b, __: b,
}
_COMPARES: dict[int, Callable[[int, int], bool]] = {
    0x10: lambda a, b: a == b,
    0x20: lambda a, b: a > b,
    0x30: lambda a, b: a >= b,
    0x50: lambda a, b: a != b,
    0xA0: lambda a, b: a < b,
    0xB0: lambda a, b: a <= b,
}


def run(code: bytes, registers: dict[int, int], helpers: dict[int, int] | None = None) -> int:
    """Register 0 after ``exit`` or past the last instruction.

    ``helpers`` gives the results of calls. A register that was never written, or that a call
    has clobbered, must not be read: KeyError.
    """
    state = dict(registers)
    at, steps = 0, 0
    while at * 8 < len(code):
        steps += 1
        assert steps < 100_000, "a loop"
        opcode, names, offset, immediate = struct.unpack_from("<BBhi", code, 8 * at)
        to, by = names & 15, names >> 4
        at += 1
        if opcode == LD_IMM64:
            high = struct.unpack_from("<i", code, 8 * at + 4)[0]
            state[to] = (immediate & U32) | (high & U32) << 32
            at += 1
            continue
        kind, operation = opcode & 7, opcode & 0xF0
        if kind == JMP and operation == EXIT:
            break
        if kind == JMP and operation == CALL:
            state = {n: v for n, v in state.items() if n > 5} | {0: (helpers or {})[immediate]}
            continue
        if kind == JMP and operation == 0:
            at += offset
            continue
        other = state[by] if opcode & 8 else immediate & U64
        bits = 64 if kind in (ALU64, JMP) else 32
        cut = U64 if bits == 64 else U32
        if kind in (ALU, ALU64):
            mine = 0 if operation == 0xB0 else state[to]
            state[to] = _ARITHMETIC[operation](mine & cut, other & cut, bits) & cut
        else:
            assert kind in (JMP, JMP32), hex(opcode)
            at += offset if _COMPARES[operation](state[to] & cut, other & cut) else 0
    return state[0]
