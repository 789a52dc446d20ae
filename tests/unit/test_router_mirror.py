# SPDX-License-Identifier: GPL-2.0-only
"""The mirror's core: kernel messages in, a router's table out; what should come out is written
down."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.functions.router_fib import Change
from iridescent_xdp.functions.router_messages import (
    BLACKHOLE,
    LOCAL,
    TABLE_LOCAL,
    TABLE_MAIN,
    UNICAST,
    Leg,
    Message,
    Mtu6,
    NextHopObject,
    Rule,
)
from iridescent_xdp.functions.router_tables import Route, SetRoute
from iridescent_xdp.functions.router_verdicts import MirrorRules
from tests.unit.kernel_messages import (
    MAC,
    P6,
    VIA1,
    VIA2,
    VIA6,
    P,
    address,
    entry,
    fib_of,
    kernel,
    link,
    neighbour,
    routes,
    to,
)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([entry(P, VIA1)], to(P, "eth1", MAC[1])),
        ([entry(P, VIA6)], to(P, "eth2", MAC[2])),  # a neighbour of the other family
        ([entry(P6, VIA6, metric=1024)], to(P6, "eth2", MAC[2])),
        ([entry(P, (1, "10.1.0.9"))], to(P, "eth1")),  # neighbour unknown
        ([entry(P, (2, "10.1.0.2"))], to(P, "eth2")),  # known on another link only
        ([entry(P, (1, ""))], to(P, "eth1")),  # on-link
        ([entry("10.1.0.2/32", (1, ""))], to("10.1.0.2/32", "eth1", MAC[1])),
        ([entry(P, kind=BLACKHOLE)], to(P, kind="blackhole")),
        ([entry(P, kind=7)], kernel(P)),  # unreachable: answered by ICMP
        ([entry(P, kind=9)], kernel(P)),  # throw
        ([entry(P, VIA1, VIA2)], kernel(P)),  # by a hash of the packet
        ([entry(P, VIA1, metric=5), entry(P, VIA2, metric=2)], to(P, "eth2", MAC[2])),
        ([entry(P, VIA1), entry(P, VIA2)], kernel(P)),  # equal ones: order is the kernel's matter
        ([entry(P6, VIA6), entry(P6, (1, ""))], kernel(P6)),
        ([entry(P, VIA1), entry(P, VIA2, selector=b"\x10\0")], kernel(P)),  # by TOS
        ([entry(P, VIA1, encapsulated=True)], kernel(P)),
        ([entry(P, VIA1, mtu=1400)], to(P, "eth1", MAC[1], mtu=1400)),
        ([entry(P, VIA1, mtu=9000)], to(P, "eth1", MAC[1])),
        ([entry(P, VIA1, kind=LOCAL, table=TABLE_LOCAL)], kernel(P)),
        ([entry(P, VIA1), entry(P, kind=LOCAL, table=TABLE_LOCAL)], kernel(P)),
        ([entry(P, VIA1), entry("20.0.0.0/8", kind=LOCAL, table=TABLE_LOCAL)], kernel(P)),
        ([entry(P, (9, "10.1.0.2"))], kernel(P)),  # no such link
        ([link(1, up=False), entry(P, VIA1)], kernel(P)),
        ([link(1, carrier=False), entry(P, VIA1)], kernel(P)),
        ([link(1)._replace(ethernet=False), entry(P, VIA1)], kernel(P)),
        ([entry(P, next_hop=7), NextHopObject(7, Leg(1, address("10.1.0.2")), False)],
         to(P, "eth1", MAC[1])),
        ([entry(P, next_hop=7), NextHopObject(7, None, False)], kernel(P)),  # a group
        ([entry(P, next_hop=7)], kernel(P)),
        ([Mtu6(2, 1280), entry(P6, VIA6)], to(P6, "eth2", MAC[2], mtu=1280)),
        ([Mtu6(2, 1280), entry(P, VIA2)], to(P, "eth2", MAC[2])),
    ],
)  # fmt: skip
def test_a_prefix(told: list[Message], expected: Route) -> None:
    assert expected in routes(fib_of(*told))
    assert len([r for r in routes(fib_of(*told)) if r.prefix == expected.prefix]) == 1


def test_neighbours_on_a_link_become_hosts() -> None:
    fib = fib_of(
        entry("10.1.0.0/16", (1, "")),
        neighbour(1, "10.1.9.9", MAC[3]),
        neighbour(2, "10.1.8.8", MAC[3]),  # on another link than its address says
        neighbour(1, "10.1.7.7", MAC[3]),
        entry("10.1.7.0/24", VIA2),  # a longer prefix leads elsewhere
        neighbour(1, "99.0.0.1", MAC[3]),  # no route
    )
    assert sorted(routes(fib), key=lambda r: str(r.prefix)) == [
        to("10.1.0.0/16", "eth1"),
        to("10.1.0.2/32", "eth1", MAC[1]),
        to("10.1.7.0/24", "eth2", MAC[2]),
        to("10.1.9.9/32", "eth1", MAC[3]),
    ]


def test_the_ingress_is_left_to_the_kernel_unless_wanted() -> None:
    told = entry(P, VIA1)
    assert routes(fib_of(told, rules=MirrorRules(ingress="eth1"))) == [kernel(P)]
    turned = fib_of(told, rules=MirrorRules(ingress="eth1", hairpin=True))
    assert routes(turned) == [to(P, "eth1", MAC[1])]


# -- any sequence --------------------------------------------------------------------------------

_PREFIXES = ("10.1.0.0/16", "10.1.0.0/24", "10.1.0.2/32", "20.0.0.0/8", "20.0.0.0/16", "0.0.0.0/0")
_LEGS = (VIA1, VIA2, (1, ""), (3, "10.3.0.2"))
_ENTRIES = st.builds(
    lambda prefix, legs, metric, kind, table, gone, replace: entry(
        prefix, *legs, metric=metric, kind=kind, table=table, gone=gone, replace=replace
    ),
    st.sampled_from(_PREFIXES),
    st.lists(st.sampled_from(_LEGS), min_size=1, max_size=2),
    st.sampled_from((0, 5)),
    st.sampled_from((UNICAST, UNICAST, LOCAL, BLACKHOLE)),
    st.sampled_from((TABLE_MAIN, TABLE_MAIN, TABLE_LOCAL)),
    st.booleans(),
    st.booleans(),
)
_MESSAGES = st.one_of(
    _ENTRIES,
    st.builds(
        neighbour,
        st.integers(1, 3),
        st.sampled_from(("10.1.0.2", "10.1.0.9", "10.2.0.2", "20.0.0.7")),
        st.sampled_from((None, MAC[1], MAC[3])),
    ),
    st.builds(
        lambda index, up, carrier, mtu: link(index, up=up, carrier=carrier, mtu=mtu),
        st.integers(1, 3),
        st.booleans(),
        st.booleans(),
        st.sampled_from((1400, 1500)),
    ),
    st.builds(
        lambda leg, gone: NextHopObject(7, leg, gone),
        st.sampled_from((None, Leg(1, address("10.1.0.2")))),
        st.booleans(),
    ),
    st.builds(lambda gone: Rule(4, 100, b"x", False, gone), st.booleans()),
)


def applied(table: dict[object, Route], changes: Iterable[Change]) -> None:
    seen = set()
    for change in changes:
        if isinstance(change, SetRoute):
            prefix = change.route.prefix
            table[prefix] = change.route
        else:
            prefix = change.prefix
            del table[prefix]  # it must be there
        assert prefix not in seen
        seen.add(prefix)


@given(st.lists(st.one_of(_MESSAGES, st.none()), max_size=40))
def test_following_gives_what_looking_gives(sequence: list[Message | None]) -> None:
    """None: changes are taken here. What comes out does not depend on where that is."""
    followed, looked = fib_of(), fib_of()
    table: dict[object, Route] = {}
    for message in sequence:
        if message is None:
            applied(table, followed.changes())
        else:
            followed.take(message)
            looked.take(message)
    applied(table, followed.changes())
    looked.changes()
    assert table == {route.prefix: route for route in routes(looked)}
    # all prefixes are decided anew
    for held in (*looked.kernel.table.held, *(looked.kernel.hosts_in((4, 0, 0)))):
        looked._touch_prefix(held)
    assert looked.changes() == []
