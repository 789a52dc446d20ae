# SPDX-License-Identifier: GPL-2.0-only
"""The compiled tables of a request, ready for LLVM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from iridescent_xdp.decision.embed import EmbeddedTable
from iridescent_xdp.decision.ir_table import IrTable
from iridescent_xdp.decision.nodes import Decision, Field
from iridescent_xdp.errors import ConfigError, ToolchainError
from iridescent_xdp.template import TableSpec, Template
from iridescent_xdp.toolchain.base import Code, Request


def codes(request: Request) -> Iterator[tuple[TableSpec, Code]]:
    """The tables of the template that the request has code for."""
    for table in request.template.tables:
        if table.name in request.tables:
            yield table, request.tables[table.name]


def embedded(request: Request) -> dict[str, EmbeddedTable]:
    """Decision graphs by the names of their functions, those that IR code asks included.

    Raises ToolchainError when one is too large, or asks for what is not in the key.
    """
    found: dict[str, EmbeddedTable] = {}
    for table, code in codes(request):
        graphs = code.graphs if isinstance(code, IrTable) else {table.name: code}
        for name, graph in graphs.items():
            found[name] = _embedded(graph, request.template, table.key, len(found))
    return found


@lru_cache(maxsize=64)
def _embedded(graph: Decision, template: Template, key: str, number: int) -> EmbeddedTable:
    """A table is assembled once, however many variants carry it."""
    try:
        return EmbeddedTable(graph, layout=key_layout(template, key), number=number)
    except ConfigError as error:
        raise ToolchainError(error.message, cure=error.cure) from error


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
