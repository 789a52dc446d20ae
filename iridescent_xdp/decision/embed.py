# SPDX-License-Identifier: GPL-2.0-only
"""Compiled tables without a compiler: a stub that calls a helper which does not exist, and the
machine code that takes the place of the call afterwards (see ``splice``).

The stub is all that LLVM sees of a table. So a table adds next to nothing to the time of a
compilation, no optimizer undoes its shape, and the caller's key stays in registers. Tests at the
top of the graph whose field is not asked for again (the address family) stay in the stub, where a
constant can decide them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from iridescent_xdp.decision.ir_text import (
    ATTRIBUTES,
    FORGETTING,
    HEADER,
    Layout,
    compare,
    least,
    load,
    odd_slot,
    take,
)
from iridescent_xdp.decision.machine import assemble
from iridescent_xdp.decision.nodes import (
    Decision,
    Field,
    If,
    Node,
    Result,
    fields_tested,
    parts_of,
    topological,
)
from iridescent_xdp.decision.placement import Placement, placed
from iridescent_xdp.errors import ConfigError

FIRST_MARKER = 0x4952_0000  # no helper has such a number
PIECES_MOST = 64  # of machine code, for one table
DEEPEST_TEST = 3
FEW_RESULTS = 256  # the verifier may go on from each of them


@dataclass(frozen=True, slots=True)
class _Piece:
    """Machine code behind a call of helper ``marker``."""

    marker: int
    placement: Placement


class EmbeddedTable:
    """A decision, ready for the LLVM toolchain.

    ``layout`` gives offset and size (1, 2 or 4), both in bytes, of every tested field; tables of
    one program differ in ``number``. ``bodies`` is what ``splice`` needs. Raises ConfigError when
    a field has no place in the key, or the graph is too large.
    """

    def __init__(self, decision: Decision, *, layout: Layout, number: int = 0) -> None:
        self._parts = parts_of(decision)
        self._layout = layout
        self._marker = FIRST_MARKER + PIECES_MOST * number
        self._pieces: dict[Node, _Piece] = {}
        self._inner: set[Node] = set()
        self.bodies: dict[int, bytes] = {}
        self._texts: dict[str, str] = {}
        for part in self._parts:
            self._divide(part, DEEPEST_TEST)

    def _divide(self, node: Node, deepest: int) -> None:
        if isinstance(node, Result) or node in self._inner or node in self._pieces:
            return
        field = node.test.field
        again = {*fields_tested(node.then), *fields_tested(node.otherwise)} if deepest else ()
        if deepest and field not in again:
            self._inner.add(node)
            self._divide(node.then, deepest - 1)
            self._divide(node.otherwise, deepest - 1)
            return
        if len(self._pieces) == PIECES_MOST:
            raise ConfigError(f"a compiled table has at most {PIECES_MOST} pieces of machine code")
        piece = _Piece(self._marker + len(self._pieces), placed(node, self._layout))
        self._pieces[node] = piece
        self.bodies[piece.marker] = assemble(node, piece.placement.places)

    def ir(self, *, function: str) -> str:
        """An LLVM module that defines ``i32 @function(ptr %key)``."""
        if function not in self._texts:
            self._texts[function] = self._text(function)
        return self._texts[function]

    def _text(self, function: str) -> str:
        if not forgets(self._parts):
            return "\n".join([*HEADER, *self._stub(function, self._parts[0])]) + "\n"
        kept = [
            field
            for field in dict.fromkeys(f for part in self._parts for f in fields_tested(part))
            if field in self._asked_in_pieces()
        ]
        names = [f"{function}.{number}" for number in range(len(self._parts))]
        lines = [*HEADER]
        for name, part in zip(names, self._parts, strict=True):
            lines += self._stub(name, part, kept)
        return "\n".join([*lines, *least(function, names, kept, self._layout)]) + "\n"

    def _asked_in_pieces(self) -> set[Field]:
        return {field for piece in self._pieces.values() for field in piece.placement.places}

    def _stub(self, function: str, root: Node, kept: Sequence[Field] | None = None) -> list[str]:
        """One part; ``kept`` are the fields that it takes from ``%slots``."""
        value: dict[Field, str] = {}
        loads: list[str] = []
        inner = {n.test.field for n in topological(root) if isinstance(n, If) and n in self._inner}
        for number, field in enumerate(fields_tested(root)):
            if kept is None or field in inner:
                value[field] = f"%f{number}"
                loads += load(value[field], field, self._layout)
        head, more = (
            (f"i32 @{function}", "")
            if kept is None
            else (f"internal i32 @{function}", ", ptr noundef %slots")
        )
        attributes = ATTRIBUTES if kept is None else FORGETTING
        return [
            f"define {head}(ptr noundef readonly %key{more}) {attributes} {{",
            "entry:",
            *loads,
            "  br label %s",
            *self._blocks(root, value, kept or (), "s"),
            "}",
        ]

    def _blocks(
        self, node: Node, value: Mapping[Field, str], kept: Sequence[Field], name: str
    ) -> list[str]:
        """Blocks from label ``name`` on; every way ends in a return."""
        if isinstance(node, Result):
            return [f"{name}:", f"  ret i32 {node.value}"]
        if node not in self._inner:
            return [f"{name}:", *_call(self._pieces[node], value, kept, f"%{name}")]
        return [
            f"{name}:",
            *compare(f"%{name}", node.test, value[node.test.field]),
            f"  br i1 %{name}.is, label %{name}t, label %{name}f",
            *self._blocks(node.then, value, kept, f"{name}t"),
            *self._blocks(node.otherwise, value, kept, f"{name}f"),
        ]


def forgets(parts: Sequence[Node]) -> bool:
    """Whether the verifier must be made to forget what it knows of fields and results."""
    return len(parts) > 1 or results_of(parts[0]) > FEW_RESULTS


def results_of(node: Node) -> int:
    """How many different results a graph has."""
    return len({leaf.value for leaf in topological(node) if isinstance(leaf, Result)})


def _call(piece: _Piece, named: Mapping[Field, str], kept: Sequence[Field], name: str) -> list[str]:
    lines: list[str] = []
    value = dict(named)
    for field in piece.placement.places:
        if field in kept:
            value[field] = f"{name}.k{kept.index(field)}"
            lines += [
                odd_slot(f"{value[field]}.slot", kept.index(field)),
                *take(value[field], f"{value[field]}.slot"),
            ]
    arguments: list[str] = []
    for number, group in enumerate(piece.placement.arguments):
        if len(group) == 1:
            arguments.append(f"i32 {value[group[0]]}")
            continue
        packed = "0"
        for field in group:
            shift = piece.placement.places[field].shift
            at = f"{name}.{number}.{shift}"
            lines += [
                f"  {at}.w = zext i32 {value[field]} to i64",
                f"  {at}.s = shl i64 {at}.w, {shift}",
                f"  {at} = or i64 {at}.s, {packed}",
            ]
            packed = at
        arguments.append(f"i64 {packed}")
    callee = f"inttoptr (i64 {piece.marker} to ptr)"
    return [
        *lines,
        f"  {name}.r = call i32 {callee}({', '.join(arguments)}) memory(none) nounwind willreturn",
        f"  ret i32 {name}.r",
    ]
