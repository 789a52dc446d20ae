# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent inspect`: what a template declares. Needs no root, no kernel, no compiler."""

from __future__ import annotations

import click

from iridescent_xdp import render
from iridescent_xdp.builder import make_toolchain
from iridescent_xdp.commands.output import emit_json, json_option, show
from iridescent_xdp.effort import effort_of
from iridescent_xdp.errors import MissingFeatureError
from iridescent_xdp.points import Point
from iridescent_xdp.representations.registry import llvm_only
from iridescent_xdp.template import MAP_TYPES, Template, find_template, read_template

TOOLCHAINS = ("llvm", "bcc")
MAP_TYPE_NAMES = {number: name.lower() for name, number in MAP_TYPES.items()}


@click.command(name="inspect")
@click.argument("template")
@click.option("--effort", is_flag=True, help="The lines that specialization costs, counted.")
@json_option
def command(template: str, effort: bool, as_json: bool) -> None:
    """Points, tables and maps of TEMPLATE, and the size of its space.

    TEMPLATE is a function's name (filter) or the path of a .bpf.c file.
    """
    found = read_template(find_template(template))
    facts = describe(found)
    if as_json:
        emit_json(facts)
    elif effort:
        show(*render.effort_view(facts))
    else:
        show(*render.template_view(facts))


def describe(template: Template) -> dict[str, object]:
    """Everything that is declared, as plain values."""
    return {
        "template": template.name,
        "path": str(template.path),
        "space_size": template.space_size,
        "points": [
            _point(point) | {"llvm_only": list(llvm_only(template, point.name))}
            for point in template.points
        ],
        "tables": [{"name": t.name, "key": t.key, "doc": t.doc} for t in template.tables],
        "maps": [
            {
                "name": m.name,
                "type": MAP_TYPE_NAMES.get(m.map_type, str(m.map_type)),
                "key_bytes": m.key_bytes,
                "value_bytes": m.value_bytes,
                "entries": m.entries,
                "per_cpu": m.per_cpu,
                "doc": m.doc,
            }
            for m in template.maps
        ],
        "effort": effort_of(template).to_json(),
        "toolchains": {name: _usable(name) for name in TOOLCHAINS},
    }


def _point(point: Point) -> dict[str, object]:
    return {
        "name": point.name,
        "class": str(point.point_class),
        "kind": str(point.kind),
        "domain": [point.show(value) for value in point.domain],
        "shown_domain": point.show_domain(),
        "default": point.show(point.default),
        "searched": point.searched,
        "doc": point.doc,
        "where": point.where,
    }


def _usable(name: str) -> dict[str, object]:
    """Whether a toolchain is installed here; whether it works is doctor's business."""
    try:
        made = make_toolchain(name)
    except (MissingFeatureError, ImportError) as error:
        return {"ok": False, "detail": str(error)}
    return {"ok": True, "detail": made.version}
