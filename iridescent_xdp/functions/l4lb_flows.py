# SPDX-License-Identifier: GPL-2.0-only
"""Flows as the load balancer sees them: keys, hash, and hot flows and services as code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import numpy as np

from iridescent_xdp.decision.nodes import Field, If, InRange, Node, Result
from iridescent_xdp.decision.prefixes import exact_keys
from iridescent_xdp.functions.l4lb_tables import PROTOCOL_NUMBERS, Address, ServiceId
from iridescent_xdp.functions.maglev import RING_SIZE
from iridescent_xdp.template import Template

NOT_HOT = NO_SERVICE = 0xFFFF_FFFF
GUE_SOURCE_FIRST = 0xC000  # of bpf/include/l4lb_packet.h
ICMP = {4: 1, 6: 58}
_U64 = (1 << 64) - 1
_FAMILY = Field("family")


def words_of(address: Address) -> tuple[int, ...]:
    """Four host-order words; an IPv4 address is in the first."""
    if address.version == 4:
        return int(address), 0, 0, 0
    return tuple(int(address) >> shift & 0xFFFF_FFFF for shift in (96, 64, 32, 0))


def address_of(words: Sequence[int], version: int) -> Address:
    """The reverse of ``words_of``."""
    if version == 4:
        return IPv4Address(int(words[0]))
    joined = 0
    for word in words:
        joined = joined << 32 | int(word)
    return IPv6Address(joined)


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A flow to a service; ``port`` is the source's."""

    source: Address
    port: int
    service: ServiceId

    @classmethod
    def of_key(cls, raw: bytes, template: Template) -> Flow | None:
        """From a ``struct flow_key``; None when it can be no flow to a service."""
        key = np.frombuffer(raw, dtype=template.structs["flow_key"], count=1)[0]
        protocols = {number: name for name, number in PROTOCOL_NUMBERS.items()}
        version, ports = int(key["family"]), int(key["ports"])
        if key["protocol"] not in protocols or version not in (4, 6) or not ports & 0xFFFF:
            return None
        service = ServiceId(
            address=address_of(key["destination"], version),
            port=ports & 0xFFFF,
            protocol=protocols[int(key["protocol"])],
        )
        return cls(source=address_of(key["source"], version), port=ports >> 16, service=service)

    def key(self, template: Template) -> bytes:
        """Its ``struct flow_key``."""
        key = np.zeros(1, dtype=template.structs["flow_key"])
        key["source"], key["destination"] = words_of(self.source), words_of(self.service.address)
        key["ports"], key["family"] = self.ports, self.source.version
        key["protocol"] = PROTOCOL_NUMBERS[self.service.protocol]
        return key.tobytes()

    @property
    def ports(self) -> int:
        """As ``struct flow_key`` has them."""
        return self.port << 16 | self.service.port

    @property
    def hash(self) -> int:
        """``flow_hash`` of bpf/include/l4lb_tables.h."""
        if self.source.version == 4:
            return _mix(int(self.source) << 32 | self.ports)
        address = int(self.source)
        return _mix(_mix(_mix(address >> 64) + (address & _U64)) ^ self.ports)

    @property
    def ring_place(self) -> int:
        """Which place of its service's ring decides about it."""
        return (self.hash >> 32) * RING_SIZE >> 32

    @property
    def gue_port(self) -> int:
        """The UDP source port of its packets in GUE."""
        return GUE_SOURCE_FIRST | self.hash & 0x3FFF


def _mix(x: int) -> int:
    x = x * 0x9E3779B97F4A7C15 & _U64
    x ^= x >> 32
    x = x * 0xBF58476D1CE4E5B9 & _U64
    return x ^ x >> 32


def hot_node(flows: Sequence[tuple[Flow, int]]) -> Node:
    """Code for ``hot_backends``: flows with their backends' numbers, the most frequent first."""
    four, six = (
        exact_keys([_hot_key(f, b) for f, b in flows if f.source.version == v], NOT_HOT)
        for v in (4, 6)
    )
    return _by_family(four, six, NOT_HOT)


def _hot_key(flow: Flow, backend: int) -> tuple[Mapping[Field, int], int]:
    key = dict(_address_fields("source", flow.source))
    key[Field("ports")] = flow.ports
    key |= dict(_address_fields("destination", flow.service.address))
    key[Field("protocol")] = PROTOCOL_NUMBERS[flow.service.protocol]
    return key, flow.gue_port << 16 | backend


def _address_fields(name: str, address: Address) -> Iterator[tuple[Field, int]]:
    count = 1 if address.version == 4 else 4
    for place, word in reversed(list(enumerate(words_of(address)[:count]))):
        yield Field(name, place, in_array=True), word


@dataclass(frozen=True, kw_only=True)
class ServiceKey:
    """A ``struct service_key``: a service, or with ``wide`` any port of an address."""

    address: Address
    port: int
    protocol: int
    wide: bool = False

    def raw(self, template: Template) -> bytes:
        """The struct's bytes."""
        key = np.zeros(1, dtype=template.structs["service_key"])
        key["destination"], key["port"] = words_of(self.address), self.port
        key["family"], key["protocol"] = self.address.version, self.protocol
        key["wide"] = self.wide
        return key.tobytes()


def service_keys(numbers: Mapping[ServiceId, int]) -> dict[ServiceKey, int]:
    """Everything that services are found by, and their numbers.

    Fragments carry no ports: they go to the service of their address and protocol that has the
    lowest port. ICMP asks whether there is any.
    """
    keys: dict[ServiceKey, int] = {}
    for service in sorted(numbers, key=lambda s: (s.port, s.protocol)):
        protocol, address = PROTOCOL_NUMBERS[service.protocol], service.address
        number = numbers[service]
        keys[ServiceKey(address=address, port=service.port, protocol=protocol)] = number
        for kind in (protocol, ICMP[address.version]):
            wide = ServiceKey(address=address, port=0, protocol=kind, wide=True)
            keys.setdefault(wide, number)
    return keys


def services_node(keys: Mapping[ServiceKey, int]) -> Node:
    """Code for ``services_compiled``, which is asked for flows; the map has what is ``wide``."""
    entries: dict[int, list[tuple[Mapping[Field, int], int]]] = {4: [], 6: []}
    for key, number in keys.items():
        if not key.wide:
            entries[key.address.version].append(_service_key(key, number))
    four, six = (exact_keys(entries[version], NO_SERVICE) for version in (4, 6))
    return _by_family(four, six, NO_SERVICE)


def _service_key(key: ServiceKey, number: int) -> tuple[Mapping[Field, int], int]:
    fields = {Field("port"): key.port}
    fields |= dict(_address_fields("destination", key.address))
    # without the last one bcc's compiler makes selects of all compares, more than the stack holds
    fields |= {Field("protocol"): key.protocol, Field("wide"): 0}
    return fields, number


def _by_family(four: Node, six: Node, nothing: int) -> Node:
    if isinstance(four, Result) and isinstance(six, Result):
        return Result(nothing)
    return If(InRange(_FAMILY, 4, 4), four, six)
