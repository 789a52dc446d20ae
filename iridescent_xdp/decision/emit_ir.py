# SPDX-License-Identifier: GPL-2.0-only
"""A decision graph as an LLVM IR module, for the toolchain that links in the process.

The text is written directly: building 500 tests with ``llvmlite.ir`` takes over 20 ms, more
than half of what a whole variant may cost; this takes about 1 ms.
"""

from __future__ import annotations

from collections.abc import Mapping

from iridescent_xdp.decision.lowering import lowered
from iridescent_xdp.decision.nodes import (
    U32_MAX,
    Field,
    If,
    Node,
    Result,
    Test,
    fields_tested,
    topological,
)
from iridescent_xdp.errors import ConfigError

BPF_TRIPLE = "bpfel"
BPF_DATA_LAYOUT = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"

# no-jump-tables also keeps the optimizer from making look-up tables, which would need .rodata;
# the inliner hands it on to the caller
ATTRIBUTES = 'alwaysinline nounwind willreturn memory(argmem: read) "no-jump-tables"="true"'
_PREDICATES = {"==": "eq", "<=": "ule", ">=": "uge"}


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
    order = topological(node)
    label = {
        current: f"r{current.value}" if isinstance(current, Result) else f"n{number}"
        for number, current in enumerate(order)
    }
    lines = [
        f'target datalayout = "{data_layout}"',
        f'target triple = "{triple}"',
        f"define i32 @{function}(ptr noundef readonly %key) {ATTRIBUTES} {{",
        "entry:",
    ]
    value: dict[Field, str] = {}
    for number, field in enumerate(fields_tested(node)):
        value[field] = f"%f{number}"
        lines += load(value[field], field, layout)
    lines.append(f"  br label %{label[node]}")
    for current in order:
        if isinstance(current, If):
            lines += _block(current, label, value[current.test.field])
    results = {current.value for current in order if isinstance(current, Result)}
    for result in sorted(results):
        lines += [f"r{result}:", f"  ret i32 {result}"]
    lines.append("}")
    return "\n".join(lines) + "\n"


def load(name: str, field: Field, layout: Mapping[Field, tuple[int, int]]) -> list[str]:
    """Put a field of ``%key`` into ``name``, as an i32. Raises ConfigError, see ``emit_ir``."""
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


def _block(node: If, label: Mapping[Node, str], value: str) -> list[str]:
    name = label[node]
    return [
        f"{name}:",
        *compare(f"%{name}", node.test, value),
        f"  br i1 %{name}.is, label %{label[node.then]}, label %{label[node.otherwise]}",
    ]


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
