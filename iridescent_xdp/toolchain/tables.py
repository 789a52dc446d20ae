# SPDX-License-Identifier: GPL-2.0-only
"""The compiled tables of a request, ready for either toolchain."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from iridescent_xdp.decision.embed import EmbeddedTable
from iridescent_xdp.decision.nodes import Field, Node
from iridescent_xdp.template import Template
from iridescent_xdp.toolchain.base import Request


def embedded(request: Request) -> dict[str, EmbeddedTable]:
    """By name, those of the template's tables that the request has decision code for."""
    return {
        table.name: _embedded(request.tables[table.name], request.template, table.key, number)
        for number, table in enumerate(request.template.tables)
        if table.name in request.tables
    }


@lru_cache(maxsize=64)
def _embedded(node: Node, template: Template, key: str, number: int) -> EmbeddedTable:
    """A table is assembled once, however many variants carry it."""
    return EmbeddedTable(node, layout=key_layout(template, key), number=number)


def bodies(tables: Mapping[str, EmbeddedTable]) -> dict[int, bytes]:
    """The machine code of all tables, by the number of the call that it replaces."""
    return {number: code for table in tables.values() for number, code in table.bodies.items()}


def key_layout(template: Template, key: str) -> dict[Field, tuple[int, int]]:
    """Offset and size in bytes of every member of a table's key struct."""
    layout: dict[Field, tuple[int, int]] = {}
    fields: Mapping[str, Any] = template.structs[key].fields or {}
    for name, entry in fields.items():
        kind, offset = entry[0], int(entry[1])
        for index in range(kind.shape[0] if kind.shape else 1):
            size = kind.base.itemsize
            layout[Field(name, index)] = (offset + index * size, size)
    return layout
