# SPDX-License-Identifier: GPL-2.0-only
"""A decision graph as a C function, for toolchains that compile source."""

from __future__ import annotations

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


def emit_c(node: Node, *, function: str, key_struct: str) -> str:
    """``static __always_inline __u32 function(const struct key_struct *key)`` that decides.

    Needs ``__u32`` and ``__always_inline``; compiles without warnings under -Wall -Wextra.
    Each test is printed once, behind a label when something jumps to it.
    """
    fields = fields_tested(node)
    local = {field: f"f{number}" for number, field in enumerate(fields)}
    lines = [f"static __always_inline __u32 {function}(const struct {key_struct} *key)", "{"]
    lines += [f"\tconst __u32 {local[field]} = key->{field};" for field in fields]
    lines.append("" if fields else "\t(void)key;")
    lines += _body(node, local)
    lines.append("}")
    return "\n".join(lines) + "\n"


def _body(root: Node, local: dict[Field, str]) -> list[str]:
    if isinstance(root, Result):
        return [f"\treturn {root.value}u;"]
    order = [node for node in topological(root) if isinstance(node, If)]
    label = {node: f"n{number}" for number, node in enumerate(order)}
    targets: set[Node] = set()
    blocks: list[list[str]] = []
    for node, following in zip(order, [*order[1:], None], strict=True):
        asked = condition(node.test, local[node.test.field])
        lines = [f"\tif ({asked})", f"\t\t{_leave(node.then, label, targets)}"]
        if node.otherwise is not following:
            lines.append(f"\t{_leave(node.otherwise, label, targets)}")
        blocks.append(lines)
    text: list[str] = []
    for node, lines in zip(order, blocks, strict=True):
        text += [f"{label[node]}:", *lines] if node in targets else lines
    return text


def _leave(node: Node, label: dict[If, str], targets: set[Node]) -> str:
    if isinstance(node, Result):
        return f"return {node.value}u;"
    targets.add(node)
    return f"goto {label[node]};"


def condition(test: Test, value: str) -> str:
    """The C expression of a test on an unsigned 32-bit value."""
    compare = lowered(test)
    if compare.mask != U32_MAX:
        value = f"({value} & {compare.mask:#x}u)"
    elif compare.minus:
        value = f"{value} - {compare.minus}u"
    return f"{value} {compare.operator} {compare.value}u"
