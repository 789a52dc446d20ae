# SPDX-License-Identifier: GPL-2.0-only
"""Compiled tables without a compiler: a stub that calls a helper which does not exist, and the
machine code that takes the place of the call afterwards (see ``splice``).

The stub is all that clang or LLVM see of a table. So a table adds next to nothing to the time of
a compilation, both toolchains give the same code, no optimizer undoes its shape, and the
caller's key stays in registers. Tests at the top of the graph whose field is not asked for again
(the address family) stay in the stub, where a constant can decide them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from iridescent_xdp.decision.emit_c import condition
from iridescent_xdp.decision.emit_ir import ATTRIBUTES, BPF_DATA_LAYOUT, BPF_TRIPLE, compare, load
from iridescent_xdp.decision.machine import assemble
from iridescent_xdp.decision.nodes import Field, Node, Result, fields_tested
from iridescent_xdp.decision.placement import Placement, placed

FIRST_MARKER = 0x4952_0000  # no helper has such a number
PARTS_MOST = 8
DEEPEST_TEST = 3

Layout = Mapping[Field, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Part:
    """Machine code behind a call of helper ``marker``."""

    marker: int
    placement: Placement


class EmbeddedTable:
    """A decision graph, ready for both toolchains.

    ``layout`` gives offset and size (1, 2 or 4), both in bytes, of every tested field; tables of
    one program differ in ``number``. ``bodies`` is what ``splice`` needs. Raises ConfigError when
    a field has no place in the key, or the graph is too large.
    """

    def __init__(self, node: Node, *, layout: Layout, number: int = 0) -> None:
        self._root = node
        self._layout = layout
        self._marker = FIRST_MARKER + PARTS_MOST * number
        self._parts: dict[Node, _Part] = {}
        self._inner: set[Node] = set()
        self.bodies: dict[int, bytes] = {}
        self._divide(node, DEEPEST_TEST)

    def _divide(self, node: Node, deepest: int) -> None:
        if isinstance(node, Result) or node in self._inner or node in self._parts:
            return
        field = node.test.field
        again = {*fields_tested(node.then), *fields_tested(node.otherwise)}
        if deepest and field not in again:
            self._inner.add(node)
            self._divide(node.then, deepest - 1)
            self._divide(node.otherwise, deepest - 1)
            return
        part = _Part(self._marker + len(self._parts), placed(node, self._layout))
        self._parts[node] = part
        self.bodies[part.marker] = assemble(node, part.placement.places)

    def c(self, *, function: str, key_struct: str) -> str:
        """``static __always_inline __u32 function(const struct key_struct *key)``.

        Needs ``__u32``, ``__u64`` and ``__always_inline``.
        """
        head = f"static __always_inline __u32 {function}(const struct {key_struct} *key)"
        body = _c_lines(self._root, self._inner, self._parts, "\t")
        unused = ["\t(void)key;"] if isinstance(self._root, Result) else []
        return "\n".join([head, "{", *unused, *body, "}"]) + "\n"

    def ir(self, *, function: str) -> str:
        """An LLVM module that defines ``i32 @function(ptr %key)``."""
        value: dict[Field, str] = {}
        loads: list[str] = []
        for number, field in enumerate(fields_tested(self._root)):
            value[field] = f"%f{number}"
            loads += load(value[field], field, self._layout)
        lines = [
            f'target datalayout = "{BPF_DATA_LAYOUT}"',
            f'target triple = "{BPF_TRIPLE}"',
            f"define i32 @{function}(ptr noundef readonly %key) {ATTRIBUTES} {{",
            "entry:",
            *loads,
            "  br label %s",
            *_ir_lines(self._root, self._inner, self._parts, value, "s"),
            "}",
        ]
        return "\n".join(lines) + "\n"


def _c_lines(node: Node, inner: set[Node], parts: Mapping[Node, _Part], indent: str) -> list[str]:
    if isinstance(node, Result):
        return [f"{indent}return {node.value}u;"]
    if node not in inner:
        return [f"{indent}return {_c_call(parts[node])};"]
    asked = condition(node.test, f"(__u32)key->{node.test.field}")
    return [
        f"{indent}if ({asked}) {{",
        *_c_lines(node.then, inner, parts, indent + "\t"),
        f"{indent}}}",
        *_c_lines(node.otherwise, inner, parts, indent),
    ]


def _c_call(part: _Part) -> str:
    types: list[str] = []
    values: list[str] = []
    for group in part.placement.arguments:
        types.append("__u32" if len(group) == 1 else "__u64")
        places = [(field, part.placement.places[field].shift) for field in group]
        values.append(" | ".join(f"({types[-1]})key->{field} << {at}" for field, at in places))
    return f"((__u32 (*)({', '.join(types)})){part.marker:#x}ul)({', '.join(values)})"


def _ir_lines(
    node: Node,
    inner: set[Node],
    parts: Mapping[Node, _Part],
    value: Mapping[Field, str],
    name: str,
) -> list[str]:
    """Blocks from label ``name`` on; every way ends in a return."""
    if isinstance(node, Result):
        return [f"{name}:", f"  ret i32 {node.value}"]
    if node not in inner:
        return [f"{name}:", *_ir_call(parts[node], value, f"%{name}")]
    return [
        f"{name}:",
        *compare(f"%{name}", node.test, value[node.test.field]),
        f"  br i1 %{name}.is, label %{name}t, label %{name}f",
        *_ir_lines(node.then, inner, parts, value, f"{name}t"),
        *_ir_lines(node.otherwise, inner, parts, value, f"{name}f"),
    ]


def _ir_call(part: _Part, value: Mapping[Field, str], name: str) -> list[str]:
    lines: list[str] = []
    arguments: list[str] = []
    for number, group in enumerate(part.placement.arguments):
        if len(group) == 1:
            arguments.append(f"i32 {value[group[0]]}")
            continue
        packed = "0"
        for field in group:
            at = f"{name}.{number}.{part.placement.places[field].shift}"
            shift = part.placement.places[field].shift
            lines += [
                f"  {at}.w = zext i32 {value[field]} to i64",
                f"  {at}.s = shl i64 {at}.w, {shift}",
                f"  {at} = or i64 {at}.s, {packed}",
            ]
            packed = at
        arguments.append(f"i64 {packed}")
    callee = f"inttoptr (i64 {part.marker} to ptr)"
    return [
        *lines,
        f"  {name}.r = call i32 {callee}({', '.join(arguments)}) memory(none) nounwind willreturn",
        f"  ret i32 {name}.r",
    ]
