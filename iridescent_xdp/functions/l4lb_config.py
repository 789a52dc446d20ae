# SPDX-License-Identifier: GPL-2.0-only
"""The load balancer's own tables of the operator file: ``services`` and ``l4lb``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from iridescent_xdp.config.check import checked, checked_part, table
from iridescent_xdp.config.model import Section
from iridescent_xdp.config.problems import KeyPath, Plain, Problems, show_path, show_value
from iridescent_xdp.config.registry import TableReader
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.l4lb_tables import (
    MAX_BACKENDS,
    MAX_CONNECTIONS,
    MAX_PORT,
    MAX_SERVICE_BACKENDS,
    MAX_SERVICES,
    MAX_WEIGHT,
    Address,
    Backend,
    L4lbTables,
    Service,
    ServiceId,
    Settings,
    service_problem,
)

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def parse_address(value: object) -> Address:
    """One station's address. Raises Plain."""
    try:
        found = ip_address(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None:
        what = f"must be an IPv4 or IPv6 address in quotes, got {show_value(value)}"
        raise Plain(what, 'for example "192.0.2.80" or "2001:db8::80"')
    if found.is_multicast or found.is_unspecified or found.is_loopback:
        raise Plain(
            f"must be the address of one station, got {show_value(value)}",
            "use a unicast address that other stations can reach",
        )
    return found


def _parse_source4(value: object) -> IPv4Address | None:
    found = None if value is None else parse_address(value)
    if isinstance(found, IPv6Address):
        raise Plain(f"must be an IPv4 address, got {show_value(value)}", "use source_address6")
    return found


def _parse_source6(value: object) -> IPv6Address | None:
    found = None if value is None else parse_address(value)
    if isinstance(found, IPv4Address):
        raise Plain(f"must be an IPv6 address, got {show_value(value)}", "use source_address4")
    return found


def parse_mac(value: object) -> bytes:
    """The MAC address of one station. Raises Plain."""
    if not isinstance(value, str) or not _MAC.fullmatch(value):
        what = f"must be a MAC address in quotes, got {show_value(value)}"
        raise Plain(what, 'for example "02:00:00:00:00:01"; `ip neigh` lists them')
    mac = bytes.fromhex(value.replace(":", ""))
    if mac[0] & 1 or not any(mac):
        what = f"must be the MAC address of one station, got {show_value(value)}"
        raise Plain(what, "`ip neigh` lists them")
    return mac


_Address = Annotated[Address, PlainValidator(parse_address)]


class BackendSection(Section):
    """One ``[[interface.X.services.backends]]``."""

    address: _Address = Field(examples=["10.0.0.1"])
    weight: int = Field(
        default=1,
        ge=0,
        le=MAX_WEIGHT,
        description=f"an integer from 0 to {MAX_WEIGHT}",
        examples=[1],
    )
    draining: bool = Field(default=False, description="true or false", examples=[True])


class ServiceSection(Section):
    """One ``[[interface.X.services]]``; its backends are read apart."""

    address: _Address = Field(examples=["192.0.2.80"])
    port: int = Field(
        ge=1, le=MAX_PORT, description=f"an integer from 1 to {MAX_PORT}", examples=[80]
    )
    protocol: Literal["tcp", "udp"] = Field(examples=["tcp"])
    encapsulation: Literal["ipip", "gue"] = Field(default="ipip", examples=["ipip"])
    backends: list[object] = Field(
        default=[], description="a list of tables", examples=[[{"address": "10.0.0.1"}]]
    )


class SettingsSection(Section):
    """``[interface.X.l4lb]``."""

    gateway_mac: Annotated[bytes | None, PlainValidator(parse_mac)] = None
    source_address4: Annotated[IPv4Address | None, PlainValidator(_parse_source4)] = None
    source_address6: Annotated[IPv6Address | None, PlainValidator(_parse_source6)] = None
    connections: int = Field(
        default=65_536,
        ge=1,
        le=MAX_CONNECTIONS,
        description=f"an integer from 1 to {MAX_CONNECTIONS}",
        examples=[65_536],
    )


def read_tables(raw: Mapping[str, object], at: KeyPath, problems: Problems) -> L4lbTables:
    """Check ``services`` and ``l4lb`` of one interface; mistakes are noted in ``problems``."""
    before = len(problems.lines)
    at_settings = (*at, "l4lb")
    keys = table(raw.get("l4lb", {}), at_settings, problems) or {}
    settings = checked_part(SettingsSection, keys, at_settings, problems)
    services = _services(raw.get("services", []), (*at, "services"), problems)
    if services:
        _refuse_missing(settings, keys, services, at_settings, problems)
    if len(problems.lines) > before:
        return L4lbTables()
    made = Settings(
        gateway_mac=settings.gateway_mac or bytes(6),
        source_address4=settings.source_address4,
        source_address6=settings.source_address6,
        connections=settings.connections,
    )
    try:
        return L4lbTables(services=tuple(services), settings=made)
    except ConfigError as error:
        problems.add((*at, "services"), error.message, error.cure or "use fewer")
    return L4lbTables()


def _refuse_missing(
    settings: SettingsSection,
    keys: Mapping[str, object],
    services: list[Service],
    at: KeyPath,
    problems: Problems,
) -> None:
    """What encapsulated packets need. A key that is there but wrong was already told."""
    if settings.gateway_mac is None and "gateway_mac" not in keys:
        what = "is missing: encapsulated packets go to this station"
        example_mac = 'add for example `gateway_mac = "02:00:00:00:00:01"`'
        problems.add((*at, "gateway_mac"), what, example_mac)
    for version, example in ((4, "192.0.2.1"), (6, "2001:db8::1")):
        name = f"source_address{version}"
        used = any(s.id.address.version == version for s in services)
        if used and getattr(settings, name) is None and name not in keys:
            what = f"is missing: there are services of IPv{version}"
            problems.add((*at, name), what, f'add for example `{name} = "{example}"`')


def _tables_of(raw: object, at: KeyPath, most: int, what: str, problems: Problems) -> list[object]:
    """``raw`` if it is a list of at most ``most`` entries, else a problem and nothing."""
    if not isinstance(raw, list):
        told = f"must be a list of tables, got {show_value(raw)}"
        problems.add(at, told, f"write it with two brackets: [[{show_path(at)}]]")
        return []
    if len(raw) > most:
        problems.add(at, f"at most {most:,} {what}, got {len(raw):,}", "use fewer")
        return []
    return raw


def _services(raw: object, at: KeyPath, problems: Problems) -> list[Service]:
    """The services; those with a mistake are left out."""
    found: dict[ServiceId, tuple[int, Service]] = {}
    total = 0
    for place, item in enumerate(_tables_of(raw, at, MAX_SERVICES, "services", problems)):
        here = (*at, place)
        keys = table(item, here, problems)
        section = checked(ServiceSection, keys, here, problems) if keys is not None else None
        if section is None:
            continue
        total += len(section.backends)
        service = _service(section, here, problems)
        if service is None:
            continue
        first, _ = found.setdefault(service.id, (place, service))
        if first != place:
            problems.add(here, f"is service {service.id}, as services[{first}] is", "remove one")
    if total > MAX_BACKENDS:
        what = f"at most {MAX_BACKENDS:,} backends of all services together, got {total:,}"
        problems.add(at, what, "use fewer")
    return [service for _, service in found.values()]


def _service(section: ServiceSection, at: KeyPath, problems: Problems) -> Service | None:
    before = len(problems.lines)
    here = (*at, "backends")
    backends: list[Backend] = []
    for place, item in enumerate(
        _tables_of(section.backends, here, MAX_SERVICE_BACKENDS, "backends of a service", problems)
    ):
        keys = table(item, (*here, place), problems)
        made = checked(BackendSection, keys, (*here, place), problems) if keys is not None else None
        if made is not None:
            backends.append(
                Backend(address=made.address, weight=made.weight, draining=made.draining)
            )
    if len(problems.lines) > before:
        return None
    key = ServiceId(address=section.address, port=section.port, protocol=section.protocol)
    problem = service_problem(key, backends)
    if problem is not None:
        problems.add(here, *problem)
        return None
    return Service(id=key, backends=tuple(backends), encapsulation=section.encapsulation)


TABLES = TableReader(keys=("services", "l4lb"), read=read_tables)
