# SPDX-License-Identifier: GPL-2.0-only
"""Which interfaces can send what XDP redirects to them (generic netlink "netdev", Linux 6.3).

A redirect to an interface whose driver cannot do that loses the packet without a word: a bridge,
a VLAN or tunnel device, and a veth device whose other end has neither an XDP program nor GRO.
Source of the numbers: <linux/netdev.h>, <linux/genetlink.h>.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from struct import Struct

from iridescent_xdp.kernel.rtnetlink import (
    NLMSG_DONE,
    NLMSG_ERROR,
    Attributes,
    attributes,
    headers,
)

NDO_XMIT = 1 << 2  # NETDEV_XDP_ACT_NDO_XMIT
_GENERIC, _CONTROL_FAMILY, _SOL_NETLINK, _ADD_MEMBERSHIP = 16, 16, 270, 1
_GETFAMILY, _DEV_GET = 3, 1
_NOTIFIED = (2, 4)  # NETDEV_CMD_DEV_ADD_NTF, NETDEV_CMD_DEV_CHANGE_NTF
_REQUEST, _REQUEST_DUMP = 0x1, 0x301
_HEADER = Struct("=IHHIIBBxx")
_CHUNK_BYTES = 1 << 16


class Transmitters:
    """Interfaces of this thread's network namespace, and whether each can send; followed.

    On an older kernel there is nothing to know: all lists are empty. Raises OSError.
    """

    def __init__(self) -> None:
        self._asking, self._events = _open(), _open()
        self._events.setblocking(False)
        self._family, group = self._find_family()
        if self._family:
            self._events.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """Readable when there is something for ``waiting``."""
        return self._events.fileno()

    def all(self) -> list[tuple[int, bool]]:
        """Each interface's index, and whether it can send what is redirected to it."""
        if not self._family:
            return []
        found = self._ask(self._family, _REQUEST_DUMP, _DEV_GET, b"")
        return [_told(attributes(body, 4)) for body in found]

    def waiting(self) -> list[tuple[int, bool]]:
        """What changed, in order; everything when more changed than the socket holds."""
        found: list[tuple[int, bool]] = []
        while True:
            try:
                datagram = self._events.recv(_CHUNK_BYTES)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                return self.all()
            for kind, _, body in headers(datagram):
                if kind == self._family and body[0] in _NOTIFIED:
                    found.append(_told(attributes(body, 4)))

    def _find_family(self) -> tuple[int, int]:
        """Number of the family and of its group for changes, 0 and 0 when there is none."""
        name = b"netdev\0"
        asked = (4 + len(name)).to_bytes(2, "little") + b"\2\0" + name + b"\0"
        try:
            body = next(self._ask(_CONTROL_FAMILY, _REQUEST, _GETFAMILY, asked))
        except FileNotFoundError:
            return 0, 0
        found = attributes(body, 4)
        for raw in attributes(found.get(7, b"")).values():
            group = attributes(raw)
            if group.get(1) == b"mgmt\0":
                return int.from_bytes(found[1], "little"), int.from_bytes(group[2], "little")
        return 0, 0

    def _ask(self, family: int, flags: int, command: int, body: bytes) -> Iterator[bytes]:
        size = _HEADER.size + len(body)
        self._asking.send(_HEADER.pack(size, family, flags, 1, 0, command, 1) + body)
        while True:
            for kind, _, answer in headers(self._asking.recv(_CHUNK_BYTES)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    number = -int.from_bytes(answer[:4], "little", signed=True)
                    raise OSError(number, os.strerror(number))
                yield answer

    def close(self) -> None:
        """Unsubscribe."""
        self._asking.close()
        self._events.close()


def _open() -> socket.socket:
    flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    opened = socket.socket(socket.AF_NETLINK, flags, _GENERIC)
    opened.bind((0, 0))
    return opened


def _told(found: Attributes) -> tuple[int, bool]:
    features = int.from_bytes(found.get(3, b""), "little")
    return int.from_bytes(found[1], "little"), bool(features & NDO_XMIT)
