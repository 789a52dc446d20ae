# SPDX-License-Identifier: GPL-2.0-only
"""Pieces of LLVM IR as text: what the stubs of compiled tables are made of.

Text is written directly: building the same with ``llvmlite.ir`` takes twenty times as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iridescent_xdp.decision.lowering import lowered
from iridescent_xdp.decision.nodes import U32_MAX, Field, Test
from iridescent_xdp.errors import ConfigError

BPF_TRIPLE = "bpfel"
BPF_DATA_LAYOUT = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"

# no-jump-tables also keeps the optimizer from making look-up tables, which would need .rodata;
# the inliner hands it on to the caller
ATTRIBUTES = 'alwaysinline nounwind willreturn memory(argmem: read) "no-jump-tables"="true"'
FORGETTING = 'alwaysinline nounwind "no-jump-tables"="true"'
# the verifier knows a slot that holds 0; no key or result that it could know is this number
MASK = 0x5555_5555
_PREDICATES = {"==": "eq", "<=": "ule", ">=": "uge"}

Layout = Mapping[Field, tuple[int, int]]  # offset and size of each field, both in bytes

HEADER = (f'target datalayout = "{BPF_DATA_LAYOUT}"', f'target triple = "{BPF_TRIPLE}"')


def load(name: str, field: Field, layout: Layout) -> list[str]:
    """Put a field of ``%key`` into ``name``, as an i32.

    Raises ConfigError when the field has no place, or an impossible one.
    """
    if field not in layout:
        raise ConfigError(f"no place in the key struct is known for field {field}")
    offset, size = layout[field]
    if size not in (1, 2, 4) or offset < 0:
        raise ConfigError(
            f"a field has 1, 2 or 4 bytes at an offset >= 0, "
            f"got {field} with size={size}, offset={offset}"
        )
    align = next(a for a in (4, 2, 1) if a <= size and offset % a == 0)
    bits = 8 * size
    loaded = name if bits == 32 else f"{name}.raw"
    lines = [
        f"  {name}.at = getelementptr inbounds i8, ptr %key, i64 {offset}",
        f"  {loaded} = load i{bits}, ptr {name}.at, align {align}",
    ]
    if bits != 32:
        lines.append(f"  {name} = zext i{bits} {loaded} to i32")
    return lines


def odd_slot(name: str, number: int) -> str:
    """Let ``name`` be the address of the odd half of 8-byte slot ``number`` of ``%slots``."""
    return f"  {name} = getelementptr inbounds i8, ptr %slots, i64 {8 * number + 4}"


def compare(name: str, test: Test, value: str) -> list[str]:
    """Make a test on the i32 ``value``; the answer is the i1 ``name.is``."""
    form = lowered(test)
    lines: list[str] = []
    left = value
    if form.mask != U32_MAX or form.minus:
        left = f"{name}.v"
        operation = f"sub i32 {value}, {form.minus}"
        if form.mask != U32_MAX:
            operation = f"and i32 {value}, {form.mask}"
        lines.append(f"  {left} = {operation}")
    predicate = _PREDICATES[form.operator]
    return [*lines, f"  {name}.is = icmp {predicate} i32 {left}, {form.value}"]


def keep(value: str, slot: str) -> list[str]:
    """Put an i32 into a slot."""
    return [
        f"  {value}.kept = xor i32 {value}, {MASK}",
        f"  store volatile i32 {value}.kept, ptr {slot}, align 4",
    ]


def take(value: str, slot: str) -> list[str]:
    """Get an i32 from a slot, about which nothing is known any more."""
    return [
        f"  {value}.kept = load volatile i32, ptr {slot}, align 4",
        f"  {value} = xor i32 {value}.kept, {MASK}",
    ]


def least(
    function: str, parts: Sequence[str], fields: Sequence[Field], layout: Layout
) -> list[str]:
    """Define ``function`` as the smallest result of ``parts``, functions of the key and of
    ``%slots``, which hold ``fields`` in that order.

    The verifier follows every number that can come out of a part, and what comes after it once
    for each; and it walks a part once for everything it knows of a field. A number that went
    through the odd half of a stack slot is just some number to it.
    """
    lines = [
        f"define i32 @{function}(ptr noundef readonly %key) {FORGETTING} {{",
        f"  %slots = alloca [{len(fields) + 1} x i64], align 8",
    ]
    for number, field in enumerate(fields):
        name = f"%k{number}"
        lines += [*load(name, field, layout), odd_slot(f"{name}.slot", number)]
        lines += keep(name, f"{name}.slot")
    lines.append(odd_slot("%result", len(fields)))
    best = ""
    for number, part in enumerate(parts):
        lines += [
            f"  %r{number} = call i32 @{part}(ptr %key, ptr %slots)",
            *keep(f"%r{number}", "%result"),
            *take(f"%u{number}", "%result"),
        ]
        if best:
            lines += [
                f"  %c{number} = icmp ult i32 %u{number}, {best}",
                f"  %m{number} = select i1 %c{number}, i32 %u{number}, i32 {best}",
            ]
        best = f"%m{number}" if best else f"%u{number}"
    return [*lines, f"  ret i32 {best}", "}"]
