# SPDX-License-Identifier: GPL-2.0-only
"""What every template has to fulfil, with both toolchains.

Each point changes the object, every corner of the space loads, and all variants do as the generic
one does on the whole corpus, packets that break their assumptions included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.functions.base import Function, function_for
from iridescent_xdp.functions.l4lb import L4lbFunction
from iridescent_xdp.functions.router_tables import Route, RouterTables
from iridescent_xdp.preflight import Preflight
from iridescent_xdp.template import bpf_directory, read_template
from iridescent_xdp.toolchain.base import Role
from tests.kernel.fixtures import TABLES, corners, extremes, generic_of
from tests.kernel.l4lb_scenes import SCENES, phases

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted([*bpf_directory().glob("*.bpf.c"), *ROOT.glob("examples/*.bpf.c")])
# Points that the language itself declares are in all templates: looked at where they are used.
# `key_depth` is the size of a map.
LANGUAGE_POINTS = {"sample_shift": "filter", "observe_shift": "", "key_depth": ""}
ROLE_OF = {"sample_shift": Role.ARM}  # it shows only while a variant is measured
STRICT = {"default_action": 1, "non_ip": 1, "fragments": 2, "verify_ip_checksum": 1}


ROUTES = RouterTables(
    routes=(
        Route(prefix=IPv4Network("10.0.0.0/8"), interface="lo", via=bytes([2, 0, 0, 0, 0, 1])),
        Route(prefix=IPv4Network("10.1.1.0/24"), kind="blackhole"),
        Route(prefix=IPv6Network("2001:db8::/32"), interface="lo", via=bytes([2, 0, 0, 0, 0, 2])),
    )
)
DESTINATIONS = {"hot4": {bytes([9, 1, 1, 10]): 7, bytes([1, 0, 0, 10]): 5}}
SERVICES = SCENES["plain"].tables
TABLES_OF: dict[str, object] = {"filter": TABLES, "router": ROUTES, "l4lb": SERVICES}


def function_of(path: Path) -> Function:
    """A function with tables, that has seen keys which may be hot."""
    function = function_for(read_template(path), TABLES_OF.get(name_of(path)))
    function.learn_keys(DESTINATIONS)
    if isinstance(function, L4lbFunction):
        flows = phases("plain")[1].hot
        function.learn_keys({"hot_backends": {f.key(function.template): 7 for f in flows}})
    return function


def name_of(path: Path) -> str:
    return path.name.removesuffix(".bpf.c")


def points_of_all_templates() -> Iterator[object]:
    for path in TEMPLATES:
        for point in read_template(path).points:
            if LANGUAGE_POINTS.get(point.name, name_of(path)) == name_of(path):
                yield pytest.param(path, point.name, id=f"{name_of(path)}-{point.name}")


def jobs_of_all_templates() -> Iterator[object]:
    """Each template in both of the roles that meet traffic; the filter under two policies."""
    for path in TEMPLATES:
        policy = STRICT if name_of(path) == "filter" else {}
        yield pytest.param(path, Role.ARM, {}, id=f"{name_of(path)}-arm")
        yield pytest.param(path, Role.STEADY, policy, id=f"{name_of(path)}-steady")


@pytest.mark.parametrize(("path", "name"), list(points_of_all_templates()))
def test_each_point_changes_the_object(builder: Builder, path: Path, name: str) -> None:
    function = function_of(path)
    generic, point = generic_of(function), function.template.point(name)
    role = ROLE_OF.get(name, Role.STEADY)
    reference = builder.variant(function, generic, role)
    others = [v for v in extremes(point) if v != generic[name]]
    assert others
    assert any(
        builder.variant(function, generic.with_values(**{name: value}), role) != reference
        for value in others
    )


@pytest.mark.parametrize(("path", "role", "policy"), list(jobs_of_all_templates()))
def test_every_corner_does_as_the_generic_code(
    builder: Builder, path: Path, role: Role, policy: dict[str, int]
) -> None:
    function = function_of(path)
    generic = generic_of(function, **policy)
    packets = function.corpus((), seed=1)
    assert len(packets) > 1000
    with closing(Preflight(builder, function, generic, packets)) as preflight:
        for number, variant in enumerate(corners(function, generic)):
            if builder.infeasible(function, variant) is not None:
                continue
            preflight.check(builder.variant(function, variant, role), f"corner_{number}")
