# SPDX-License-Identifier: GPL-2.0-only
"""Reads a template's declarations from its C source, with libclang.

That needs no compiler on the machine, no root and no kernel; declarations are found as
annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from clang import cindex
from clang.cindex import CursorKind

from iridescent_xdp.errors import MissingFeatureError, TemplateError
from iridescent_xdp.points import Point, PointClass, PointKind
from iridescent_xdp.template import (
    LIBCLANG_CURE,
    MAP_TYPES,
    MapSpec,
    TableSpec,
    Template,
    bpf_directory,
    include_flags,
)
from iridescent_xdp.template_types import declared, labels_of, read_types, where_of

_ENTRY = "iridescent_entry"  # what SPEC_PROGRAM defines
MAX_DOMAIN = 1 << 16  # values of a range; more are not listed one by one


def parse_template(path: Path) -> Template:
    """Parse ``path``. Raises TemplateError with file, line and the rule that is broken."""
    unit = _unit(path)
    points, tables, maps = _declarations(unit.cursor)
    _refuse_duplicates(points)
    for problem in unit.diagnostics:
        if problem.severity >= cindex.Diagnostic.Error:
            where = f"{problem.location.file}:{problem.location.line}"
            raise TemplateError(f"{where}: {problem.spelling}")
    if not any(cursor.spelling == _ENTRY for cursor in unit.cursor.get_children()):
        raise TemplateError(f"{path}: it has no entry", cure="end it with SPEC_PROGRAM(function)")
    constants, structs = read_types(unit.cursor, bpf_directory())
    _refuse_too_many(points, structs)
    name = path.name.removesuffix(".c").removesuffix(".bpf")
    return Template(
        name=name,
        path=path.resolve(),
        points=tuple(_point(cursor, words, constants) for cursor, words in points),
        tables=tuple(_table(cursor, words, structs) for cursor, words in tables),
        maps=tuple(
            _map(cursor, words, constants, unit.cursor, index)
            for index, (cursor, words) in enumerate(maps)
        ),
        structs=structs,
        constants=constants,
    )


def _unit(path: Path) -> cindex.TranslationUnit:
    arguments = ["-target", "bpf", "-O0", "-DIRIDESCENT_DESCRIBE", *include_flags(path)]
    try:
        return cindex.Index.create().parse(str(path), args=arguments)
    except cindex.LibclangError as error:
        raise MissingFeatureError(f"libclang does not load: {error}", cure=LIBCLANG_CURE) from error


_Declared = list[tuple[cindex.Cursor, list[str]]]


def _declarations(root: cindex.Cursor) -> tuple[_Declared, _Declared, _Declared]:
    points: _Declared = []
    tables: _Declared = []
    maps: _Declared = []
    for cursor in declared(root):
        for child in cursor.get_children():
            if child.kind != CursorKind.ANNOTATE_ATTR:
                continue
            words = child.spelling.split(":", 3)
            if words[0] == "map":
                maps.append((cursor, child.spelling.split(":", 2)))
            elif words[0] == "spec" and words[1] in ("table", "hot"):
                tables.append((cursor, words))
            elif words[0] == "spec" and len(words) == 4:
                points.append((cursor, words))
    return points, tables, maps


def _refuse_duplicates(points: _Declared) -> None:
    seen: dict[str, str] = {}
    for cursor, _ in points:
        name = cursor.spelling
        if name in seen:
            raise TemplateError(
                f"{where_of(cursor)}: point '{name}' is declared twice, first at {seen[name]}; "
                "a name is declared once"
            )
        seen[name] = where_of(cursor)


def _refuse_too_many(points: _Declared, structs: Mapping[str, np.dtype[np.void]]) -> None:
    """Guards' misses are counted in an array with a place for each point."""
    most = structs["arm_stats"]["misses"].shape[0] if points else 0
    if len(points) > most:
        cursor = points[most][0]
        raise TemplateError(
            f"{where_of(cursor)}: point '{cursor.spelling}': a template has at most {most} points, "
            f"got {len(points)}"
        )


def _table(
    cursor: cindex.Cursor, words: list[str], structs: Mapping[str, np.dtype[np.void]]
) -> TableSpec:
    if words[2] not in structs:
        raise TemplateError(
            f"{where_of(cursor)}: table '{cursor.spelling}': its key 'struct {words[2]}' must be "
            "defined in the template"
        )
    hot, most = words[1] == "hot", structs["observed_key"]["key"].itemsize
    if hot and structs[words[2]].itemsize > most:
        raise TemplateError(
            f"{where_of(cursor)}: table '{cursor.spelling}': a hot key has at most {most} bytes, "
            f"'struct {words[2]}' has {structs[words[2]].itemsize}"
        )
    return TableSpec(name=cursor.spelling, key=words[2], doc=words[3], hot=hot)


def _point(cursor: cindex.Cursor, words: list[str], constants: Mapping[str, int]) -> Point:
    name, where = cursor.spelling, where_of(cursor)
    kinds, classes = [k.value for k in PointKind], [c.value for c in PointClass]
    if words[2] not in classes:
        raise TemplateError(
            f"{where}: point '{name}': unknown class '{words[2]}'; it is one of "
            + ", ".join(classes)
        )
    kind = PointKind(words[1]) if words[1] in kinds else PointKind.BOOL
    default = constants[f"{name}__default"]
    labels: tuple[str, ...] = ()
    if kind is PointKind.ENUM:
        labels = labels_of(cursor)
        domain = tuple(range(len(labels)))
    else:
        low, high = constants[f"{name}__low"], constants[f"{name}__high"]
        if low > high:
            raise TemplateError(
                f"{where}: point '{name}': low <= high must hold, got low={low}, high={high}"
            )
        if high - low >= MAX_DOMAIN:
            raise TemplateError(
                f"{where}: point '{name}': a range has at most {MAX_DOMAIN} values, "
                f"got low={low}, high={high}",
                cure="use SPEC_ENUM for a choice, SPEC_GENERIC for an observed value",
            )
        domain = tuple(range(low, high + 1))
    return Point(
        name=name,
        point_class=PointClass(words[2]),
        kind=kind,
        default=default,
        domain=domain,
        doc=words[3],
        labels=labels,
        where=where,
    )


def _map(
    cursor: cindex.Cursor,
    words: list[str],
    constants: Mapping[str, int],
    root: cindex.Cursor,
    index: int,
) -> MapSpec:
    name = cursor.spelling.removesuffix("__map")
    types = {
        c.spelling: c.underlying_typedef_type
        for c in root.get_children()
        if c.kind == CursorKind.TYPEDEF_DECL and c.spelling.startswith(f"{name}__")
    }
    value = types[f"{name}__value"]
    if words[1] not in MAP_TYPES:
        raise TemplateError(
            f"{where_of(cursor)}: map '{name}': unknown kind '{words[1]}'; it is one of "
            + ", ".join(MAP_TYPES)
        )
    return MapSpec(
        name=name,
        map_type=MAP_TYPES[words[1]],
        key_bytes=types[f"{name}__key"].get_size(),
        value_bytes=value.get_size(),
        entries=constants[f"{name}__entries"],
        flags=constants[f"{name}__flags"],
        doc=words[2],
        value_type=value.spelling.removeprefix("struct "),
        index=index,
    )
