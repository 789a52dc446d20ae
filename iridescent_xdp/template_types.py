# SPDX-License-Identifier: GPL-2.0-only
"""C types as Python sees them: enumerators as numbers and labels, structs as numpy layouts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from clang import cindex
from clang.cindex import CursorKind, TypeKind

from iridescent_xdp.errors import TemplateError

_SCOPED = (CursorKind.VAR_DECL, CursorKind.ENUM_DECL)


def declared(root: cindex.Cursor) -> Iterator[cindex.Cursor]:
    """All declarations of a file, in order; of a function those in its body come before it.

    A point may be declared where it is guarded (SPEC_ASSUMED).
    """
    for cursor in root.get_children():
        if cursor.kind == CursorKind.FUNCTION_DECL and cursor.is_definition():
            yield from (c for c in cursor.walk_preorder() if c.kind in _SCOPED)
        yield cursor


def read_types(
    root: cindex.Cursor, shipped: Path
) -> tuple[dict[str, int], dict[str, np.dtype[np.void]]]:
    """All enumerators by name, and the layout of every struct that is not the system's.

    ``shipped`` is where the templates of the package are, which may be below /usr too.
    """
    constants: dict[str, int] = {}
    structs: dict[str, np.dtype[np.void]] = {}
    own = str(shipped.resolve())
    for cursor in declared(root):
        if cursor.kind == CursorKind.ENUM_DECL:
            constants.update({c.spelling: c.enum_value for c in cursor.get_children()})
        elif cursor.kind == CursorKind.STRUCT_DECL and cursor.is_definition():
            source = str(Path(cursor.location.file.name).resolve())
            if cursor.spelling and (source.startswith(own) or not source.startswith("/usr")):
                structs[cursor.spelling] = dtype_of(cursor.type)
    return constants, structs


def dtype_of(kind: cindex.Type) -> np.dtype[np.void]:
    """The numpy dtype with the same layout as a C type (little endian, as BPF here is)."""
    kind = kind.get_canonical()
    if kind.kind == TypeKind.CONSTANTARRAY:
        return np.dtype((dtype_of(kind.element_type), (kind.element_count,)))
    if kind.kind == TypeKind.RECORD:
        members = [c for c in kind.get_declaration().get_children() if c.kind.name == "FIELD_DECL"]
        return np.dtype(
            {
                "names": [m.spelling for m in members],
                "formats": [dtype_of(m.type) for m in members],
                "offsets": [kind.get_offset(m.spelling) // 8 for m in members],
                "itemsize": kind.get_size(),
            }
        )
    signed = kind.kind in (TypeKind.INT, TypeKind.SHORT, TypeKind.LONG, TypeKind.LONGLONG)
    size = {1: "1", 2: "2", 4: "4", 8: "8"}.get(kind.get_size(), "8")
    return np.dtype(f"{'i' if signed else 'u'}{size}")


def where_of(cursor: cindex.Cursor) -> str:
    """``file:line`` of a declaration."""
    place = cursor.location
    return f"{Path(place.file.name).name if place.file else '?'}:{place.line}"


def labels_of(cursor: cindex.Cursor) -> tuple[str, ...]:
    """An enum point's labels: its enumerators without their common prefix, in lower case.

    Raises TemplateError when they do not count from 0.
    """
    wanted = f"{cursor.spelling}__values"
    for other in cursor.semantic_parent.get_children():
        if other.kind == CursorKind.ENUM_DECL and other.spelling == wanted:
            names = [c.spelling for c in other.get_children()]
            values = [c.enum_value for c in other.get_children()]
            if values != list(range(len(values))):
                raise TemplateError(
                    f"{where_of(cursor)}: point '{cursor.spelling}': enumerators count from 0"
                )
            prefix = os.path.commonprefix(names)
            cut = prefix.rfind("_") + 1 if len(names) > 1 else 0
            return tuple(n[cut:].lower() for n in names)
    raise TemplateError(f"{where_of(cursor)}: point '{cursor.spelling}' has no enumerators")
