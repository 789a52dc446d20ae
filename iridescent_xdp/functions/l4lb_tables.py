# SPDX-License-Identifier: GPL-2.0-only
"""The load balancer's tables: services, their backends, and changes to them. Inert."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, get_args

from iridescent_xdp.errors import ConfigError

Address = IPv4Address | IPv6Address
Protocol = Literal["tcp", "udp"]
Encapsulation = Literal["ipip", "gue"]

PROTOCOL_NUMBERS: dict[Protocol, int] = {"tcp": 6, "udp": 17}
MAX_PORT = 65_535
MAX_WEIGHT = 65_535
MAX_SERVICES = 512  # MAX_SERVICES of bpf/include/l4lb_tables.h
MAX_BACKENDS = 4_096  # MAX_BACKENDS there: of all services together
MAX_SERVICE_BACKENDS = 1_024  # of one service; a ring then takes 50 ms to build
MAX_CONNECTIONS = 16_777_216


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Where packets of a service are sent. Of weight 0 or ``draining`` it gets no new flows."""

    address: Address
    weight: int = 1
    draining: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= MAX_WEIGHT:
            raise ConfigError(
                f"0 <= weight <= {MAX_WEIGHT} must hold for backend {self.address}, "
                f"got weight={self.weight}"
            )

    @property
    def share(self) -> int:
        """Its weight on the ring."""
        return 0 if self.draining else self.weight


@dataclass(frozen=True, kw_only=True)
class ServiceId:
    """What a service is found by."""

    address: Address
    port: int
    protocol: Protocol

    def __post_init__(self) -> None:
        if not 1 <= self.port <= MAX_PORT:
            raise ConfigError(f"1 <= port <= {MAX_PORT} must hold, got port={self.port}")
        if self.protocol not in PROTOCOL_NUMBERS:
            raise ConfigError(f"protocol must be 'tcp' or 'udp', got {self.protocol!r}")

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}/{self.protocol}"


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service and its backends, all of the service's family; at least one gets new flows.

    Raises ConfigError, as all types here do, when a rule is broken.
    """

    id: ServiceId
    backends: tuple[Backend, ...]
    encapsulation: Encapsulation = "ipip"

    def __post_init__(self) -> None:
        problem = service_problem(self.id, self.backends)
        if problem is not None:
            raise ConfigError(f"service {self.id}: {problem[0]}", cure=problem[1])
        if self.encapsulation not in get_args(Encapsulation):
            raise ConfigError(f"encapsulation must be 'ipip' or 'gue', got {self.encapsulation!r}")


def service_problem(service: ServiceId, backends: Sequence[Backend]) -> tuple[str, str] | None:
    """What is wrong with these backends, and the cure; None when all is well."""
    if not backends:
        return "it has no backends", "give it at least one"
    if len(backends) > MAX_SERVICE_BACKENDS:
        return (
            f"a service has at most {MAX_SERVICE_BACKENDS:,} backends, got {len(backends):,}",
            "spread them over several services",
        )
    for backend in backends:
        if backend.address.version != service.address.version:
            return (
                f"backend {backend.address} is of the other family",
                f"give it an IPv{service.address.version} address",
            )
    address, times = Counter(b.address for b in backends).most_common(1)[0]
    if times > 1:
        return f"backend {address} is there {times} times", "keep one, with a higher weight"
    if not any(backend.share for backend in backends):
        return (
            "the weights of its backends that do not drain sum to zero",
            "give one of them a weight of at least 1",
        )
    return None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``[interface.X.l4lb]``: outer source addresses, where encapsulated packets go, table size.

    ``gateway_mac`` has six bytes. ``connections`` is the room for flows.
    """

    gateway_mac: bytes = bytes(6)
    source_address4: IPv4Address | None = None
    source_address6: IPv6Address | None = None
    connections: int = 65_536

    def __post_init__(self) -> None:
        if len(self.gateway_mac) != 6 or self.gateway_mac[0] & 1:
            raise ConfigError(
                f"gateway_mac must be six bytes of one station, got {self.gateway_mac.hex(':')}"
            )
        if not 1 <= self.connections <= MAX_CONNECTIONS:
            raise ConfigError(
                f"1 <= connections <= {MAX_CONNECTIONS} must hold, got {self.connections}"
            )

    def source(self, version: int) -> Address | None:
        """The outer source address of a family."""
        return self.source_address4 if version == 4 else self.source_address6


