# SPDX-License-Identifier: GPL-2.0-only
"""Hot and cached flows of the load balancer: who they are, and what they leave alone."""

from __future__ import annotations

from contextlib import closing
from ipaddress import ip_address

import pytest
from scapy.layers.inet import ICMP, IP

from iridescent_xdp.builder import Builder
from iridescent_xdp.functions.l4lb import L4lbFunction
from iridescent_xdp.functions.l4lb_flows import Flow
from iridescent_xdp.functions.l4lb_tables import Backend, SetBackend
from iridescent_xdp.preflight import Preflight, Sandbox
from iridescent_xdp.switchboard import FALLBACK
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.fixtures import generic_of
from tests.kernel.l4lb_scenes import SCENES, eligible, phases
from tests.kernel.test_l4lb_changes import FIRST, backends_of, llvm, made, packets
from tests.kernel.test_l4lb_model import corner_rows, l4lb_function, learn
from tests.unit.l4lb_model import Balancer

TOUCH_EVERY = 128  # of bpf/include/l4lb_tables.h
XDP_ABORTED, XDP_TX = 0, 3
__all__ = ["llvm", "made"]  # fixtures


def specialized(function: L4lbFunction, **values: int) -> Variant:
    return generic_of(function).with_values(**values)


@pytest.mark.parametrize("values", [{"hot_flows": 1}, {"flow_cache": 1}], ids=["hot", "cached"])
def test_a_flow_that_was_evicted_comes_back_to_the_table(
    llvm: Builder, made: tuple[Sandbox, L4lbFunction], values: dict[str, int]
) -> None:
    """Fast ways do not ask the table; now and then they do, so that a busy flow stays in it."""
    sandbox, function = made
    (data,) = packets(1)
    sandbox.generic.run(data)
    (key,) = sandbox.state["connections"].keys()
    flow = Flow.of_key(key, function.template)
    assert flow is not None
    learn(function, (flow,))
    insns = llvm.variant(function, specialized(function, **values), Role.STEADY)
    with sandbox.state.load(insns, "fast") as program:
        program.run(data)
        before = sandbox.state["connections"].contents()
        sandbox.state["connections"].delete(key)
        program.run(data)
        assert not sandbox.state["connections"].contents()  # it was a fast way
        for _ in range(TOUCH_EVERY):
            program.run(data)
    assert sandbox.state["connections"].contents() == before


@pytest.mark.parametrize("role", [Role.STEADY, Role.ARM], ids=lambda role: role.name)
def test_rare_packets_are_left_to_the_generic_variant(
    llvm: Builder, made: tuple[Sandbox, L4lbFunction], role: Role
) -> None:
    """An echo request is answered by the code behind, and is no guard's miss."""
    sandbox, function = made
    (flow,) = packets(1)
    service = ip_address(flow[30:34])
    echo = flow[:14] + bytes(IP(src="10.3.3.3", dst=str(service)) / ICMP() / b"echo")
    answered = sandbox.generic.run(echo)
    assert answered.verdict == XDP_TX and answered.data != echo
    insns = llvm.variant(function, specialized(function, ipv6=0), role)
    slots = sandbox.state["slots"]
    with sandbox.state.load(insns, "narrow", arm=3) as program:
        run = program.run(echo)
        assert (run.verdict, run.data) == (answered.verdict, answered.data)
        slots.delete(FALLBACK)
        assert program.run(echo).verdict == XDP_ABORTED  # nobody but the generic variant does it
        assert program.run(flow).verdict == XDP_TX
        slots.write(FALLBACK, sandbox.generic.fd.to_bytes(4, "little"))
    rows = sandbox.state["arm_stats"].read(3)
    assert rows is not None and not rows["misses"].sum()


def test_hot_flows_are_those_that_table_and_ring_agree_about(
    llvm: Builder, made: tuple[Sandbox, L4lbFunction]
) -> None:
    sandbox, function = made
    frames = packets(200)
    backends_of(sandbox.generic, frames)
    change = SetBackend(service=FIRST, backend=Backend(address=ip_address("10.9.9.1"), weight=9))
    function.apply(sandbox.state, [change])
    model = Balancer(SCENES["plain"].tables)
    for data in frames:
        model.handle(data)
    model.change(function.tables)
    insns = llvm.variant(function, generic_of(function), Role.OBSERVE)
    with sandbox.state.load(insns, "observing") as program:
        for data in frames:
            assert program.run(data).data == model.handle(data)[1]
    held = sandbox.state["observed_keys"].contents()
    size = function.template.structs["flow_key"].itemsize
    found = {Flow.of_key(raw[4 : 4 + size], function.template) for raw in held}
    assert found == set(eligible(model, most=200))
    assert 0 < len(found) < 150


def test_hot_flows_that_keep_their_backend_stay_hot(made: tuple[Sandbox, L4lbFunction]) -> None:
    sandbox, function = made
    model = Balancer(SCENES["plain"].tables)
    for data in packets(64):
        model.handle(data)
        sandbox.generic.run(data)
    hot = eligible(model)
    learn(function, tuple(hot))
    change = SetBackend(service=FIRST, backend=Backend(address=ip_address("10.9.9.1")))
    function.apply(sandbox.state, [change])
    model.change(function.tables)
    assert {flow for flow, _ in function._hot} == set(eligible(model))
    assert 20 < len(function._hot) < 64
    assert function.infeasible(specialized(function, hot_flows=7)) is None
    learn(function, ())
    assert function.infeasible(specialized(function, hot_flows=1)) == "0 hot flows were seen"


def test_which_variants_must_not_run_while_tables_change() -> None:
    function = l4lb_function("plain")
    assert not function.compiled_from_tables(generic_of(function))
    assert not function.compiled_from_tables(specialized(function, flow_cache=1, ipv6=0))
    assert function.compiled_from_tables(specialized(function, service_layout=1))
    assert function.compiled_from_tables(specialized(function, encapsulation=1))
    assert function.infeasible(specialized(function, encapsulation=2)) is not None
    assert l4lb_function("mixed").infeasible(specialized(function, encapsulation=1)) is not None


@pytest.mark.parametrize("role", [Role.STEADY, Role.ARM], ids=lambda role: role.name)
def test_every_corner_passes_preflight(builder: Builder, role: Role) -> None:
    function = l4lb_function("mixed")
    hot = phases("mixed")[1].hot
    learn(function, hot)
    generic = generic_of(function)
    corpus = function.corpus((), seed=1)
    assert len(corpus) > 1000
    few = 4 if builder.toolchain.name == "llvm" else 1
    with closing(Preflight(builder, function, generic, corpus)) as preflight:
        for number, row in enumerate(corner_rows("mixed", few)):
            variant = generic.with_values(**row)
            preflight.check(builder.variant(function, variant, role), f"corner_{number}")
