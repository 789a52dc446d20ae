# SPDX-License-Identifier: GPL-2.0-only
"""Where functional streams are sent and heard: packet sockets in network namespaces.

A socket hears what comes in, not what its own side sends. At the interface under test it hears
what the XDP program let through to the stack, with the VLAN tag that the kernel has taken off put
back in its place.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.kernel.program import Program
from traffic.testbed import inside

# <linux/if_packet.h>, <linux/if_ether.h>
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_AUXDATA, _PACKET_MR_PROMISC = 263, 1, 8, 1
_PACKET_STATISTICS = 6
_ETH_P_ALL = 3
_AUXDATA = struct.Struct("=IIIHHHH")  # status, len, snaplen, mac, net, vlan_tci, vlan_tpid
_STATUS_VLAN_VALID, _STATUS_TPID_VALID = 1 << 4, 1 << 6
_ETHERTYPE_VLAN = 0x8100
_BUFFER_BYTES = 32 << 20  # more than net.core.rmem_max: a frame of a NIC counts as 2 kB or more
_SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>
_FRAME_BYTES = 1 << 16
# r0 = XDP_PASS; exit
_PASS_ALL = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)

WIRE, STACK = "wire", "stack"


class Place(NamedTuple):
    """An interface in a named network namespace."""

    namespace: str
    interface: str


class Seen(NamedTuple):
    """A frame that came in: at which port, and when (monotonic)."""

    port: str
    time_ns: int
    data: bytes


class Port:
    """A packet socket on one interface; owns it."""

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        with inside(place.namespace):
            index = find_interface(place.interface).index
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            try:
                self._set_up(index)
                self._socket.bind((place.interface, _ETH_P_ALL))
            except OSError:
                self._socket.close()
                raise

    def _set_up(self, index: int) -> None:
        promiscuous = struct.pack("iHH8s", index, _PACKET_MR_PROMISC, 0, b"")
        self._socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, promiscuous)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def send(self, frame: bytes) -> None:
        """One frame out of the interface. Raises OSError."""
        self._socket.send(frame)

    def received(self) -> Iterator[Seen]:
        """Everything that came in since, without waiting."""
        while True:
            try:
                data, extra, _, address = self._socket.recvmsg(_FRAME_BYTES, 256)
            except BlockingIOError:
                return
            if address[2] != socket.PACKET_OUTGOING:
                yield Seen(self.name, time.monotonic_ns(), _with_tag(data, extra))

    def lost(self) -> int:
        """Frames that came in and found no room, since this was asked last."""
        told = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("=II", told)[1])  # tp_packets, tp_drops

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def _with_tag(data: bytes, extra: list[tuple[int, int, bytes]]) -> bytes:
    """The frame as it was on the wire: the kernel tells the outer tag beside the frame."""
    for level, kind, value in extra:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and len(value) >= _AUXDATA.size:
            status, *_, tci, tpid = _AUXDATA.unpack_from(value)
            if status & _STATUS_VLAN_VALID:
                kept = tpid if status & _STATUS_TPID_VALID else _ETHERTYPE_VLAN
                return data[:12] + struct.pack("!HH", kept, tci) + data[12:]
    return data


@dataclass(frozen=True)
class Ports:
    """The sender (it hears answers too), the stack of the device under test, and far ends.

    Live: ``open`` makes it, ``close`` gives the sockets back.
    """

    wire: Port
    stack: Port
    outs: tuple[Port, ...]

    @classmethod
    def open(
        cls, sender: Place, under_test: Place, outs: Mapping[str, Place] | None = None
    ) -> Self:
        """``outs`` names the far ends of interfaces that the device under test forwards to."""
        with contextlib.ExitStack() as stack:

            def port(name: str, place: Place) -> Port:
                made = Port(name, place)
                stack.callback(made.close)
                return made

            found = cls(
                port(WIRE, sender),
                port(STACK, under_test),
                tuple(port(name, place) for name, place in (outs or {}).items()),
            )
            stack.pop_all()
            return found

    @property
    def all(self) -> tuple[Port, ...]:
        """Every port that is heard."""
        return (self.wire, self.stack, *self.outs)

    def hear(self, seconds: float) -> list[Seen]:
        """What came in, in the order of the ports; waits for the first frame, at most so long."""
        select.select(self.all, [], [], max(0.0, seconds))
        return [seen for port in self.all for seen in port.received()]

    def close(self) -> None:
        """Give all sockets back."""
        for port in self.all:
            port.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def receiving_from_xdp(*places: Place) -> Iterator[None]:
    """A veth takes what its other end sends from XDP only where a program runs: one that passes."""
    with contextlib.ExitStack() as stack:
        for place in places:
            program = stack.enter_context(Program.load(_PASS_ALL, "pass_all"))
            with inside(place.namespace):
                link = Link.attach(program, find_interface(place.interface), "native")
            stack.callback(link.close)
        yield


def mac_of(place: Place) -> str:
    """An interface's own MAC address."""
    from pyroute2 import IPRoute

    with inside(place.namespace), IPRoute() as route:
        (index,) = route.link_lookup(ifname=place.interface)
        return str(route.get_links(index)[0].get_attr("IFLA_ADDRESS"))
