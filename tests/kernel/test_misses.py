# SPDX-License-Identifier: GPL-2.0-only
"""A set of hot keys that the traffic left behind is noticed by its misses, and dropped."""

from __future__ import annotations

import pytest

from iridescent_xdp.controller import Controller
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.misses import ENOUGH_PACKETS, MissWatch
from iridescent_xdp.toolchain.base import Role
from tests.kernel.fixtures import wait_until
from tests.kernel.live import stream_of
from tests.kernel.route_lab import RouteLab
from tests.kernel.test_router_live import controller, lab, number
from traffic.corpus_routes import ip_frame
from traffic.generator import Generator
from traffic.testbed import inside

__all__ = ["controller", "lab"]
HOT, COLD = number("198.51.100.1"), number("198.51.100.2")


def send(lab: RouteLab, controller: Controller, destination: int, count: int) -> None:
    stream = stream_of([ip_frame(4, destination)])
    with inside(lab.far):
        index = find_interface("far-in0").index
        with Generator(controller.builder, stream, index) as generator:
            generator.send(count)


@pytest.mark.parametrize("keys", ["4", "table"])
def test_a_wrong_set_is_dropped(lab: RouteLab, controller: Controller, keys: str) -> None:
    function, generic = controller.plan.function, controller.plan.generic
    function.learn_keys({"hot4": {HOT.to_bytes(4, "little"): 1000}, "hot6": {}})
    function.settle_tables(controller.state)
    point = function.template.point("hot_keys")
    variant = generic.with_values(hot_keys=point.parse(keys), checksum_update=1)
    insns = controller.builder.variant(function, variant, Role.STEADY)
    controller.swap(variant, insns, reason="a test")
    watch = MissWatch(controller)
    send(lab, controller, HOT, 2 * ENOUGH_PACKETS)
    assert watch.look(2 * ENOUGH_PACKETS) == ()
    assert controller.live_variant == variant
    send(lab, controller, COLD, ENOUGH_PACKETS - 64)
    assert watch.look(ENOUGH_PACKETS - 64) == ()  # too few to tell
    send(lab, controller, HOT, ENOUGH_PACKETS + 64)
    assert watch.look(ENOUGH_PACKETS + 64) == ()  # those are counted with the next ones
    send(lab, controller, COLD, ENOUGH_PACKETS)
    assert watch.look(ENOUGH_PACKETS) == ("hot_keys",)
    smaller = variant.with_values(hot_keys=0)
    wait_until(lambda: controller.live_variant == smaller, "the variant without hot keys")
    assert watch.look(ENOUGH_PACKETS) == ()
