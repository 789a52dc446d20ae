# SPDX-License-Identifier: GPL-2.0-only
"""Changes of routes where something goes wrong, or goes on for long."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network
from statistics import median

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions import router_live
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.functions.router import RouterFunction
from iridescent_xdp.functions.router_tables import DeleteRoute, Hop, Route, RouterTables, SetRoute
from iridescent_xdp.kernel.maps import Map
from iridescent_xdp.kernel.testrun import TestRun
from iridescent_xdp.preflight import Sandbox
from iridescent_xdp.template import find_template, read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.route_lab import RouteLab
from traffic.corpus_routes import ip_frame
from traffic.testbed import inside

PASS, REDIRECT = 2, 4
NET = IPv4Network("198.51.100.0/24")
ADDRESS = int(NET.network_address) + 1
OWN = bytes.fromhex("02000000aa01")


def mac(number: int) -> bytes:
    return bytes([2, 0, 0, 1]) + number.to_bytes(2, "big")


def hop(number: int, ifindex: int = 1) -> Hop:
    return Hop(ifindex=ifindex, mac=mac(number), source_mac=OWN, mtu=1500)


def to(prefix: IPv4Network, number: int, ifindex: int = 1) -> SetRoute:
    """A route whose hop is known already, as a mirror of the kernel's routes gives it."""
    route = Route(prefix=prefix, interface="lo", via=mac(number), hop=hop(number, ifindex))
    return SetRoute(route=route)


def router_of(*changes: SetRoute) -> RouterFunction:
    tables = RouterTables(routes=tuple(change.route for change in changes))
    function = function_for(read_template(find_template("router")), tables)
    assert isinstance(function, RouterFunction)
    return function


def generic_of(function: RouterFunction) -> Variant:
    return Variant.generic(function.template.points, function.policy())


def sandbox(function: RouterFunction) -> Sandbox:
    return Sandbox(Builder("llvm"), function, generic_of(function))


@pytest.fixture
def function() -> RouterFunction:
    return router_of(to(NET, 1), to(IPv4Network("203.0.113.0/24"), 2))


@pytest.fixture
def box(function: RouterFunction) -> Iterator[Sandbox]:
    with closing(sandbox(function)) as made:
        yield made


def sent(box: Sandbox, address: int = ADDRESS) -> TestRun:
    return box.generic.run(ip_frame(4, address))


def neighbour_of(run: TestRun) -> bytes:
    assert run.verdict == REDIRECT
    return run.data[:6]


def test_more_next_hops_one_after_the_other_than_there_is_room_for(
    function: RouterFunction, box: Sandbox
) -> None:
    for number in range(10, 1510):
        function.apply(box.state, [to(NET, number)])
        if number % 50 == 0:
            assert neighbour_of(sent(box)) == mac(number)
    assert neighbour_of(sent(box, int(IPv4Network("203.0.113.0/24")[5]))) == mac(2)


def test_more_interfaces_one_after_the_other_than_there_is_room_for(
    function: RouterFunction, box: Sandbox
) -> None:
    """As where tunnels come and go; none of these is there any more when its route is set."""
    for number in range(300):
        function.apply(box.state, [to(NET, 3, ifindex=70_000 + number)])
    function.apply(box.state, [to(NET, 3)])
    assert neighbour_of(sent(box)) == mac(3)


def test_too_many_next_hops_at_once_change_nothing(function: RouterFunction, box: Sandbox) -> None:
    nets = list(IPv4Network("10.0.0.0/8").subnets(new_prefix=20))[:1100]
    with pytest.raises(ConfigError, match="at most 1,021 next hops, got 1,102"):
        function.apply(box.state, [to(net, 100 + i) for i, net in enumerate(nets)])
    assert sent(box, int(nets[0][1])).verdict == PASS
    function.apply(box.state, [to(net, 100 + i) for i, net in enumerate(nets[:1019])])
    assert neighbour_of(sent(box, int(nets[1018][1]))) == mac(1118)


