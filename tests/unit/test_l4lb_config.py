# SPDX-License-Identifier: GPL-2.0-only
"""The load balancer's part of operator files: what is read, and each mistake."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from iridescent_xdp.config import ConfigFileError, load_config
from iridescent_xdp.functions.l4lb_tables import (
    MAX_BACKENDS,
    MAX_SERVICE_BACKENDS,
    MAX_SERVICES,
    L4lbTables,
    ServiceId,
)

AT = "interface.eth0"
HEAD = f'[{AT}]\nfunction = "l4lb"\n'
SETTINGS = f"""[{AT}.l4lb]
gateway_mac = "02:00:00:00:00:01"
source_address4 = "192.0.2.1"
source_address6 = "2001:db8::1"
"""
SERVICE = f"""[[{AT}.services]]
address = "192.0.2.80"
port = 80
protocol = "tcp"
"""
BACKENDS = 'backends = [{ address = "10.0.0.1" }, { address = "10.0.0.2", weight = 2 }]\n'
GOOD = HEAD + SETTINGS + SERVICE + BACKENDS
FIRST, SET = f"{AT}.services[0]", f"{AT}.l4lb"


def with_backends(*backends: str) -> str:
    return HEAD + SETTINGS + SERVICE + f"backends = [{', '.join(backends)}]\n"


def many(count: int) -> str:
    return ",".join(f'{{address="10.{n >> 16}.{n >> 8 & 255}.{n & 255}"}}' for n in range(count))


# name: (the file, key path, what the message must say)
MISTAKES = {
    "other family": (
        with_backends('{ address = "10.0.0.1" }', '{ address = "2001:db8::2" }'),
        f"{FIRST}.backends", "backend 2001:db8::2 is of the other family; give it an IPv4 address",
    ),
    "no backends": (HEAD + SETTINGS + SERVICE, f"{FIRST}.backends", "it has no backends"),
    "empty backends": (with_backends(), f"{FIRST}.backends", "it has no backends"),
    "weights sum to zero": (
        with_backends('{ address = "10.0.0.1", weight = 0 }'), f"{FIRST}.backends", "sum to zero",
    ),
    "all drain": (
        with_backends('{ address = "10.0.0.1", draining = true }'), f"{FIRST}.backends",
        "sum to zero; give one of them a weight",
    ),
    "negative weight": (
        with_backends('{ address = "10.0.0.1", weight = -1 }'), f"{FIRST}.backends[0].weight",
        "must be an integer from 0 to 65535, got -1",
    ),
    "weight in quotes": (
        with_backends('{ address = "10.0.0.1", weight = "2" }'), f"{FIRST}.backends[0].weight",
        "write 2 without quotes",
    ),
    "backend twice": (
        with_backends('{ address = "10.0.0.1" }', '{ address = "10.0.0.1" }'),
        f"{FIRST}.backends", "backend 10.0.0.1 is there 2 times",
    ),
    "backend is a prefix": (
        with_backends('{ address = "10.0.0.0/8" }'), f"{FIRST}.backends[0].address",
        'must be an IPv4 or IPv6 address in quotes, got "10.0.0.0/8"',
    ),
    "backend is text": (
        with_backends('"10.0.0.1"'), f"{FIRST}.backends[0]", 'must be a table, got "10.0.0.1"',
    ),
    "unknown key of a backend": (
        with_backends('{ address = "10.0.0.1", wieght = 1 }'), f"{FIRST}.backends[0].wieght",
        "did you mean 'weight'?",
    ),
    "service twice": (
        GOOD + SERVICE + BACKENDS, f"{AT}.services[1]",
        "is service 192.0.2.80:80/tcp, as services[0] is",
    ),
    "no port": (
        GOOD.replace("port = 80\n", ""), f"{FIRST}.port", "is missing; add for example `port = 80`",
    ),
    "port 0": (GOOD.replace("port = 80", "port = 0"), f"{FIRST}.port", "from 1 to 65535, got 0"),
    "protocol": (
        GOOD.replace('"tcp"', '"sctp"'), f"{FIRST}.protocol", 'must be one of "tcp", "udp"',
    ),
    "multicast service": (
        GOOD.replace("192.0.2.80", "224.0.0.1"), f"{FIRST}.address", "address of one station",
    ),
    "encapsulation": (
        GOOD.replace(BACKENDS, f'encapsulation = "gre"\n{BACKENDS}'), f"{FIRST}.encapsulation",
        'must be one of "ipip", "gue"',
    ),
    "services is a table": (
        HEAD + f"[{AT}.services]\nport = 1\n", f"{AT}.services",
        f"must be a list of tables, got a table; write it with two brackets: [[{AT}.services]]",
    ),
    "no settings": (HEAD + SERVICE + BACKENDS + f'[{AT}.l4lb]\nsource_address4 = "192.0.2.1"\n',
        f"{SET}.gateway_mac", "is missing",
    ),
    "no source": (
        GOOD.replace('source_address4 = "192.0.2.1"\n', ""), f"{SET}.source_address4",
        "is missing: there are services of IPv4",
    ),
    "source of the other family": (
        GOOD.replace('4 = "192.0.2.1"', '4 = "2001:db8::7"'), f"{SET}.source_address4",
        "must be an IPv4 address",
    ),
    "gateway is an address": (
        GOOD.replace("02:00:00:00:00:01", "192.0.2.254"), f"{SET}.gateway_mac", "a MAC address",
    ),
    "gateway is a group": (
        GOOD.replace("02:00:00:00:00:01", "01:00:5e:00:00:01"), f"{SET}.gateway_mac",
        "MAC address of one station",
    ),
    "connections": (
        GOOD.replace(SETTINGS, f"{SETTINGS}connections = 0\n"), f"{SET}.connections",
        "must be an integer from 1 to 16777216, got 0",
    ),
    "too many backends": (
        with_backends(many(MAX_SERVICE_BACKENDS + 1)), f"{FIRST}.backends",
        "at most 1,024 backends of a service, got 1,025",
    ),
}  # fmt: skip


def problem_of(text: str, folder: Path) -> str:
    file = folder / "operator.toml"
    file.write_text(text)
    with pytest.raises(ConfigFileError) as caught:
        load_config(file)
    (problem,) = caught.value.problems
    return problem.removeprefix(f"{file}: ")


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_place_and_cure(name: str, tmp_path: Path) -> None:
    text, path, says = MISTAKES[name]
    problem = problem_of(text, tmp_path)
    assert problem.startswith(f"{path}: ")
    assert says in problem
    what, _, cure = problem.partition("; ")
    assert what
    assert cure


def test_too_many_services(tmp_path: Path) -> None:
    entry = '{address="192.0.2.80",port=%d,protocol="tcp",backends=[{address="10.0.0.1"}]}'
    listed = ",".join(entry % (n + 1) for n in range(MAX_SERVICES + 1))
    text = f"{HEAD}services = [{listed}]\n{SETTINGS}"
    assert "at most 512 services, got 513" in problem_of(text, tmp_path)


def test_too_many_backends_of_all_services(tmp_path: Path) -> None:
    each = MAX_BACKENDS // 5 + 1
    entry = '{address="192.0.2.80",port=%d,protocol="tcp",backends=[%s]}'
    listed = ",".join(entry % (n + 1, many(each)) for n in range(5))
    text = f"{HEAD}services = [{listed}]\n{SETTINGS}"
    assert "at most 4,096 backends of all services together, got 4,100" in problem_of(
        text, tmp_path
    )


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "good.toml"
    file.write_text(GOOD)
    tables = load_config(file).interfaces[0].tables
    assert isinstance(tables, L4lbTables)
    (service,) = tables.services
    assert service.id == ServiceId(address=ip_address("192.0.2.80"), port=80, protocol="tcp")
    assert [(str(b.address), b.weight, b.draining) for b in service.backends] == [
        ("10.0.0.1", 1, False), ("10.0.0.2", 2, False),
    ]  # fmt: skip
    assert service.encapsulation == "ipip"
    assert tables.settings.gateway_mac == bytes.fromhex("020000000001")
    assert tables.settings.connections == 65_536


def test_the_example_is_right() -> None:
    example = Path(__file__).parents[2] / "examples" / "l4lb.toml"
    tables = load_config(example).interfaces[0].tables
    assert isinstance(tables, L4lbTables)
    assert [s.encapsulation for s in tables.services] == ["ipip", "gue"]
    assert [b.draining for b in tables.services[0].backends] == [False, False, True]
