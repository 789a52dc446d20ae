# SPDX-License-Identifier: GPL-2.0-only
"""Rare cases of the load balancer that random packets do not meet: carries of the outer checksum,
flows that share a place of the cache, numbers that are used again, every role's program."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from typing import Literal

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.functions import l4lb_places
from iridescent_xdp.functions.l4lb import L4lbFunction
from iridescent_xdp.functions.l4lb_tables import (
    Backend,
    L4lbTables,
    RemoveBackend,
    Service,
    SetBackend,
)
from iridescent_xdp.preflight import Sandbox, on_cpu
from iridescent_xdp.template import find_template, read_template
from iridescent_xdp.toolchain.base import Role
from tests.kernel.fixtures import generic_of
from tests.kernel.l4lb_scenes import SETTINGS, service
from tests.unit.l4lb_model import Balancer, hash_of
from traffic.packet_build import Flow, Shape, checksum, frame

CACHED_FLOWS = 16_384
SERVICES = (
    service("203.0.113.1", 80, "tcp", "ipip", 1),
    service("203.0.113.2", 80, "tcp", "gue", 4),
    service("203.0.113.2", 80, "udp", "ipip", 4),
    service("2001:db8:f::1", 80, "tcp", "ipip", 4),
    service("2001:db8:f::1", 80, "udp", "gue", 4),
)
TABLES = L4lbTables(services=SERVICES, settings=SETTINGS)
CLIENT = int(ip_address("198.51.100.7"))


@pytest.fixture
def made() -> Iterator[tuple[Builder, Sandbox, L4lbFunction]]:
    function = L4lbFunction(read_template(find_template("l4lb")), TABLES)
    builder = Builder("llvm")
    with closing(Sandbox(builder, function, generic_of(function))) as sandbox, on_cpu(0):
        yield builder, sandbox, function


def flow(number: int, source: int, port: int) -> Flow:
    key = SERVICES[number].id
    return Flow(
        family=4 if key.address.version == 4 else 6,
        source=source,
        destination=int(key.address),
        protocol={"tcp": 6, "udp": 17}[key.protocol],
        source_port=port,
        destination_port=key.port,
    )


@pytest.mark.parametrize("order", ["big", "little"])
def test_outer_checksums_that_carry_twice(order: Literal["big", "little"]) -> None:
    """Headers whose sum carries again when it is folded, in the byte order of the wire or of the
    processor: for each TOS and length there is an address of a backend that makes it so."""
    offered = [(tos, length) for tos in (0, 127, 184, 255) for length in (60, 99, 224, 480, 1400)]
    wanted = [packet for packet in offered if _total(*packet, order) >> 16]
    assert len(wanted) >= 8
    services = tuple(
        Service(
            id=replace(SERVICES[0].id, port=1000 + number),
            backends=(Backend(address=_carrying(tos, length, order)),),
        )
        for number, (tos, length) in enumerate(wanted)
    )
    tables = L4lbTables(services=services, settings=SETTINGS)
    function = L4lbFunction(read_template(find_template("l4lb")), tables)
    with closing(Sandbox(Builder("llvm"), function, generic_of(function))) as sandbox:
        for number, (tos, length) in enumerate(wanted):
            data = toss(1000 + number, tos, length)
            found = sandbox.generic.run(data).data
            assert found == Balancer(tables).handle(data)[1]
            assert sum(struct.unpack("!10H", found[14:34])) % 0xFFFF == 0
            assert found[24:26] != b"\xff\xff"


def _carrying(tos: int, length: int, order: Literal["big", "little"]) -> IPv4Address:
    """A backend 10.0.x.y with which the sum of the outer header ends in 0xffff."""
    last = 0xFFFF - _total(tos, length, order) & 0xFFFF
    return IPv4Address(b"\x0a\0" + last.to_bytes(2, order))


def _total(tos: int, length: int, order: Literal["big", "little"]) -> int:
    """The sum of the outer header without checksum and the lower half of 10.0.x.y."""
    assert SETTINGS.source_address4 is not None
    fixed = struct.pack("!BBHHHH", 0x45, tos, length + 20, 0, 0x4000, 0x4004)
    header = fixed + SETTINGS.source_address4.packed + b"\x0a\0"
    return sum(int.from_bytes(header[at : at + 2], order) for at in range(0, 16, 2))


def toss(port: int, tos: int, length: int) -> bytes:
    """A packet of so many bytes of IP to a port of the first service's address."""
    to = replace(flow(0, CLIENT, 999), destination_port=port)
    data = bytearray(frame(to, Shape(size_bytes=length + 14)))
    data[15], data[24:26] = tos, b"\0\0"
    data[24:26] = struct.pack("!H", checksum(int.from_bytes(data[14:34])))
    return bytes(data)


