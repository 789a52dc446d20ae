# SPDX-License-Identifier: GPL-2.0-only
"""A decision graph as a C function, for toolchains that compile source."""

from __future__ import annotations

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


def emit_c(node: Node, *, function: str, key_struct: str) -> str:
    """``static __always_inline __u32 function(const struct key_struct *key)`` that decides.

    Needs ``__u32`` and ``__always_inline``; compiles without warnings under -Wall -Wextra.
    Each node is printed once, behind a label when something jumps to it.
    """
    order = [current for current in topological(node) if isinstance(current, If)]
    fields = tested_fields(node)
    local = {field: f"f{number}" for number, field in enumerate(fields)}
    lines = [f"static __always_inline __u32 {function}(const struct {key_struct} *key)", "{"]
    lines += [f"\tconst __u32 {local[field]} = key->{field};" for field in fields]
    if fields:
        lines.append("")
    else:
        lines.append("\t(void)key;")
    lines += _body(node, order, local)
    lines.append("}")
    return "\n".join(lines) + "\n"


def _body(root: Node, order: list[If], local: dict[Field, str]) -> list[str]:
    if isinstance(root, Result):
        return [f"\treturn {root.value}u;"]
    label = {current: f"n{number}" for number, current in enumerate(order)}
    targets: set[Node] = set()
    blocks: list[tuple[If, list[str]]] = []
    for current, following in zip(order, [*order[1:], None], strict=True):
        condition = _condition(current.test, local[current.test.field])
        lines = [f"\tif ({condition})", f"\t\t{_leave(current.then, label, targets)}"]
        if current.otherwise is not following:
            lines.append(f"\t{_leave(current.otherwise, label, targets)}")
        blocks.append((current, lines))
    text: list[str] = []
    for current, lines in blocks:
        text += [f"{label[current]}:", *lines] if current in targets else lines
    return text


def _leave(node: Node, label: dict[If, str], targets: set[Node]) -> str:
    if isinstance(node, Result):
        return f"return {node.value}u;"
    targets.add(node)
    return f"goto {label[node]};"


def _condition(test: Test, value: str) -> str:
    if not isinstance(test, InRange):
        return f"({value} & {test.mask:#x}u) == {test.value:#x}u"
    if test.low == test.high:
        return f"{value} == {test.low}u"
    if test.low == 0:
        return f"{value} <= {test.high}u"
    if test.high == U32_MAX:
        return f"{value} >= {test.low}u"
    return f"{value} - {test.low}u <= {test.high - test.low}u"
