# SPDX-License-Identifier: GPL-2.0-only
"""A controller whose router asks the kernel: real packets, other routes, what an operator sees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.commands.inventory import take_stock
from iridescent_xdp.config.model import InterfaceConfig
from iridescent_xdp.controller import Controller
from iridescent_xdp.events import EventLog
from iridescent_xdp.functions.router_tables import RouterTables
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.plan import make_plan
from iridescent_xdp.render import status_view
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.fixtures import wait_until
from tests.kernel.live import Events
from tests.kernel.route_cases import MACS
from tests.kernel.route_lab import RouteLab
from tests.kernel.test_router_fib import ROUTES
from tests.kernel.test_router_live import exchanged, number
from traffic.corpus_routes import ip_frame
from traffic.testbed import inside

pytestmark = pytest.mark.needs(Feature.FIB_LOOKUP, Feature.DEVMAP, Feature.XDP_NATIVE)

SEVERAL = "route add 21.0.0.0/16 nexthop via 10.1.0.2 nexthop via 10.3.0.2"
FIRST, THIRD = bytes.fromhex("020000000102"), bytes.fromhex("020000000302")
FIRST6 = bytes.fromhex("020000006102")


@pytest.fixture
def router() -> Iterator[RouteLab]:
    with RouteLab() as lab:
        lab.forward()
        lab.batch([*MACS, *ROUTES])
        yield lab


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def controller(router: RouteLab, events: Events) -> Iterator[Controller]:
    tables = RouterTables(from_kernel=True, ingress="in0")
    config = InterfaceConfig(name="in0", function="router", mode="native", tables=tables)
    plan = make_plan(config, Path("none"))
    with inside(router.name):
        made = Controller(plan, Builder("llvm"), EventLog(None, events))
        try:
            yield made
        finally:
            made.release()


@pytest.fixture
def following(controller: Controller) -> Iterator[None]:
    watching = controller.plan.function.follow(controller.change)
    assert watching is not None
    with watching:
        yield


def ask_the_kernel(controller: Controller) -> Variant:
    function, generic = controller.plan.function, controller.plan.generic
    variant = generic.with_values(lookup=function.template.constants["LOOKUP_FIB"])
    insns = controller.builder.variant(function, variant, Role.STEADY)
    controller.swap(variant, insns, reason="a test")
    return variant


def test_packets_go_where_the_kernel_says(router: RouteLab, controller: Controller) -> None:
    """Nobody follows the kernel, so what changes in it the variant has from the kernel itself."""
    ask_the_kernel(controller)
    for version, to, mac in ((4, "20.0.0.1", FIRST), (6, "2001:db8:101::1", FIRST6)):
        sent, ttl = ip_frame(version, number(to)), 22 if version == 4 else 21
        (got,) = (f for f in exchanged(router, sent) if f[:6] == mac)
        assert got[ttl] == sent[ttl] - 1 and got[26:] == sent[26:]
    router.batch(["route replace 20.0.0.0/8 via 10.3.0.2"])
    found = exchanged(router, ip_frame(4, number("20.0.0.1")), "far-out2")
    assert [f for f in found if f[:6] == THIRD]


@pytest.mark.usefixtures("following")
def test_what_is_left_to_the_kernel_is_told(
    router: RouteLab, controller: Controller, events: Events
) -> None:
    variant = ask_the_kernel(controller)
    assert events.named("notes") == []
    router.batch(["route replace 22.0.0.0/16 via 10.1.0.2"])
    wait_until(lambda: events.named("specialized_again"), "the same again after a change")
    assert controller.live_variant == variant
    router.batch([SEVERAL])
    wait_until(lambda: events.named("not_specialized"), "the kernel's own choice")
    assert controller.live_variant == controller.plan.generic
    note = "1 prefixes with several next hops, such as 21.0.0.0/16, go to the kernel"
    assert note in events.named("not_specialized")[-1]["reason"]
    assert events.named("notes")[-1]["notes"] == [note]
    stock = take_stock(controller.key)
    assert stock["notes"] == [note] and stock["problems"] == []
    assert note in list(status_view(stock)[0].columns[1].cells)  # type: ignore[union-attr]
    router.batch(["route del 21.0.0.0/16"])
    wait_until(lambda: controller.live_variant == variant, "nothing is left to the kernel")
    assert take_stock(controller.key)["notes"] == []
    assert events.named("notes")[-1]["notes"] == []