@dataclass(frozen=True, kw_only=True)
class L4lbTables:
    """What the load balancer is told."""

    services: tuple[Service, ...] = field(default=(), repr=False)
    settings: Settings = Settings()

    def __post_init__(self) -> None:
        twice = [i for i, n in Counter(s.id for s in self.services).items() if n > 1]
        if twice:
            raise ConfigError(f"service {twice[0]} is there twice", cure="keep one of the two")
        if len(self.services) > MAX_SERVICES:
            raise ConfigError(f"at most {MAX_SERVICES} services, got {len(self.services):,}")
        total = sum(len(s.backends) for s in self.services)
        if total > MAX_BACKENDS:
            raise ConfigError(f"at most {MAX_BACKENDS:,} backends of all services, got {total:,}")
        for version in {s.id.address.version for s in self.services}:
            if self.settings.source(version) is None:
                raise ConfigError(
                    f"services of IPv{version} need an outer source address",
                    cure=f"set source_address{version}",
                )


# -- changes of the control plane ----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SetService:
    """Add a service, or put another in its place."""

    service: Service


@dataclass(frozen=True, kw_only=True)
class RemoveService:
    """Its packets are the kernel's again."""

    service: ServiceId


@dataclass(frozen=True, kw_only=True)
class SetBackend:
    """Add a backend to a service, or change its weight and whether it drains."""

    service: ServiceId
    backend: Backend


@dataclass(frozen=True, kw_only=True)
class DrainBackend:
    """No new flows; those in the connection table stay. ``draining`` false ends it."""

    service: ServiceId
    address: Address
    draining: bool = True


@dataclass(frozen=True, kw_only=True)
class RemoveBackend:
    """Its flows go to the ring."""

    service: ServiceId
    address: Address


Change = SetService | RemoveService | SetBackend | DrainBackend | RemoveBackend


def changed(tables: L4lbTables, changes: Sequence[object]) -> L4lbTables:
    """The tables after ``changes``, in their order. Raises ConfigError; only the result of all
    of them has to be right: a service's only backend can be replaced in two steps."""
    kept: dict[ServiceId, Service | _Draft] = {s.id: s for s in tables.services}
    for change in changes:
        if isinstance(change, SetService):
            kept[change.service.id] = change.service
            continue
        if not isinstance(change, Change):
            raise ConfigError(f"no change of a load balancer's tables: {change!r}")
        if change.service not in kept:
            raise ConfigError(f"there is no service {change.service}", cure="add it first")
        if isinstance(change, RemoveService):
            del kept[change.service]
            continue
        draft = kept[change.service]
        if isinstance(draft, Service):
            draft = _Draft(draft.encapsulation, {b.address: b for b in draft.backends})
            kept[change.service] = draft
        _change_backend(draft.backends, change)
    made = (s if isinstance(s, Service) else s.made(key) for key, s in kept.items())
    return replace(tables, services=tuple(made))


@dataclass
class _Draft:
    """A service while its backends change."""

    encapsulation: Encapsulation
    backends: dict[Address, Backend]

    def made(self, key: ServiceId) -> Service:
        backends = tuple(self.backends.values())
        return Service(id=key, encapsulation=self.encapsulation, backends=backends)


def _change_backend(
    backends: dict[Address, Backend], change: SetBackend | DrainBackend | RemoveBackend
) -> None:
    if isinstance(change, SetBackend):
        backends[change.backend.address] = change.backend
        return
    if change.address not in backends:
        raise ConfigError(f"service {change.service} has no backend {change.address}")
    if isinstance(change, RemoveBackend):
        del backends[change.address]
    else:
        old = backends[change.address]
        backends[change.address] = replace(old, draining=change.draining)