def sharing() -> list[Flow]:
    """Flows in one place of the cache, any two of which differ in one thing only."""
    place = hash_of(IPv4Address(CLIENT), (999, 80)) % CACHED_FLOWS
    ports = [
        p for p in range(65536) if hash_of(IPv4Address(CLIENT), (p, 80)) % CACHED_FLOWS == place
    ]
    sources = [
        CLIENT + n
        for n in range(1, 300_000)
        if hash_of(IPv4Address(CLIENT + n), (999, 80)) % CACHED_FLOWS == place
    ]
    flows = [flow(number, CLIENT, port) for number in range(3) for port in ports[:4]]
    assert len(ports) > 1
    assert len(sources) > 3
    return flows + [flow(1, source, 999) for source in sources]


def sharing6() -> list[Flow]:
    """IPv6: the same client and ports to two protocols, and sources of one word's difference."""
    base = int(ip_address("2001:db8:1:2:3:4:5:6"))
    return [flow(number, base ^ bit, 999) for number in (3, 4) for bit in (0, *_one_bits())]


def _one_bits() -> list[int]:
    return [1 << shift for shift in (0, 31, 32, 63, 64, 95, 96, 100)]


def test_flows_that_share_a_place_of_the_cache(
    made: tuple[Builder, Sandbox, L4lbFunction],
) -> None:
    builder, sandbox, function = made
    model, flows = Balancer(TABLES), sharing() + sharing6()
    variant = generic_of(function).with_values(flow_cache=1)
    frames = [frame(f, Shape(), n) for n, f in enumerate(flows)]
    with sandbox.state.load(builder.variant(function, variant, Role.STEADY), "cache") as program:
        for data in [d for first in frames for other in frames[:16] for d in (first, other, first)]:
            found = program.run(data)
            assert (found.verdict, found.data) == model.handle(data)


def test_a_number_that_is_used_again_is_another_backend(
    made: tuple[Builder, Sandbox, L4lbFunction], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, sandbox, function = made
    key, gone = SERVICES[1].id, SERVICES[1].backends[1].address
    frames = [frame(flow(1, CLIENT + n, 999), Shape()) for n in range(200)]
    model = Balancer(TABLES)
    for data in frames:
        assert sandbox.generic.run(data).data == model.handle(data)[1]
    number = function.places.numbers[key, gone]
    function.apply(sandbox.state, [RemoveBackend(service=key, address=gone)])
    model.change(function.tables)
    monkeypatch.setattr(l4lb_places, "MAX_BACKENDS", function.places.used)  # all were used
    new = Backend(address=ip_address("10.200.0.1"), weight=2)
    function.apply(sandbox.state, [SetBackend(service=key, backend=new)])
    model.change(function.tables)
    assert function.places.numbers[key, new.address] == number
    for data in frames:
        assert sandbox.generic.run(data).data == model.handle(data)[1]
    rows = {row.name: row.packets for row in function.counters(sandbox.state)}
    counted = model.backends[key, new.address][0]
    assert rows[f"service {key} backend {new.address}"] == counted > 0
    assert rows["forwarded"] == 2 * len(frames)


@pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)
def test_every_role_loads(builder: Builder, role: Role) -> None:
    function = L4lbFunction(read_template(find_template("l4lb")), TABLES)
    generic = generic_of(function)
    with closing(Sandbox(builder, function, generic)) as sandbox:
        corner = {"flow_cache": 1, "service_layout": 1, "ipv6": 0}
        for values in ({}, corner) if builder.toolchain.name == "llvm" else ({},):
            insns = builder.variant(function, generic.with_values(**values), role)
            sandbox.state.load(insns, f"role_{role.value}").close()
