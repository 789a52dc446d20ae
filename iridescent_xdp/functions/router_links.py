# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel knows about next hops: single interfaces and neighbours, asked over netlink.

Only those that a route names are asked for, some 20 µs each, so that a change of one route is
quick on a machine with many.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from struct import Struct

from pyroute2.netlink import rtnl

from iridescent_xdp.errors import ConfigError, StateError
from iridescent_xdp.functions.router_messages import (
    Link,
    Message,
    Neighbour,
    messages,
)
from iridescent_xdp.functions.router_tables import Address, Hop, Route
from iridescent_xdp.kernel.rtnetlink import NLMSG_ERROR, headers

__all__ = ["Hop", "Links"]

_REQUEST, _ATTRIBUTE = Struct("=IHHII"), Struct("=HH")  # nlmsghdr, nlattr
_NEIGHBOUR = Struct("=BxxxiHBB")  # ndmsg
_NLM_F_REQUEST, _IFLA_IFNAME, _NDA_DST = 1, 3, 1
_IFINFOMSG_BYTES, _MOST_BYTES = 16, 1 << 16
_ABSENT = (errno.ENODEV, errno.ENOENT, errno.ENXIO, errno.ERANGE)


class Links:
    """The interfaces and neighbours of the current network namespace, as they are now.

    Each is asked for once; make another one for another look. Raises StateError when the kernel
    does not answer.
    """

    def __init__(self) -> None:
        self._links: dict[str, Link | None] = {}
        self._neighbours: dict[tuple[int, Address], bytes | None] = {}

    def hop(self, route: Route) -> Hop:
        """The next hop of a route that forwards. Raises ConfigError for an unknown interface."""
        link = self._link(route.interface)
        if link is None:
            raise ConfigError(
                f"route {route.prefix}: there is no interface '{route.interface}'",
                cure=f"there is {', '.join(sorted(name for _, name in socket.if_nameindex()))}",
            )
        via = route.via
        mac = via if via is None or isinstance(via, bytes) else self._mac(link.ifindex, via)
        return Hop(ifindex=link.ifindex, mac=mac, source_mac=link.mac, mtu=link.mtu)

    def _link(self, name: str) -> Link | None:
        if name not in self._links:
            raw = name.encode() + b"\0"
            body = bytes(_IFINFOMSG_BYTES) + _attribute(_IFLA_IFNAME, raw)
            found = _ask(rtnl.RTM_GETLINK, body)
            self._links[name] = next((m for m in found if isinstance(m, Link)), None)
        return self._links[name]

    def _mac(self, ifindex: int, address: Address) -> bytes | None:
        key = ifindex, address
        if key not in self._neighbours:
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            body = _NEIGHBOUR.pack(family, ifindex, 0, 0, 0) + _attribute(_NDA_DST, address.packed)
            found = _ask(rtnl.RTM_GETNEIGH, body)
            self._neighbours[key] = next((m.mac for m in found if isinstance(m, Neighbour)), None)
        return self._neighbours[key]


def _attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(-len(value) % 4)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + padding


def _ask(kind: int, body: bytes) -> list[Message]:
    """What the kernel says about one object; nothing when there is no such object."""
    request = _REQUEST.pack(_REQUEST.size + len(body), kind, _NLM_F_REQUEST, 1, 0) + body
    try:
        with contextlib.closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)) as asking:
            asking.send(request)
            answer = asking.recv(_MOST_BYTES)
    except OSError as error:
        raise StateError(f"the kernel does not answer over netlink: {error.strerror}") from error
    for told, _, data in headers(answer):
        number = -int.from_bytes(data[:4], "little", signed=True)
        if told == NLMSG_ERROR and number not in _ABSENT:
            raise StateError(f"the kernel refuses to tell a next hop: {os.strerror(number)}")
    return list(messages(answer))
