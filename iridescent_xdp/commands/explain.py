# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent explain`: what a variant is, what it became, why it won or lost."""

from __future__ import annotations

import re
from pathlib import Path

import click

from iridescent_xdp import render
from iridescent_xdp.builder import Builder
from iridescent_xdp.commands.code_size import code_sizes
from iridescent_xdp.commands.output import emit_json, json_option, show
from iridescent_xdp.commands.search_report import SearchReport, known_reports, read_report
from iridescent_xdp.commands.verdict import trials_of, why
from iridescent_xdp.config import InterfaceConfig, load_config
from iridescent_xdp.config.problems import nearest
from iridescent_xdp.errors import ConfigError, IridescentError, MissingFeatureError
from iridescent_xdp.plan import Plan, make_plan
from iridescent_xdp.points import Point
from iridescent_xdp.variant import Variant

_KEY = re.compile(r"[0-9a-f]{8}")
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(name="explain")
@click.argument("variant")
@click.option("--template", help="A function or a .bpf.c file. [default: the last search's]")
@click.option("--config", type=_FILE, help="The operator file, for policy and tables.")
@click.option("--report", type=_FILE, help="A search.json or summary.json to look into.")
@json_option
def command(
    variant: str, template: str | None, config: Path | None, report: Path | None, as_json: bool
) -> None:
    """Points, code size and fate of VARIANT against the generic variant.

    VARIANT is the key of a variant (8 hexadecimal digits) that the last search met, or points
    with values: vlan_depth=0,rule_layout=tree. 'generic' is the generic variant itself.
    """
    reports = [read_report(report)] if report else known_reports()
    if template is not None:
        reports = [r for r in reports if template in (r.function, r.template)]
    keyed = _KEY.fullmatch(variant) is not None
    found = _report_of(variant, reports) if keyed else next(iter(reports), None)
    plan = _plan(found, template, config)
    chosen = _recorded(plan, found, variant) if found and keyed else parse_variant(plan, variant)
    facts = explain(plan, chosen, found, key=variant if keyed else chosen.key)
    if as_json:
        emit_json(facts)
    else:
        show(*render.explain_view(facts))


def explain(
    plan: Plan, variant: Variant, report: SearchReport | None, *, key: str
) -> dict[str, object]:
    """Everything there is to say about one variant; ``key`` is its name in the report."""
    points = [
        {
            "name": p.name,
            "class": str(p.point_class),
            "generic": p.show(plan.generic[p.name]),
            "value": p.show(variant[p.name]),
            "doc": p.doc,
        }
        for p in plan.template.points
        if variant[p.name] != plan.generic[p.name]
    ]
    return {
        "variant": plan.label(variant),
        "key": key,
        "template": plan.template.name,
        "points": points,
        "build": _build(plan, variant, report),
        "trials": trials_of(plan.label(variant), report),
        "why": why(key, report),
    }


def _build(plan: Plan, variant: Variant, report: SearchReport | None) -> dict[str, object]:
    try:
        builder = Builder(report.toolchain if report else plan.config.toolchain)
    except MissingFeatureError as error:
        return {"error": str(error)}
    try:
        return code_sizes(builder, plan, variant)
    except IridescentError as error:
        return {"toolchain": builder.toolchain.name, "error": str(error)}


# -- which variant of what -----------------------------------------------------------------


def _report_of(key: str, reports: list[SearchReport]) -> SearchReport:
    """The newest search that met the variant, as generic or otherwise."""
    for report in reports:
        if key == report.generic_key or report.variant(key):
            return report
    searched = ", ".join(r.interface for r in reports)
    raise ConfigError(
        f"no variant '{key}' in the last search" + (f" of {searched}" if searched else ""),
        cure="give --report FILE, or the points: vlan_depth=0,rule_layout=tree",
    )


def _plan(report: SearchReport | None, template: str | None, config: Path | None) -> Plan:
    """From --config, else from the operator file of the search, else with empty tables."""
    path = config or (Path(report.config) if report else None)
    if config is None and (path is None or not path.is_file()):
        function = template or (report.template if report else "filter")
        return make_plan(InterfaceConfig(name="none", function=function), Path("none"))
    assert path is not None
    interfaces = load_config(path).interfaces
    wanted = [i for i in interfaces if report is not None and i.name == report.interface]
    return make_plan((wanted or list(interfaces))[0], path)


def _recorded(plan: Plan, report: SearchReport, key: str) -> Variant:
    """The recorded values; those of policy points too, whatever the file says now."""
    row = report.variant(key)
    if row is None:
        return plan.generic
    known = {point.name for point in plan.template.points}
    return plan.generic.with_values(**{n: v for n, v in row.values.items() if n in known})


def parse_variant(plan: Plan, text: str) -> Variant:
    """``vlan_depth=0,rule_layout=tree`` (or blanks between). Raises ConfigError."""
    if text == "generic":
        return plan.generic
    values: dict[str, int] = {}
    for part in re.split(r"[,\s]+", text.strip()):
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(
                f"'{part}' is neither a variant's key nor POINT=VALUE",
                cure="write vlan_depth=0,rule_layout=tree or a key of 8 hexadecimal digits",
            )
        values[name] = _searched_point(plan, name).parse(value)
    return plan.generic.with_values(**values)


def _searched_point(plan: Plan, name: str) -> Point:
    known = {point.name: point for point in plan.template.points}
    if name not in known:
        near = nearest(name, known)
        raise ConfigError(
            f"template '{plan.template.name}' has no point '{name}'",
            cure=f"did you mean '{near}'?" if near else f"it has {', '.join(known)}",
        )
    if not known[name].searched:
        raise ConfigError(
            f"'{name}' is a policy point, no variant sets it",
            cure="set it in the operator file and give --config",
        )
    return known[name]
