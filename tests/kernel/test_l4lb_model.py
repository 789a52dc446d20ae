# SPDX-License-Identifier: GPL-2.0-only
"""The load balancer against its model over whole sequences: verdicts, bytes, counters, flows.

The model (tests/unit/l4lb_model.py) shares nothing with the template. Between the phases of a
scene backends drain, come and go, as an operator would have it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from typing import Any

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.functions.l4lb import L4lbFunction
from iridescent_xdp.functions.l4lb_flows import Flow
from iridescent_xdp.preflight import Sandbox, on_cpu
from iridescent_xdp.state import State
from iridescent_xdp.template import find_template, read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.fixtures import covering, generic_of
from tests.kernel.l4lb_scenes import SCENES, Phase, phases

CPU = 0
# rows of a covering array of all points; more of them where building is fast
CORNERS = {"llvm": 5, "bcc": 1}


def l4lb_function(name: str) -> L4lbFunction:
    made = function_for(read_template(find_template("l4lb")), SCENES[name].tables)
    assert isinstance(made, L4lbFunction)
    return made


@contextmanager
def scene(builder: Builder, name: str) -> Iterator[tuple[Sandbox, L4lbFunction, Variant]]:
    function = l4lb_function(name)
    points = {point.name: point for point in function.template.points}
    policy = {key: points[key].parse(value) for key, value in SCENES[name].policy.items()}
    generic = generic_of(function, **policy)
    with closing(Sandbox(builder, function, generic)) as sandbox, on_cpu(CPU):
        yield sandbox, function, generic


def corner_rows(name: str, count: int) -> list[dict[str, int]]:
    """Point values that cover all pairs, as far as the scene's services allow."""
    kinds = {service.encapsulation for service in SCENES[name].services}
    axes = {
        "ipv6": (1, 0),
        "no_ip_options": (0, 1),
        "service_layout": (0, 1),
        "hot_flows": (0, 2, 7),
        "flow_cache": (0, 1),
        "encapsulation": (0,) if len(kinds) > 1 else (0, 1 + (kinds == {"gue"})),
    }
    return covering(axes, seed=len(name))[:count]


def learn(function: L4lbFunction, hot: tuple[Flow, ...]) -> None:
    keys = {flow.key(function.template): 100 - place for place, flow in enumerate(hot)}
    function.learn_keys({"hot_backends": keys})


def run_phase(
    builder: Builder, sandbox: Sandbox, function: L4lbFunction, variant: Variant, phase: Phase
) -> str:
    """The first packet or number in which kernel and model differ; "" if there is none."""
    if phase.changes:
        function.apply(sandbox.state, phase.changes)
    learn(function, phase.hot)
    if variant["hot_flows"] and function.infeasible(variant):
        variant = variant.with_values(hot_flows=0)
    insns = builder.variant(function, variant, Role.STEADY)
    with sandbox.state.load(insns, f"v_{variant.key}") as program:
        runner = program.runner()
        for (name, data), (verdict, out) in zip(phase.packets, phase.answers, strict=True):
            found = runner.run(data)
            if (found.verdict, found.data) != (verdict, out):
                return f"{name}: {found.verdict} {found.data.hex()}, model {verdict} {out.hex()}"
    return state_difference(sandbox.state, function, phase)


def state_difference(state: State, function: L4lbFunction, phase: Phase) -> str:
    rows = {row.name: (row.packets, row.bytes) for row in function.counters(state)}
    for slot, hits in phase.slots.items():
        if rows.get(slot) != hits:
            return f"slot '{slot}': {rows.get(slot)}, model {hits}"
    for (service, address), hits in phase.backends.items():
        if rows.get(f"service {service} backend {address}") != hits:
            return f"{service} {address}: {rows}, model {hits}"
    known = connections(state)
    if known != phase.connections:
        return f"connections: {set(known.items()) ^ set(phase.connections.items())}"
    return ""


def connections(state: State) -> dict[Any, Any]:
    """The connections on this CPU whose backend is not gone: the raw map, read anew."""
    found = {}
    for key, value in state["connections"].contents().items():
        *words, ports, family, protocol, wide = struct.unpack("<8IIBBBx", key)
        number, generation = struct.unpack_from("<HH", value, 8 * CPU)
        row = state["backends"].read(number)
        assert row is not None
        if not generation or row[0]["generation"] != generation:
            continue
        size = 4 if family == 4 else 16
        ends = [struct.pack(">4I", *words[at : at + 4])[:size] for at in (0, 4)]
        flow = (ip_address(ends[0]), ip_address(ends[1]), ports, protocol, 0, bool(wide))
        found[flow] = ip_address(row[0]["address"].tobytes()[:size])
    return found


@pytest.mark.parametrize("name", SCENES)
def test_generic_and_specialized_programs_do_as_the_model(builder: Builder, name: str) -> None:
    rows = corner_rows(name, CORNERS[builder.toolchain.name])
    for row in [{}, *rows]:
        with scene(builder, name) as (sandbox, function, generic):
            variant = generic.with_values(**row)
            for number, phase in enumerate(phases(name)):
                told = run_phase(builder, sandbox, function, variant, phase)
                label = variant.label(function.template.points, generic)
                assert told == "", f"{label}, phase {number}: {told}"


def test_the_scenes_ask_enough() -> None:
    told = {name: phases(name) for name in SCENES}
    packets = sum(len(phase.packets) for found in told.values() for phase in found)
    assert packets * (2 + CORNERS["llvm"] + CORNERS["bcc"]) >= 100_000
    slots = {slot for found in told.values() for slot in found[-1].slots}
    assert slots >= {
        "not IP", "broadcast or multicast frame", "malformed", "wrong IP checksum", "no service",
        "fragment", "too big", "echo answered",
    }  # fmt: skip
    for name, found in told.items():
        assert sum(p for p, _ in found[-1].backends.values()) > 1000, name
        assert all(len(phase.hot) >= 8 for phase in found[1:]), name
        assert len(found[-1].connections) > 300, name
