# SPDX-License-Identifier: GPL-2.0-only
"""All of the kernel's routes, neighbours, links, rules and next-hop objects, asked at once."""

from __future__ import annotations

import errno
import os
import socket
from struct import Struct

from pyroute2.netlink import rtnl

from iridescent_xdp.functions.router_messages import RTM_GETNEXTHOP, Message, messages
from iridescent_xdp.kernel.rtnetlink import (
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    headers,
)

CHUNK_BYTES = 1 << 18  # more than a message or a part of an answer has
_DUMP_TRIES = 5
_RCVBUFFORCE = 33
# request, family, bytes of its header, and whether a kernel may be without it
_REQUESTS = (
    (rtnl.RTM_GETLINK, socket.AF_UNSPEC, 16, False),
    (rtnl.RTM_GETADDR, socket.AF_INET, 8, False),
    (rtnl.RTM_GETRULE, socket.AF_INET, 12, True),
    (rtnl.RTM_GETRULE, socket.AF_INET6, 12, True),
    (RTM_GETNEXTHOP, socket.AF_UNSPEC, 8, True),
    (rtnl.RTM_GETNEIGH, socket.AF_INET, 12, False),
    (rtnl.RTM_GETNEIGH, socket.AF_INET6, 12, True),
    (rtnl.RTM_GETROUTE, socket.AF_INET, 12, False),
    (rtnl.RTM_GETROUTE, socket.AF_INET6, 12, True),
)
_REQUEST = Struct("=IHHII")
_NLM_F_REQUEST_DUMP = 0x301


def open_socket(receive_bytes: int) -> socket.socket:
    """An rtnetlink socket of this thread's network namespace. Raises OSError."""
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    try:
        opened.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, receive_bytes)
    except PermissionError:  # without CAP_NET_ADMIN as much as net.core.rmem_max allows
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    opened.bind((0, 0))
    return opened


def dump_all(asking: socket.socket) -> tuple[list[Message], bool]:
    """The whole state, and whether none of it changed while it was read. Raises OSError."""
    found: list[Message] = []
    all_whole = True
    for request in _REQUESTS:
        part, whole = _dump(asking, *request)
        for _ in range(_DUMP_TRIES - 1):
            if whole:
                break
            part, whole = _dump(asking, *request)
        found += part
        all_whole = all_whole and whole
    return found, all_whole


def _dump(
    asking: socket.socket, kind: int, family: int, size: int, optional: bool
) -> tuple[list[Message], bool]:
    """All objects of a kind, and whether none changed meanwhile."""
    body = bytes((family,)) + bytes(size - 1)
    asking.send(_REQUEST.pack(_REQUEST.size + size, kind, _NLM_F_REQUEST_DUMP, 1, 0) + body)
    found: list[Message] = []
    whole = True
    while True:
        datagram = asking.recv(CHUNK_BYTES)
        found += messages(datagram)  # the last part holds some too
        for told, flags, answer in headers(datagram):
            whole = whole and not flags & NLM_F_DUMP_INTR
            if told == NLMSG_DONE:
                return found, whole
            if told == NLMSG_ERROR:
                number = -int.from_bytes(answer[:4], "little", signed=True)
                if optional and number in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
                    return found, True
                raise OSError(number, os.strerror(number))
