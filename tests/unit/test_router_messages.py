# SPDX-License-Identifier: GPL-2.0-only
"""Kernel messages as bytes, encoded by pyroute2."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink import rtnl
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from iridescent_xdp.functions.router_messages import (
    messages,
)
from tests.unit.kernel_messages import (
    MAC,
    P6,
    entry,
    link,
    neighbour,
)


def encoded(made: rtmsg | ndmsg | ifinfmsg, kind: int, flags: int = 0) -> bytes:
    made["header"]["type"], made["header"]["flags"] = kind, flags
    made.encode()
    return bytes(made.data)


def test_a_route_as_pyroute2_writes_it() -> None:
    made = rtmsg()
    made["family"], made["dst_len"], made["table"], made["type"] = socket.AF_INET, 16, 254, 1
    made["attrs"] = [
        ["RTA_TABLE", 254],
        ["RTA_DST", "20.5.0.0"],
        ["RTA_PRIORITY", 77],
        ["RTA_OIF", 4],
        ["RTA_GATEWAY", "10.1.0.2"],
        ["RTA_METRICS", {"attrs": [["RTAX_MTU", 1300]]}],
        ["RTA_PREFSRC", "10.1.0.1"],
    ]
    raw = encoded(made, rtnl.RTM_NEWROUTE, 0x100)
    expected = entry(
        "20.5.0.0/16", (4, "10.1.0.2"), metric=77, mtu=1300, source="10.1.0.1", replace=True
    )
    assert list(messages(raw)) == [expected]
    assert list(messages(raw + raw)) == [expected, expected]
    gone = encoded(made, rtnl.RTM_DELROUTE)
    assert list(messages(gone)) == [expected._replace(gone=True, replace=False)]


@pytest.mark.parametrize("field", ["another table", "cloned", "another family"])
def test_routes_that_are_none_of_ours(field: str) -> None:
    made = rtmsg()
    made["family"], made["dst_len"], made["table"], made["type"] = socket.AF_INET6, 48, 254, 1
    made["attrs"] = [["RTA_DST", "2001:db8:1::"], ["RTA_OIF", 4]]
    assert list(messages(encoded(made, rtnl.RTM_NEWROUTE))) == [entry(P6, (4, ""))]
    if field == "another table":
        made["attrs"].append(["RTA_TABLE", 1000])
    elif field == "cloned":
        made["flags"] = 0x200
    raw = bytearray(encoded(made, rtnl.RTM_NEWROUTE))
    if field == "another family":
        raw[16] = 28  # AF_MPLS
    assert list(messages(bytes(raw))) == []


@pytest.mark.parametrize(
    ("state", "usable"),
    [(0x01, False), (0x02, True), (0x04, True), (0x08, True), (0x10, True), (0x20, False),
     (0x40, False), (0x80, True), (0, False)],
)  # fmt: skip
def test_states_of_neighbours(state: int, usable: bool) -> None:
    made = ndmsg()
    made["family"], made["ifindex"], made["state"] = socket.AF_INET, 3, state
    made["attrs"] = [["NDA_DST", "10.1.0.2"], ["NDA_LLADDR", "02:00:00:00:00:01"]]
    expected = neighbour(3, "10.1.0.2", MAC[1] if usable else None)
    expected = expected._replace(silent=MAC[1] if state == 0x40 else None)
    assert list(messages(encoded(made, rtnl.RTM_NEWNEIGH))) == [expected]
    gone = list(messages(encoded(made, rtnl.RTM_DELNEIGH)))
    assert gone == [neighbour(3, "10.1.0.2", None)]
    made["flags"] = 0x08  # proxied for others
    assert list(messages(encoded(made, rtnl.RTM_NEWNEIGH))) == []


@pytest.mark.parametrize(
    ("flags", "up", "running"),
    [(0x11043, True, True), (0x1003, True, False), (0x1002, False, False), (0x10043, True, True)],
)
def test_a_link_as_pyroute2_writes_it(flags: int, up: bool, running: bool) -> None:
    made = ifinfmsg()
    made["index"], made["flags"], made["ifi_type"] = 3, flags, 1
    made["attrs"] = [
        ["IFLA_IFNAME", "eth3"],
        ["IFLA_MTU", 1500],
        ["IFLA_ADDRESS", "02:ee:00:00:00:03"],
    ]
    raw = encoded(made, rtnl.RTM_NEWLINK)
    assert list(messages(raw)) == [link(3)._replace(mtu6=0, admin_up=up, running=running)]
    made["family"] = 7  # a port leaves a bridge: the link is still there
    assert list(messages(encoded(made, rtnl.RTM_DELLINK))) == []


@given(st.binary(max_size=200), st.sampled_from((16, 17, 20, 24, 25, 28, 32, 104)))
def test_nonsense_is_no_error(body: bytes, kind: int) -> None:
    raw = (16 + len(body)).to_bytes(4, "little") + kind.to_bytes(2, "little") + bytes(10) + body
    for message in messages(raw):
        assert isinstance(message, tuple)
    assert list(messages(raw[:15])) == []
