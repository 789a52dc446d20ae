# SPDX-License-Identifier: GPL-2.0-only
"""Sent, counted by the device under test, and arrived at the sink: three counters that agree.

The first is pktgen's own, the second the filter's or the router's, by rule and by verdict, the
third belongs to the kernel: the packets that came to the stack, or that the far end of another
interface received. Variants are swapped all the time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from ipaddress import IPv4Address
from itertools import cycle

from pyroute2 import IPRoute

from iridescent_xdp.builder import Builder
from iridescent_xdp.controller import Controller
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.fixtures import counted
from tests.kernel.functional_bed import SCENES, SINK_SIDE
from tests.vm.load import BURST, Traffic
from tests.vm.rig import Rig
from tests.vm.sites import DROPPED, FIRST_PORT, PORTS, Site, stack_packets, verdicts
from traffic.testbed import inside

PACKETS, SWAPS = 1_000_000, 100
FORWARDED = 102_400
# the last address of a route, and the first that is behind a blackhole. Not more: each flow may
# come by another receive queue, and what four of them redirect at a time is more than a veth holds
LAST_ROUTED, FLOWS = IPv4Address("198.51.100.127"), 2


class Swapper:
    """Variants, built beforehand, that take turns."""

    def __init__(self, controller: Controller, variants: Sequence[Variant]) -> None:
        function = controller.plan.function
        self._controller, self.count = controller, 0
        code = {v: controller.builder.variant(function, v, Role.STEADY) for v in variants}
        self._turns = cycle(code.items())

    def swap(self) -> None:
        variant, insns = next(self._turns)
        self._controller.swap(variant, insns, reason="a test")
        assert self._controller.live_variant == variant
        self.count += 1

    def enough(self) -> bool:
        return self.count >= SWAPS


def test_a_million_packets_and_a_hundred_swaps(rig: Rig, site: Site, traffic: Traffic) -> None:
    site.write()
    kind = traffic.kind(
        count=BURST, destinations=8, destination_ports=(FIRST_PORT, FIRST_PORT + PORTS - 1)
    )
    with site.controlled() as controller, traffic.source(kind) as source:
        narrow = controller.plan.generic.with_values(ipv6=0, no_ip_options=1, vlan_depth=0)
        swapper = Swapper(
            controller,
            [
                controller.plan.generic,
                narrow.with_values(rule_layout=2),
                narrow.with_values(rule_layout=1, counter_batch=2),
                narrow.with_values(rule_layout=2, only_protocol=17),
            ],
        )
        before = stack_packets(rig)

        def decided() -> int:
            return sum(verdicts(controller).values())

        sent = traffic.bursts(source, PACKETS, decided, swapper.swap, swapper.enough)
        seen = counted(controller.state)
        told = {
            "sent": sent,
            "swaps": swapper.count,
            "dropped": seen.verdicts["drop"][0],
            "passed": seen.verdicts["pass"][0],
            "arrived": stack_packets(rig) - before,
        }
        (rig.results / "counters.json").write_text(json.dumps(told))
        assert sent >= PACKETS and swapper.count >= SWAPS, told
        assert sent == told["dropped"] + told["passed"], told
        assert told["arrived"] == told["passed"], told
        # each port comes equally often, as bursts are whole rounds of them
        for rule, (low, high) in DROPPED.items():
            assert seen.slots[rule][0] == sent // PORTS * (high - low + 1)
        assert told["dropped"] == sent * 4 // PORTS


def test_forwarded_to_a_sink(rig: Rig, site: Site, traffic: Traffic) -> None:
    """By the router: to an address of a route, or into a blackhole."""
    bed = rig.functional
    with bed.wired() as ports:
        for port in ports.all:
            port.close()  # nobody has to hear a hundred thousand packets
        scene = SCENES["router"](bed.ends, "native")
        kind = traffic.kind(count=FORWARDED // 4, destination=LAST_ROUTED, destinations=FLOWS)
        with (
            bed.controlled(scene, site.folder, Builder("llvm")) as controller,
            traffic.source(kind) as source,
        ):
            plan, counters = controller.plan, controller.plan.function.counters
            swapper = Swapper(controller, [plan.generic, plan.generic.with_values(**scene.narrow)])

            def rows() -> dict[str, int]:
                return {row.name: row.packets for row in counters(controller.state)}

            def decided() -> int:
                return rows().get("verdict redirect", 0) + rows().get("blackhole", 0)

            before = received(rig, SINK_SIDE)
            sent = traffic.bursts(source, FORWARDED, decided, swapper.swap, swapper.enough)
            traffic.settled(rows()["verdict redirect"], lambda: received(rig, SINK_SIDE) - before)
            assert sent == rows()["verdict redirect"] + rows()["blackhole"]
            assert rows()["blackhole"] == sent // 2
            assert swapper.count >= SWAPS


def received(rig: Rig, interface: str) -> int:
    """What the kernel says that an interface of the generator's namespace received."""
    with inside(rig.gen.namespace), IPRoute() as route:
        (index,) = route.link_lookup(ifname=interface)
        stats = route.get_links(index)[0].get_attr("IFLA_STATS64")
        return int(stats["rx_packets"])
