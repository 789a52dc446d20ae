# SPDX-License-Identifier: GPL-2.0-only
"""The router's own tables of the operator file: ``routes`` and ``routes_file``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from iridescent_xdp.config.check import checked
from iridescent_xdp.config.model import Section
from iridescent_xdp.config.prefixes import Network, PrefixSource, lines_of, parse_prefix
from iridescent_xdp.config.problems import KeyPath, Plain, Problems, show_path, show_value
from iridescent_xdp.config.registry import TableReader
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.router_tables import Address, Route, RouterTables

MAX_ROUTES = 1_000_000  # MAX_ROUTES of bpf/include/router_tables.h
SHORTEST_LINE_BYTES = len("::/0 e\n")
_SHOWN_MISTAKES = 5
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
_LINE = 'write "PREFIX INTERFACE VIA", "PREFIX blackhole" or "PREFIX local"'


def parse_via(value: object) -> bytes | Address:
    """A next hop: a MAC address as bytes, or an IP address. Raises Plain."""
    cure = 'for example "02:00:00:00:00:01" or "192.0.2.1"'
    if isinstance(value, str):
        if _MAC.fullmatch(value):
            return bytes.fromhex(value.replace(":", ""))
        try:
            return ip_address(value)
        except ValueError:
            pass
    raise Plain(f"must be a MAC or IP address in quotes, got {show_value(value)}", cure)


class RouteSection(Section):
    """One ``[[interface.X.routes]]``."""

    prefix: Annotated[Network, PlainValidator(parse_prefix)] = Field(examples=["192.0.2.0/24"])
    kind: Literal["forward", "local", "blackhole"] = "forward"
    interface: str = Field(default="", description="the name of an interface", examples=["eth1"])
    via: Annotated[bytes | Address | None, PlainValidator(parse_via)] = None


def read_tables(raw: Mapping[str, object], at: KeyPath, problems: Problems) -> RouterTables:
    """Check the routes of one interface; mistakes are noted in ``problems``."""
    ingress = str(at[1])
    if raw.get("routes", "kernel") == "kernel" and "routes_file" not in raw:
        return RouterTables(from_kernel=True, ingress=ingress)
    found: dict[Network, tuple[Route, str]] = {}
    listed = raw.get("routes", [])
    if not isinstance(listed, list):
        what = f'must be "kernel" or a list of tables, got {show_value(listed)}'
        problems.add((*at, "routes"), what, f"write it as [[{show_path((*at, 'routes'))}]]")
        listed = []
    for place, route in _listed(listed, (*at, "routes"), problems):
        _add(route, (*at, "routes", place), f"routes[{place}]", found, problems)
    if "routes_file" in raw:
        _from_file(raw["routes_file"], (*at, "routes_file"), found, problems)
    if len(found) > MAX_ROUTES:
        _refuse_many(len(found), (*at, "routes"), problems)
    return RouterTables(routes=tuple(route for route, _ in found.values()), ingress=ingress)


def _listed(raw: list[object], at: KeyPath, problems: Problems) -> Iterator[tuple[int, Route]]:
    if len(raw) > MAX_ROUTES:
        _refuse_many(len(raw), at, problems)
        return
    for place, item in enumerate(raw):
        if not isinstance(item, dict):
            what = f"must be a table, got {show_value(item)}"
            problems.add((*at, place), what, f"write it as [[{show_path(at)}]]")
            continue
        section = checked(RouteSection, item, (*at, place), problems)
        if section is None:
            continue
        try:
            yield place, _route(section.prefix, section.kind, section.interface, section.via)
        except Plain as error:
            problems.add((*at, place), error.what, error.cure)


def _route(prefix: Network, kind: str, interface: str, via: bytes | Address | None) -> Route:
    """A route that fits together. Raises Plain."""
    if not isinstance(via, bytes | None) and via.version != prefix.version:
        raise Plain(
            f"the next hop {via} is not of the family of {prefix}",
            "give a next hop of the same family, or its MAC address",
        )
    try:
        return Route(prefix=prefix, kind=kind, interface=interface, via=via)  # type: ignore[arg-type]
    except ConfigError as error:
        cure = "remove it" if interface else "remove via"
        if kind == "forward":
            cure = 'add interface = "eth1", or kind = "blackhole"'
        raise Plain(error.message, cure) from error


def _add(
    route: Route,
    at: KeyPath,
    place: str,
    found: dict[Network, tuple[Route, str]],
    problems: Problems,
) -> bool:
    """Keep a route unless its prefix has one."""
    _, earlier = found.setdefault(route.prefix, (route, place))
    if earlier == place:
        return True
    problems.add(at, f"{route.prefix} has a route already, in {earlier}", "remove one of the two")
    return False


def _from_file(
    name: object, at: KeyPath, found: dict[Network, tuple[Route, str]], problems: Problems
) -> None:
    """One route in each line; the first few mistakes are told one by one."""
    if not isinstance(name, str):
        problems.add(at, f"must be a path in quotes, got {show_value(name)}", 'write "routes.txt"')
        return
    source = PrefixSource(at=at, file=problems.file.parent / name)
    count = _entries_of_large(problems.file.parent / name)
    if count > MAX_ROUTES:
        _refuse_many(count, at, problems)
        return
    lines = lines_of(source, problems)
    mistakes = 0
    for number, text in lines:
        try:
            route = _line(str(text))
            _, earlier = found.setdefault(route.prefix, (route, source.place(number)))
            if earlier != source.place(number):
                raise Plain(
                    f"{route.prefix} has a route already, in {earlier}", "remove one of the two"
                )
        except Plain as error:
            mistakes += 1
            if mistakes <= _SHOWN_MISTAKES:
                source.report(number, error.what, error.cure, problems)
    if mistakes > _SHOWN_MISTAKES:
        more = mistakes - _SHOWN_MISTAKES
        problems.add(at, f"has {more:,} more wrong lines", "mend them in the same way")


def _entries_of_large(file: Path) -> int:
    """How many routes a file has that may have too many; counted without keeping them."""
    try:
        if file.stat().st_size <= MAX_ROUTES * SHORTEST_LINE_BYTES:
            return 0
        with file.open("rb") as lines:
            return sum(1 for line in lines if line.partition(b"#")[0].strip())
    except OSError:
        return 0  # told when it is read


def _line(text: str) -> Route:
    words = text.split()
    if len(words) == 2 and words[1] in ("blackhole", "local"):
        return _route(parse_prefix(words[0]), words[1], "", None)
    if len(words) not in (2, 3):
        raise Plain(f"is not a route, got {show_value(text)}", _LINE)
    via = parse_via(words[2]) if len(words) == 3 else None
    return _route(parse_prefix(words[0]), "forward", words[1], via)


def _refuse_many(count: int, at: KeyPath, problems: Problems) -> None:
    what = f"at most {MAX_ROUTES:,} routes, got {count:,}"
    problems.add(at, what, "join neighbouring prefixes into shorter ones")


TABLES = TableReader(keys=("routes", "routes_file"), read=read_tables)
