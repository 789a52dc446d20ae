# SPDX-License-Identifier: GPL-2.0-only
"""A decision graph as a C function, for toolchains that compile source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iridescent_xdp.decision.embed import forgets
from iridescent_xdp.decision.ir_text import MASK
from iridescent_xdp.decision.lowering import lowered
from iridescent_xdp.decision.nodes import (
    U32_MAX,
    Decision,
    Field,
    If,
    Least,
    Node,
    Result,
    Test,
    fields_tested,
    parts_of,
    topological,
)


def emit_c(decision: Decision, *, function: str, key_struct: str) -> str:
    """``static __always_inline __u32 function(const struct key_struct *key)`` that decides.

    Needs ``__u32`` and ``__always_inline``; compiles without warnings under -Wall -Wextra.
    Each test is printed once, behind a label when something jumps to it.
    """
    parts = parts_of(decision)
    if not forgets(parts):
        fields = {field: f"key->{field}" for field in fields_tested(decision)}
        head = _head(f"{function}(const struct {key_struct} *key)")
        unused = [] if fields else ["\t(void)key;"]
        return "\n".join([*head, *unused, *_decide(parts[0], fields), "}"]) + "\n"
    return _least(parts, function, key_struct)


def _head(prototype: str) -> list[str]:
    return [f"static __always_inline __u32 {prototype}", "{"]


def _least(parts: Sequence[Node], function: str, key_struct: str) -> str:
    """The smallest result; fields and results go through the odd halves of stack slots, see
    ``ir_text.least``.
    """
    fields = fields_tested(Least(tuple(parts)))
    slot = {field: f"slots[{2 * number + 1}]" for number, field in enumerate(fields)}
    read = {field: f"{place} ^ {MASK:#x}u" for field, place in slot.items()}
    text: list[str] = []
    for number, part in enumerate(parts):
        text += [*_head(f"{function}__{number}(const volatile __u32 *slots)"), "\t(void)slots;"]
        text += [*_decide(part, {field: read[field] for field in fields_tested(part)}), "}", ""]
    text += _head(f"{function}(const struct {key_struct} *key)")
    text.append(f"\tvolatile __u32 slots[{2 * len(fields) + 2}] __attribute__((aligned(8)));")
    text += ["\t__u32 best = 0xffffffffu, found;", "", "\t(void)key;"]
    text += [f"\t{slot[field]} = key->{field} ^ {MASK:#x}u;" for field in fields]
    result = f"slots[{2 * len(fields) + 1}]"
    for number in range(len(parts)):
        text.append(f"\t{result} = {function}__{number}(slots) ^ {MASK:#x}u;")
        text.append(f"\tfound = {result} ^ {MASK:#x}u;")
        text += ["\tif (found < best)", "\t\tbest = found;"]
    return "\n".join([*text, "\treturn best;", "}"]) + "\n"


def _decide(node: Node, value: Mapping[Field, str]) -> list[str]:
    """The body of a function; ``value`` says where each field is read, once."""
    local = {field: f"f{number}" for number, field in enumerate(value)}
    lines = [f"\tconst __u32 {local[field]} = {read};" for field, read in value.items()]
    return [*lines, "", *_body(node, local)]


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
