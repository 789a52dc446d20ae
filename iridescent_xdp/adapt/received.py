# SPDX-License-Identifier: GPL-2.0-only
"""How many packets an interface received, asked in some microseconds (RTM_GETSTATS, Linux 4.7).

Needed all the time, also while nobody looks at packets; asking for the whole link, as pyroute2
does, takes milliseconds. Source of the numbers: <linux/rtnetlink.h>, <linux/if_link.h>.
"""

from __future__ import annotations

import os
import socket
from struct import Struct

from iridescent_xdp.kernel.rtnetlink import NLMSG_ERROR, attributes, headers

_GETSTATS, _REQUEST = 94, 0x1
_LINK_64 = 1  # IFLA_STATS_LINK_64: struct rtnl_link_stats64, rx_packets first
_HEADER, _QUESTION = Struct("=IHHII"), Struct("=BBHII")
_CHUNK_BYTES = 1 << 14


class Received:
    """Counts of one interface; the socket stays in the namespace of the thread that makes it."""

    def __init__(self, ifindex: int) -> None:
        flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, flags, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        size = _HEADER.size + _QUESTION.size
        self._question = _HEADER.pack(size, _GETSTATS, _REQUEST, 1, 0)
        self._question += _QUESTION.pack(0, 0, 0, ifindex, 1 << (_LINK_64 - 1))

    def packets(self) -> int:
        """Packets received since the interface was made. Raises OSError when it is gone."""
        self._socket.send(self._question)
        for kind, _, body in headers(self._socket.recv(_CHUNK_BYTES)):
            if kind == NLMSG_ERROR:
                number = -int.from_bytes(body[:4], "little", signed=True)
                raise OSError(number, f"statistics of the interface: {os.strerror(number)}")
            counted = attributes(body, _QUESTION.size).get(_LINK_64)
            if counted is not None:
                return int.from_bytes(counted[:8], "little")
        return 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
