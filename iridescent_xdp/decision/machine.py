# SPDX-License-Identifier: GPL-2.0-only
"""A decision graph as BPF instructions, to stand in the place of a call.

Through LLVM a large graph costs about 0.1 ms for each test, far more in sum than the rest of a
variant; this costs less than 0.01 ms. The fields are where ``placement`` says, the result goes to
register 0, registers 1 to 5 may be overwritten, the end is the last instruction's successor.
Compares are 32 bits wide (BPF_JMP32, kernel 5.1).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from iridescent_xdp.decision.lowering import Comparison, lowered
from iridescent_xdp.decision.nodes import U32_MAX, Field, If, Node, Result, topological
from iridescent_xdp.decision.placement import Place
from iridescent_xdp.errors import ConfigError

INSN = struct.Struct("<BBhI")
INSN_BYTES = INSN.size
MAX_JUMP = 0x7FFF

# linux/bpf.h: class | source | operation
MOV32_K, MOV32_X, MOV64_X, ADD32_K, AND32_K, RSH64_K, JA = 0xB4, 0xBC, 0xBF, 0x04, 0x54, 0x77, 0x05
_JUMPS = {"==": 0x16, "<=": 0xB6, ">=": 0x36}
_OPPOSITES = {"==": 0x56, "<=": 0x26, ">=": 0xA6}

OUT = 0  # the result, and until then the value that is compared

Block = If | int | None  # a test, a result's value, or the end
Held = tuple[Field, int, int] | None  # what OUT holds: (field & mask) - minus


@dataclass(slots=True)
class _Jump:
    at: int
    to: Block


def assemble(node: Node, places: Mapping[Field, Place]) -> bytes:
    """The instructions of a graph. Raises ConfigError when it is too large for 16-bit jumps."""
    return _Assembler(places).code(node)


class _Assembler:
    def __init__(self, places: Mapping[Field, Place]) -> None:
        self._places = places
        self._code: list[tuple[int, int, int, int]] = []  # opcode, registers, offset, immediate
        self._jumps: list[_Jump] = []
        self._entries: dict[Block, list[Held]] = {}
        self._ways: dict[Block, int] = {}

    def code(self, root: Node) -> bytes:
        order = _laid_out(root)
        for node in topological(root):
            if isinstance(node, If):
                for target in (_block(node.then), _block(node.otherwise)):
                    self._ways[target] = self._ways.get(target, 0) + 1
        start: dict[Block, int] = {}
        for block, following in zip(order, [*order[1:], None], strict=True):
            start[block] = len(self._code)
            if isinstance(block, If):
                self._test(block, following)
            else:
                assert block is not None
                self._add(MOV32_K, OUT, imm=block)
                if following is not None:
                    self._jump(JA, OUT, 0, None)
        start[None] = len(self._code)
        return self._bytes(start)

    def _bytes(self, start: Mapping[Block, int]) -> bytes:
        if len(self._code) > MAX_JUMP:
            raise ConfigError(
                f"a compiled table has at most {MAX_JUMP} instructions, got {len(self._code)}",
                cure="use fewer rules, or keep them in a map",
            )
        for jump in self._jumps:
            opcode, registers, _, immediate = self._code[jump.at]
            self._code[jump.at] = (opcode, registers, start[jump.to] - jump.at - 1, immediate)
        pack = INSN.pack
        return b"".join([pack(*insn) for insn in self._code])

    def _add(self, opcode: int, to: int, by: int = 0, imm: int = 0) -> None:
        self._code.append((opcode, to | by << 4, 0, imm & U32_MAX))

    def _jump(self, opcode: int, register: int, immediate: int, to: Block) -> None:
        self._jumps.append(_Jump(len(self._code), to))
        self._add(opcode, register, imm=immediate)

    def _test(self, node: If, following: Block) -> None:
        states = self._entries.get(node, [])
        known = len(states) == self._ways.get(node, 0) and len(set(states)) == 1
        compare = lowered(node.test)
        register, held = self._load(node.test.field, compare, states[0] if known else None)
        then, otherwise = _block(node.then), _block(node.otherwise)
        for target in (then, otherwise):
            self._entries.setdefault(target, []).append(held)
        if then == following and then != otherwise:
            self._jump(_OPPOSITES[compare.operator], register, compare.value, otherwise)
            return
        self._jump(_JUMPS[compare.operator], register, compare.value, then)
        if otherwise != following:
            self._jump(JA, OUT, 0, otherwise)

    def _load(self, field: Field, compare: Comparison, held: Held) -> tuple[int, Held]:
        """Bring what is compared into a register; the register, and what OUT holds now."""
        place = self._places[field]
        mask, minus = compare.mask, compare.minus
        in_place = not place.shift and place.bits in (32, place.used)
        if mask == U32_MAX and not minus and in_place:
            return place.register, held
        wanted = (field, mask, minus)
        if held == wanted:
            return OUT, held
        if held and held[:2] == wanted[:2]:
            self._add(ADD32_K, OUT, imm=held[2] - minus)
            return OUT, wanted
        if place.shift:
            self._add(MOV64_X, OUT, place.register)
            self._add(RSH64_K, OUT, imm=place.shift)
        else:
            self._add(MOV32_X, OUT, place.register)
        if place.bits < 32 and place.shift + place.bits < place.used:
            mask &= (1 << place.bits) - 1
        if mask != U32_MAX:
            self._add(AND32_K, OUT, imm=mask)
        if minus:
            self._add(ADD32_K, OUT, imm=-minus)
        return OUT, wanted


def _block(node: Node) -> Block:
    return node.value if isinstance(node, Result) else node


def _laid_out(root: Node) -> list[Block]:
    """Blocks in an order in which what follows a failed test often comes next."""
    order: list[Block] = []
    placed: set[Block] = set()
    pending = [_block(root)]
    while pending:
        block = pending.pop()
        while block not in placed:
            placed.add(block)
            order.append(block)
            if not isinstance(block, If):
                break
            then, otherwise = _block(block.then), _block(block.otherwise)
            if otherwise in placed:
                block = then
            else:
                pending.append(then)
                block = otherwise
    return order
