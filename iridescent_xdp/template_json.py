# SPDX-License-Identifier: GPL-2.0-only
"""A template's description as JSON and back: what a package carries instead of libclang.

Reading gives a Template that is equal to the one that was written. A struct is an object with
its members' names, types and offsets and its size; an array is a pair of element and count; a
number is numpy's short name, such as ``<u4``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from iridescent_xdp.points import Point, PointClass, PointKind
from iridescent_xdp.template import MapSpec, TableSpec, Template

Json = Any
Struct = np.dtype[np.void]


def to_json(template: Template) -> dict[str, Json]:
    """Plain values; the path is left out, because it is another one where they are read."""
    return {
        "name": template.name,
        "points": [_point_to_json(point) for point in template.points],
        "tables": [asdict(table) for table in template.tables],
        "maps": [asdict(spec) for spec in template.maps],
        "structs": {name: _type_to_json(kind) for name, kind in template.structs.items()},
        "constants": dict(template.constants),
    }


def from_json(facts: Mapping[str, Json], path: Path) -> Template:
    """The template at ``path``.

    Raises KeyError, TypeError or ValueError when ``facts`` is not what ``to_json`` gives.
    """
    return Template(
        name=str(facts["name"]),
        path=path.resolve(),
        points=tuple(_point_from_json(point) for point in facts["points"]),
        tables=tuple(TableSpec(**table) for table in facts["tables"]),
        maps=tuple(MapSpec(**spec) for spec in facts["maps"]),
        structs={name: _type_from_json(kind) for name, kind in facts["structs"].items()},
        constants={str(name): int(value) for name, value in facts["constants"].items()},
    )


def _point_to_json(point: Point) -> dict[str, Json]:
    told = {member.name: getattr(point, member.name) for member in fields(point)}
    # a domain has no gaps: its ends say it all, and a range may have 65,536 values
    return told | {"domain": [point.domain[0], point.domain[-1]], "labels": list(point.labels)}


def _point_from_json(facts: Mapping[str, Json]) -> Point:
    low, high = facts["domain"]
    changed = {
        "point_class": PointClass(facts["point_class"]),
        "kind": PointKind(facts["kind"]),
        "domain": tuple(range(low, high + 1)),
        "labels": tuple(facts["labels"]),
    }
    return Point(**{**facts, **changed})


def _type_to_json(kind: Struct) -> Json:
    if kind.subdtype is not None:
        element, shape = kind.subdtype
        return [_type_to_json(element), int(shape[0])]
    if kind.names is None or kind.fields is None:
        return kind.str
    members = [(name, kind.fields[name]) for name in kind.names]
    return {
        "names": list(kind.names),
        "formats": [_type_to_json(member[0]) for _, member in members],
        "offsets": [int(member[1]) for _, member in members],
        "itemsize": kind.itemsize,
    }


def _type_from_json(facts: Json) -> Struct:
    if isinstance(facts, list):
        element, count = facts
        return np.dtype((_type_from_json(element), (int(count),)))
    if isinstance(facts, str):
        return np.dtype(facts)
    formats = [_type_from_json(kind) for kind in facts["formats"]]
    names, offsets, size = facts["names"], facts["offsets"], facts["itemsize"]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
