# SPDX-License-Identifier: GPL-2.0-only
"""Put machine code in the place of calls in a program's instructions."""

from __future__ import annotations

from collections.abc import Mapping

from iridescent_xdp.decision.machine import INSN, INSN_BYTES
from iridescent_xdp.errors import ToolchainError

LD_IMM64, CALL, EXIT, JA32 = 0x18, 0x85, 0x95, 0x06
JMP_CLASS, JMP32_CLASS = 0x05, 0x06
PSEUDO_CALL, PSEUDO_FUNCTION = 1, 4

Insn = tuple[int, int, int, int]  # opcode, registers, offset, immediate


def splice(instructions: bytes, bodies: Mapping[int, bytes]) -> bytes:
    """Replace each call of helper ``number`` by ``bodies[number]``; jumps keep their targets.

    Raises ToolchainError when a jump gets too long.
    """
    insns: list[Insn] = list(INSN.iter_unpack(instructions))
    place: list[int] = []
    size = 0
    inside = False  # the second half of a wide load is no instruction
    calls: dict[int, bytes] = {}
    for at, (opcode, registers, _, immediate) in enumerate(insns):
        place.append(size)
        if not inside and opcode == CALL and not registers >> 4 and immediate in bodies:
            calls[at] = bodies[immediate]
            size += len(calls[at]) // INSN_BYTES
        else:
            size += 1
        inside = not inside and opcode == LD_IMM64
    place.append(size)
    out: list[bytes] = []
    inside = False
    for at, insn in enumerate(insns):
        moved = insn if inside else _moved(insn, at, place)
        out.append(calls[at] if at in calls else INSN.pack(*moved))
        inside = not inside and insn[0] == LD_IMM64
    return b"".join(out)


def _moved(insn: Insn, at: int, place: list[int]) -> Insn:
    """A jump or a call inside the program, aimed at where its target is now."""
    opcode, registers, offset, immediate = insn
    source = registers >> 4
    if opcode == LD_IMM64 and source == PSEUDO_FUNCTION:
        raise ToolchainError("a program with callbacks cannot take compiled tables")
    if opcode == EXIT or (opcode & 7) not in (JMP_CLASS, JMP32_CLASS):
        return insn
    far = opcode == JA32 or (opcode == CALL and source == PSEUDO_CALL)
    if opcode == CALL and not far:
        return insn
    distance = immediate - ((immediate & 0x8000_0000) << 1) if far else offset
    distance = place[at + 1 + distance] - place[at] - 1
    if far:
        return opcode, registers, offset, distance & 0xFFFF_FFFF
    if not -0x8000 <= distance <= 0x7FFF:
        raise ToolchainError(
            f"a jump over a compiled table is {distance} instructions long, "
            f"at most 32767 are possible",
            cure="use fewer rules, or keep them in a map",
        )
    return opcode, registers, distance, immediate
