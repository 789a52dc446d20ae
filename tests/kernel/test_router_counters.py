# SPDX-License-Identifier: GPL-2.0-only
"""What was sent to a next hop stays beside that next hop, whatever its number: also after a restart
with other routes, and when the hop was away for a while."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.commands.inventory import take_stock
from iridescent_xdp.config.model import InterfaceConfig
from iridescent_xdp.controller import Controller
from iridescent_xdp.events import EventLog
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.functions.router_hops import Hops
from iridescent_xdp.functions.router_live import resolver
from iridescent_xdp.functions.router_tables import DeleteRoute, Hop, Route, RouterTables, SetRoute
from iridescent_xdp.plan import make_plan
from iridescent_xdp.template import find_template, read_template
from tests.kernel.route_lab import RouteLab
from traffic.corpus_routes import ip_frame
from traffic.testbed import inside

REDIRECT = 4


@pytest.fixture
def lab() -> Iterator[RouteLab]:
    with RouteLab(("in0", "out0")) as made:
        yield made


def mac(number: int) -> bytes:
    return bytes([2, 0, 0, 0, 5, number])


def net(number: int) -> IPv4Network:
    return IPv4Network((198 << 24 | number << 8, 24))


def route(number: int) -> Route:
    """A prefix of its own for each neighbour."""
    return Route(prefix=net(number), interface="out0", via=mac(number))


def controller_with(*numbers: int) -> Controller:
    tables = RouterTables(routes=tuple(map(route, numbers)))
    config = InterfaceConfig(name="in0", function="router", mode="native", tables=tables)
    return Controller(make_plan(config, Path("none")), Builder("llvm"), EventLog(None))


def send(controller: Controller, number: int, count: int) -> None:
    for _ in range(count):
        run = controller.generic.run(ip_frame(4, int(net(number)[1])))
        assert run.verdict == REDIRECT and run.data[:6] == mac(number)


def counted(controller: Controller) -> dict[str, int]:
    rows = controller.plan.function.counters(controller.state)
    return {row.name.split()[1]: row.packets for row in rows if row.name.startswith("hop ")}


def test_counters_go_with_the_hop_over_a_restart(lab: RouteLab) -> None:
    with inside(lab.name):
        first = controller_with(3, 5, 7)
        for number in (3, 5, 7):
            send(first, number, number)
        first.close()
        second = controller_with(1, 2, 5, 7, 9)  # others before and behind, one is gone
        try:
            assert second.adopted
            for number in (1, 7, 9):
                send(second, number, 10)
            expected = {1: 10, 3: 3, 5: 5, 7: 17, 9: 10}
            assert counted(second) == {mac(n).hex(":"): c for n, c in expected.items()}
            stock = take_stock(second.key)
            assert stock["problems"] == []
            status = [r["packets"] for r in stock["counters"] if mac(7).hex(":") in r["name"]]
            assert status == [17]
            second.change([DeleteRoute(prefix=net(7))])
            second.change([SetRoute(route=route(4))])
            second.change([SetRoute(route=route(7))])
            send(second, 4, 2)
            send(second, 7, 1)
            send(second, 9, 1)
            expected |= {4: 2, 7: 18, 9: 11}
            assert counted(second) == {mac(n).hex(":"): c for n, c in expected.items()}
        finally:
            second.release()


def test_numbers_of_others_are_taken_last() -> None:
    template = read_template(find_template("router"))
    first, most = template.constants["FIRST_HOP"], template.constants["MAX_HOPS"]

    def hop(number: int) -> Hop:
        return Hop(ifindex=1, mac=number.to_bytes(6, "big"), source_mac=mac(0), mtu=1500)

    def to(number: int) -> Route:
        prefix = IPv4Network((number << 8, 24))
        return Route(prefix=prefix, interface="lo", via=hop(number).mac, hop=hop(number))

    hops = Hops(template)
    hops.inherit({first: hop(1), first + 5: hop(2), first + 9: hop(1)})  # not one hop twice
    room = most - first
    taken = hops.take([to(n) for n in range(2, room + 1)], resolver())
    assert taken[to(2).prefix] == first + 5
    assert len(set(taken.values())) == room - 1 and first not in taken.values()
    assert hops.take([to(1)], resolver())[to(1).prefix] == first
    hops.give_back([first, first + 5])
    assert hops.take([to(5000)], resolver())[to(5000).prefix] == first  # there is no other left
    assert hops.name(first) == f"hop {hop(5000).mac.hex(':')} of port 1"  # type: ignore[union-attr]
    assert hops.take([to(2)], resolver())[to(2).prefix] == first + 5


def test_without_pins_there_is_nothing_to_inherit(tmp_path: Path) -> None:
    tables = RouterTables(routes=(route(3),))
    function = function_for(read_template(find_template("router")), tables)
    function.inherit(tmp_path)
    function.inherit(tmp_path / "no such folder")
