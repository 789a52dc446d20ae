# SPDX-License-Identifier: GPL-2.0-only
"""The load balancer on an interface: packets go out through the driver and come back to where
gateway, client and backends are, in the namespace at the other end of the veth pair."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address
from random import Random

import pytest
from pyroute2 import IPRoute
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether

from iridescent_xdp.builder import Builder
from iridescent_xdp.config.model import InterfaceConfig, SearchConfig
from iridescent_xdp.controller import Controller
from iridescent_xdp.functions.l4lb_tables import (
    Backend,
    L4lbTables,
    RemoveBackend,
    Service,
    ServiceId,
    SetBackend,
)
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.plan import make_plan
from iridescent_xdp.preflight import on_cpu
from tests.kernel.l4lb_scenes import SETTINGS
from tests.kernel.live import CONFIG_PATH, operated
from traffic.corpus_l4lb import flow_to
from traffic.packet_build import Flow, Shape, frame
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, Testbed, inside

SYN, ACK = 0x02, 0x10
ETH_P_ALL = 3
WAIT_S = 5.0
CLIENT, WEB = "198.51.100.7", ServiceId(address=ip_address("203.0.113.80"), port=80, protocol="tcp")
ONE, TWO, THREE = map(ip_address, ("10.0.0.1", "10.0.0.2", "10.0.0.3"))
PASS_ALL = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)  # r0 = XDP_PASS; exit


class Far:
    """The namespace at the other end: sends frames, and sees what comes back."""

    def __init__(self, bed: Testbed) -> None:
        with inside(bed.generator):
            interface = find_interface(GENERATOR_SIDE)
            with IPRoute() as route:
                route.addr("add", index=interface.index, address=CLIENT, prefixlen=24)
                route.route("add", dst=f"{WEB.address}/32", oif=interface.index)
                mac = route.get_links(interface.index)[0].get_attr("IFLA_ADDRESS")
            self.mac = bytes.fromhex(mac.replace(":", ""))
            # a veth takes what its peer sends from XDP only if it has a program, too
            self._program = Program.load(PASS_ALL, "pass_all")
            self._link = Link.attach(self._program, interface, "native")
            self._frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self._frames.bind((GENERATOR_SIDE, 0))
            self.icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)

    def send(self, frames: Sequence[bytes]) -> list[bytes]:
        """What comes back for ``frames``, one for each."""
        seen: list[bytes] = []
        for data in frames:
            self._frames.send(data)
            seen += self._read(0.0)
        until = time.monotonic() + WAIT_S
        while len(seen) < len(frames) and time.monotonic() < until:
            seen += self._read(0.1)
        assert len(seen) == len(frames)
        return seen

    def _read(self, wait_s: float) -> list[bytes]:
        found = []
        while select.select([self._frames], [], [], wait_s)[0]:
            data, (_, _, kind, *_) = self._frames.recvfrom(2048)
            if kind != socket.PACKET_OUTGOING:
                found.append(data)
        return found

    def close(self) -> None:
        self._frames.close()
        self.icmp.close()
        self._link.close()
        self._program.close()


@pytest.fixture
def far(bed: Testbed) -> Iterator[Far]:
    """Packets come on one CPU, as a NIC would have it: each CPU has a connection table."""
    with contextlib.closing(Far(bed)) as made, on_cpu(0):
        yield made


@contextlib.contextmanager
def balancer(bed: Testbed, far: Far) -> Iterator[Controller]:
    """The load balancer under a controller; the gateway is the far end."""
    backends = (Backend(address=ONE), Backend(address=TWO))
    tables = L4lbTables(
        services=(Service(id=WEB, backends=backends),),
        settings=replace(SETTINGS, gateway_mac=far.mac),
    )
    config = InterfaceConfig(
        name=DUT_SIDE, function="l4lb", mode="native", search=SearchConfig(), tables=tables
    )
    with operated(bed, Builder("llvm"), make_plan(config, CONFIG_PATH)) as controller:
        yield controller


def flows(count: int, seed: int) -> list[Flow]:
    rng = Random(seed)
    return [flow_to(WEB, rng) for _ in range(count)]


def frames_of(chosen: Sequence[Flow], flags: int) -> list[bytes]:
    return [frame(replace(flow, tcp_flags=flags), Shape(), n) for n, flow in enumerate(chosen)]


def decapsulated(seen: Sequence[bytes], gateway: bytes) -> dict[bytes, str]:
    """Each inner packet, and the backend that it came to; scapy reads the outer headers."""
    found = {}
    for data in seen:
        outer = Ether(data)
        assert bytes.fromhex(outer.dst.replace(":", "")) == gateway
        assert (outer[IP].proto, outer[IP].src) == (4, str(SETTINGS.source_address4))
        told = outer[IP].chksum
        del outer[IP].chksum
        assert IP(bytes(outer[IP])).chksum == told
        found[data[34:]] = outer[IP].dst
    return found


def backends_for(far: Far, sent: Sequence[bytes]) -> list[str]:
    """The backend of each frame; the inner packet is the one that was sent."""
    found = decapsulated(far.send(sent), far.mac)
    return [found[data[14:]] for data in sent]


def test_flows_stay_while_a_backend_is_added(bed: Testbed, far: Far) -> None:
    chosen = flows(200, seed=1)
    with balancer(bed, far) as controller:
        function, state = controller.plan.function, controller.state
        before = backends_for(far, frames_of(chosen, SYN))
        assert set(before) == {str(ONE), str(TWO)}
        function.apply(state, [SetBackend(service=WEB, backend=Backend(address=THREE, weight=2))])
        assert backends_for(far, frames_of(chosen, ACK)) == before
        new = backends_for(far, frames_of(flows(200, seed=2), SYN))
        assert 60 < new.count(str(THREE)) < 140
        function.apply(state, [RemoveBackend(service=WEB, address=ONE)])
        after = backends_for(far, frames_of(chosen, ACK))
        assert str(ONE) not in after
        assert all(b == a for a, b in zip(after, before, strict=True) if b == str(TWO))
        rows = {row.name: row.packets for row in function.counters(state)}
        assert rows["forwarded"] == rows[f"service {WEB}"] == 800


def test_a_service_answers_pings(bed: Testbed, far: Far) -> None:
    """The client's kernel accepts the answers, so addresses and both checksums are right."""
    with balancer(bed, far) as controller:
        for number, size in enumerate((0, 1, 56, 1000)):
            request = ICMP(id=os.getpid() & 0xFFFF, seq=number) / os.urandom(size)
            far.icmp.sendto(bytes(request), (str(WEB.address), 0))
            ready, _, _ = select.select([far.icmp], [], [], WAIT_S)
            assert ready, f"no answer to a ping of {size} bytes"
            answer = IP(far.icmp.recv(2048))
            assert answer.src == str(WEB.address)
            assert (answer[ICMP].type, answer[ICMP].code, answer[ICMP].seq) == (0, 0, number)
            assert bytes(answer[ICMP].payload) == bytes(request.payload)
        rows = {r.name: r.packets for r in controller.plan.function.counters(controller.state)}
        assert rows["echo answered"] == 4
