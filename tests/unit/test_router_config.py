# SPDX-License-Identifier: GPL-2.0-only
"""The router's routes in an operator file: what is read, and what each mistake is told as."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest

from iridescent_xdp.config import ConfigFileError, load_config
from iridescent_xdp.functions.router_tables import Route, RouterTables

HEAD = '[interface.eth0]\nfunction = "router"\n'
ROUTE = f'{HEAD}[[interface.eth0.routes]]\nprefix = "192.0.2.0/24"\n'
AT = "interface.eth0.routes"
MAC = '"02:00:00:00:00:01"'


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site.toml"


def tables_of(site: Path, text: str) -> RouterTables:
    site.write_text(text)
    (interface,) = load_config(site).interfaces
    assert isinstance(interface.tables, RouterTables)
    return interface.tables


def problems_of(site: Path, text: str) -> list[str]:
    site.write_text(text)
    with pytest.raises(ConfigFileError) as caught:
        load_config(site)
    return [line.removeprefix(f"{site}: ") for line in caught.value.problems]


def test_routes_are_read_as_written(site: Path) -> None:
    (site.parent / "more.txt").write_text(
        "# from somewhere else\n2001:db8::/32 eth2 02:00:00:00:00:0a\n\n10.0.0.0/8 blackhole\n"
        "10.1.0.0/16 local # mine\n10.2.0.0/16 eth1\n"
    )
    found = tables_of(
        site,
        f'{HEAD}routes_file = "more.txt"\n[[interface.eth0.routes]]\nprefix = "192.0.2.0/24"\n'
        f'interface = "eth1"\nvia = "198.51.100.1"\n[[interface.eth0.routes]]\nprefix = "::/0"\n'
        f'interface = "eth1"\nvia = {MAC}\n',
    )
    assert not found.from_kernel
    assert found.routes == (
        Route(
            prefix=IPv4Network("192.0.2.0/24"), interface="eth1", via=IPv4Address("198.51.100.1")
        ),
        Route(prefix=IPv6Network("::/0"), interface="eth1", via=bytes((2, 0, 0, 0, 0, 1))),
        Route(
            prefix=IPv6Network("2001:db8::/32"), interface="eth2", via=bytes((2, 0, 0, 0, 0, 10))
        ),
        Route(prefix=IPv4Network("10.0.0.0/8"), kind="blackhole"),
        Route(prefix=IPv4Network("10.1.0.0/16"), kind="local"),
        Route(prefix=IPv4Network("10.2.0.0/16"), interface="eth1"),
    )


@pytest.mark.parametrize("text", ["", 'routes = "kernel"\n'])
def test_without_routes_those_of_the_kernel_are_taken(site: Path, text: str) -> None:
    found = tables_of(site, HEAD + text)
    assert (found.from_kernel, found.ingress, found.routes) == (True, "eth0", ())


def test_the_example_is_right() -> None:
    example = Path(__file__).parents[2] / "examples/router.toml"
    (interface,) = load_config(example).interfaces
    assert isinstance(interface.tables, RouterTables)
    assert [route.kind for route in interface.tables.routes] == ["forward", "forward", "blackhole"]


# name: (the file, the beginning of the line, what it must say)
MISTAKES = {
    "host bits": (
        f'{HEAD}[[interface.eth0.routes]]\nprefix = "10.9.1.1/16"\nkind = "local"\n',
        f"{AT}[0].prefix: has address bits set",
        'write "10.9.0.0/16"',
    ),
    "no prefix": (f'{HEAD}[[{AT}]]\nkind = "local"\n', f"{AT}[0].prefix: ", "add"),
    "no interface": (f"{ROUTE}via = {MAC}\n", f"{AT}[0]: ", 'add interface = "eth1"'),
    "interface of a blackhole": (
        f'{ROUTE}kind = "blackhole"\ninterface = "eth1"\n',
        f"{AT}[0]: a route of kind 'blackhole' has no interface",
        "remove it",
    ),
    "next hop of a local route": (
        f'{ROUTE}kind = "local"\nvia = {MAC}\n',
        f"{AT}[0]: a route of kind",
        "remove via",
    ),
    "kind": (f'{ROUTE}kind = "drop"\n', f"{AT}[0].kind: ", '"blackhole"'),
    "next hop of the other family": (
        f'{ROUTE}interface = "eth1"\nvia = "2001:db8::1"\n',
        f"{AT}[0]: the next hop 2001:db8::1 is not of the family of 192.0.2.0/24",
        "same family",
    ),
    "next hop": (
        f'{ROUTE}interface = "eth1"\nvia = "02:00:00:00:01"\n',
        f"{AT}[0].via: must be a MAC or IP address",
        '"192.0.2.1"',
    ),
    "unknown key": (f'{ROUTE}interfaces = "eth1"\n', f"{AT}[0].interfaces: ", "'interface'"),
    "prefix twice": (
        f'{ROUTE}kind = "local"\n[[{AT}]]\nprefix = "192.0.2.0/24"\nkind = "blackhole"\n',
        f"{AT}[1]: 192.0.2.0/24 has a route already, in routes[0]",
        "remove one of the two",
    ),
    "word": (f'{HEAD}routes = "kernal"\n', f'{AT}: must be "kernel" or a list', '"kernal"'),
    "one table": (f'{HEAD}[{AT}]\nprefix = "::/0"\n', f"{AT}: must be", f"[[{AT}]]"),
    "not a table": (f"{HEAD}routes = [1]\n", f"{AT}[0]: must be a table, got 1", f"[[{AT}]]"),
    "no file": (f'{HEAD}routes_file = "none.txt"\n', "interface.eth0.routes_file: cannot", "none"),
    "file is a number": (f"{HEAD}routes_file = 1\n", "interface.eth0.routes_file: ", "got 1"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_one_mistake_is_one_line(site: Path, name: str) -> None:
    text, begin, says = MISTAKES[name]
    lines = problems_of(site, text)
    (line,) = lines
    assert line.startswith(begin), line
    assert says in line, line


LINES = {
    "host bits": ("10.9.1.1/16 eth1", 'write "10.9.0.0/16"'),
    "no interface": ("10.0.0.0/8", "is not a route"),
    "too much": ("10.0.0.0/8 eth1 02:00:00:00:00:01 5", "is not a route"),
    "next hop": ("10.0.0.0/8 eth1 eth2", "must be a MAC or IP address"),
    "family": ("10.0.0.0/8 eth1 ::1", "not of the family"),
    "twice": ("192.0.2.0/24 eth1", "has a route already, in line 1 of"),
    "prefix": ("10.0.0 eth1", "is not an IPv4 or IPv6 prefix"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_wrong_line_of_a_file(site: Path, name: str) -> None:
    line, says = LINES[name]
    (site.parent / "list.txt").write_text(f"192.0.2.0/24 local\n{line}\n")
    (told,) = problems_of(site, f'{HEAD}routes_file = "list.txt"\n')
    assert told.startswith("interface.eth0.routes_file: line 2 of ") and says in told, told


def test_of_many_wrong_lines_five_are_told(site: Path) -> None:
    (site.parent / "list.txt").write_text("10.0.0.1/8 eth1\n" * 20)
    lines = problems_of(site, f'{HEAD}routes_file = "list.txt"\n')
    assert len(lines) == 6 and "15 more wrong lines" in lines[-1]


def test_ten_million_routes_and_one_are_too_many(site: Path) -> None:
    (site.parent / "list.txt").write_bytes(b"::/0 e\n" * 10_000_001)
    (line,) = problems_of(site, f'{HEAD}routes_file = "list.txt"\n')
    assert line.startswith("interface.eth0.routes_file: at most 1,000,000 routes, got 10,000,001")
