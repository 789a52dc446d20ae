# SPDX-License-Identifier: GPL-2.0-only
"""A decision graph as an LLVM IR module, for the toolchain that links in the process.

The text is written directly: building 500 tests with ``llvmlite.ir`` takes over 20 ms, more
than half of what a whole variant may cost; this takes about 1 ms.
"""

from __future__ import annotations

from collections.abc import Mapping

from iridescent_xdp.decision.nodes import (
    U32_MAX,
    Field,
    If,
    InRange,
    Node,
    Result,
    Test,
    tested_fields,
    topological,
)
from iridescent_xdp.errors import ConfigError

BPF_TRIPLE = "bpfel"
BPF_DATA_LAYOUT = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"

# no-jump-tables also keeps the optimizer from making look-up tables, which would need .rodata;
# the inliner hands it on to the caller
_ATTRIBUTES = 'alwaysinline nounwind willreturn memory(argmem: read) "no-jump-tables"="true"'


def emit_ir(
    node: Node,
    *,
    function: str,
    layout: Mapping[Field, tuple[int, int]],
    triple: str = BPF_TRIPLE,
    data_layout: str = BPF_DATA_LAYOUT,
) -> str:
    """A module that defines ``i32 @function(ptr %key)``.

    ``layout`` gives offset and size (1, 2 or 4), both in bytes, of every tested field. Every
    field is loaded once, at the start: when the caller keeps its key in registers, the loads
    go away. Raises ConfigError when a field has no place or an impossible one.
    """
    lines = [
        f'target datalayout = "{data_layout}"',
        f'target triple = "{triple}"',
        f"define i32 @{function}(ptr noundef readonly %key) {_ATTRIBUTES} {{",
        "entry:",
    ]
    order = topological(node)
    fields = tested_fields(node)
    for number, field in enumerate(fields):
        lines += _load(number, field, layout)
    value = {field: f"%f{number}" for number, field in enumerate(fields)}
    lines.append(f"  br label %{_Labels(order)[node]}")
    lines += _blocks(order, value)
    lines.append("}")
    return "\n".join(lines) + "\n"


class _Labels(dict[Node, str]):
    """A block for each test, and one for each value that comes out."""

    def __init__(self, order: list[Node]) -> None:
        super().__init__(
            (node, f"r{node.value}" if isinstance(node, Result) else f"n{number}")
            for number, node in enumerate(order)
        )


def _load(number: int, field: Field, layout: Mapping[Field, tuple[int, int]]) -> list[str]:
    if field not in layout:
        raise ConfigError(f"no place in the key struct is known for field {field}")
    offset, size = layout[field]
    if size not in (1, 2, 4) or offset < 0:
        raise ConfigError(
            f"a field has 1, 2 or 4 bytes at an offset >= 0, "
            f"got {field} with size={size}, offset={offset}"
        )
    align = next(a for a in (4, 2, 1) if a <= size and offset % a == 0)
    name, bits = f"%f{number}", 8 * size
    loaded = name if bits == 32 else f"{name}.raw"
    lines = [
        f"  {name}.at = getelementptr inbounds i8, ptr %key, i64 {offset}",
        f"  {loaded} = load i{bits}, ptr {name}.at, align {align}",
    ]
    if bits != 32:
        lines.append(f"  {name} = zext i{bits} {loaded} to i32")
    return lines


def _blocks(order: list[Node], value: dict[Field, str]) -> list[str]:
    label = _Labels(order)
    lines: list[str] = []
    for current in order:
        if not isinstance(current, If):
            continue
        name = label[current]
        lines.append(f"{name}:")
        lines += _compare(f"%{name}", current.test, value[current.test.field])
        then, otherwise = label[current.then], label[current.otherwise]
        lines.append(f"  br i1 %{name}.is, label %{then}, label %{otherwise}")
    results = sorted({current.value for current in order if isinstance(current, Result)})
    for result in results:
        lines += [f"r{result}:", f"  ret i32 {result}"]
    return lines


def _compare(name: str, test: Test, value: str) -> list[str]:
    if not isinstance(test, InRange):
        return [
            f"  {name}.m = and i32 {value}, {test.mask}",
            f"  {name}.is = icmp eq i32 {name}.m, {test.value}",
        ]
    if test.low == test.high:
        return [f"  {name}.is = icmp eq i32 {value}, {test.low}"]
    if test.low == 0:
        return [f"  {name}.is = icmp ule i32 {value}, {test.high}"]
    if test.high == U32_MAX:
        return [f"  {name}.is = icmp uge i32 {value}, {test.low}"]
    return [
        f"  {name}.d = sub i32 {value}, {test.low}",
        f"  {name}.is = icmp ule i32 {name}.d, {test.high - test.low}",
    ]