def test_a_batch_that_fails_in_the_middle_changes_nothing(
    function: RouterFunction, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, write, written = function.tables_digest(), Map.write, []

    def full(self: Map, key: bytes | int, value: bytes) -> None:
        if self.spec.name == "routes4":
            written.append(key)
            if len(written) == 3:
                raise OSError(errno.ENOMEM, "no memory")
        write(self, key, value)

    fresh = IPv4Network("192.0.2.0/24")
    batch = [
        to(NET, 7),
        to(fresh, 8),
        to(IPv4Network("192.88.99.0/24"), 9),
        DeleteRoute(prefix=NET),
    ]
    with monkeypatch.context() as patched:
        patched.setattr(Map, "write", full)
        with pytest.raises(ConfigError, match="no memory"):
            function.apply(box.state, [*batch[:3], to(IPv4Network("100.64.0.0/10"), 9)])
    assert neighbour_of(sent(box)) == mac(1)
    assert sent(box, int(fresh[1])).verdict == PASS
    assert function.tables_digest() == digest
    function.apply(box.state, batch)
    assert neighbour_of(sent(box, int(fresh[1]))) == mac(8)
    assert sent(box).verdict == PASS


def test_an_interface_that_is_gone_does_not_stop_changes_of_others() -> None:
    with RouteLab(("in0", "out0", "out1")) as lab, inside(lab.name):
        via = mac(5)
        routes = [
            Route(prefix=NET, interface="out0", via=via),
            Route(prefix=IPv4Network("203.0.113.0/24"), interface="out1", via=via),
        ]
        function = router_of(*(SetRoute(route=route) for route in routes))
        with closing(sandbox(function)) as box:
            lab.batch(["link del out1"])
            other = Route(prefix=IPv4Network("192.0.2.0/24"), interface="out0", via=mac(6))
            function.apply(box.state, [SetRoute(route=other)])
            assert neighbour_of(sent(box, int(other.prefix[1]))) == mac(6)
            with pytest.raises(ConfigError, match="there is no interface 'out1'"):
                function.apply(box.state, [SetRoute(route=routes[1])])
            with closing(sandbox(function)) as second:  # as a preflight makes it
                assert neighbour_of(sent(second)) == via


@pytest.mark.parametrize(("lookup", "hot_keys"), [(2, 0), (0, 1)])
def test_code_is_not_taken_from_the_cache_where_hops_have_other_numbers(
    monkeypatch: pytest.MonkeyPatch, lookup: int, hot_keys: int
) -> None:
    """The same routes as before, over neighbours whose MAC addresses have changed."""
    one, other = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")
    routes = (
        Route(prefix=IPv4Network("192.0.2.0/24"), interface="lo", via=one),
        Route(prefix=NET, interface="lo", via=other),
    )
    digests: list[str] = []
    for numbers in ({one: 1, other: 2}, {one: 2, other: 1}, {one: 1, other: 2}):
        monkeypatch.setattr(router_live, "Links", links_of(numbers))
        function = router_of(*(SetRoute(route=route) for route in routes))
        function.learn_keys({"hot4": {ADDRESS.to_bytes(4, "little"): 5}})
        variant = generic_of(function).with_values(lookup=lookup, hot_keys=hot_keys)
        digests.append(function.compile_tables(variant).digest)
    assert digests[0] == digests[2] != digests[1]


def links_of(numbers: Mapping[IPv4Address, int]) -> type:
    class Neighbours:
        def hop(self, route: Route) -> Hop:
            assert isinstance(route.via, IPv4Address)
            return hop(numbers[route.via])

    return Neighbours


def test_a_flat_table_that_was_full_of_deleted_routes_fits_again(
    function: RouterFunction, box: Sandbox
) -> None:
    flat = generic_of(function).with_values(lookup=1)
    nets = list(IPv4Network("10.0.0.0/8").subnets(new_prefix=24))[:: 1 << 8][:100]
    function.apply(box.state, [to(net, 1) for net in nets])
    function.settle_tables(box.state)
    assert "64 chunks" in (function.infeasible(flat) or "")
    function.apply(box.state, [DeleteRoute(prefix=net) for net in nets])
    function.settle_tables(box.state)
    assert function.infeasible(flat) is None
    insns = Builder("llvm").variant(function, flat, Role.STEADY)
    with box.state.load(insns, "flat") as program:
        assert neighbour_of(program.run(ip_frame(4, ADDRESS))) == mac(1)
        assert program.run(ip_frame(4, int(nets[3][1]))).verdict == PASS


def test_a_change_among_a_hundred_thousand_routes_takes_less_than_a_millisecond() -> None:
    nets = [IPv4Network((1 << 24 | n << 8, 24)) for n in range(100_000)]
    function = router_of(*(to(net, n & 15) for n, net in enumerate(nets)))
    with closing(sandbox(function)) as box:
        took: list[float] = []
        for number, net in enumerate(nets[:1000:10]):
            changes = [to(net, 20 + number & 31)]
            began = time.perf_counter()
            function.policy_for(changes)
            function.apply(box.state, changes)
            took.append(time.perf_counter() - began)
            assert neighbour_of(sent(box, int(net[1]))) == mac(20 + number & 31)
        assert median(took) < 1e-3
        began = time.perf_counter()
        function.settle_tables(box.state)
        assert time.perf_counter() - began < 0.1
