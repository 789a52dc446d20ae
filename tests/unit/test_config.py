# SPDX-License-Identifier: GPL-2.0-only
"""Right operator files, what they become, and that all mistakes of a wrong one are told."""

from __future__ import annotations

import ipaddress
import random
import re
import time
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from iridescent_xdp.config import (
    AdaptConfig,
    ConfigFileError,
    ConstraintsConfig,
    InterfaceConfig,
    LimitsConfig,
    SearchConfig,
    load_config,
)
from iridescent_xdp.config.objective import ThroughputConfig, TimePerPacketConfig
from iridescent_xdp.functions.filter_config import MAX_SET_PREFIXES, FilterTables
from iridescent_xdp.functions.rules import Rule

ROOT = Path(__file__).resolve().parents[2]
HEAD = '[interface.eth0]\nfunction = "filter"\n'
MAX_READ_S = 2.0
EXIT_CODE = 2  # of a wrong operator file, as documented


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The path of an operator file in a folder of its own."""
    return tmp_path / "site.toml"


def load_one(site: Path, text: str) -> InterfaceConfig:
    """The only interface of an operator file."""
    site.write_text(text)
    (interface,) = load_config(site).interfaces
    return interface


def tables_of(interface: InterfaceConfig) -> FilterTables:
    """The filter's tables of an interface."""
    assert isinstance(interface.tables, FilterTables)
    return interface.tables


def problems_of(site: Path, text: str) -> list[str]:
    """What is wrong in an operator file, without the file's name."""
    site.write_text(text)
    with pytest.raises(ConfigFileError) as caught:
        load_config(site)
    return [problem.removeprefix(f"{site}: ") for problem in caught.value.problems]


def test_the_least_file_takes_every_default() -> None:
    (interface,) = load_config(ROOT / "examples" / "minimal.toml").interfaces
    assert interface == InterfaceConfig(
        name="eth0",
        function="filter",
        mode="native-then-generic",
        objective=TimePerPacketConfig(),
        toolchain="auto",
        apply="winner",
        policy={},
        search=SearchConfig(
            strategy="racing", max_seconds=30.0, max_arms=None, share=1.0, seed=0,
            max_trials=None, study=None, points={},
        ),
        adapt=AdaptConfig(
            enabled=True, look_ms=20, every_ms=100, memory=True, max_searches_per_hour=None
        ),
        constraints=ConstraintsConfig(p99_ns=None, instructions=None, memory_bytes=None),
        limits=LimitsConfig(
            swaps_per_minute=None, quiet_hours=(), max_share=1.0, max_regret_pct=None
        ),
        tables=FilterTables(rules=(), comments=(), allow=(), deny=()),
    )  # fmt: skip


def test_the_long_example_is_read_as_written() -> None:
    (interface,) = load_config(ROOT / "examples" / "filter.toml").interfaces
    tables = tables_of(interface)
    assert interface.policy == {
        "default_action": "pass", "verify_ip_checksum": True, "fragments": "match",
    }  # fmt: skip
    assert interface.search == SearchConfig(
        share=0.5, points={"vlan_depth": (0, 2), "rule_layout": ("chain",)}
    )
    dns, https, syn, icmp, gre = tables.rules
    assert dns == Rule(
        source=ipaddress.IPv4Network("10.9.0.0/16"),
        protocol=17,
        destination_ports=(53, 53),
        action="drop",
    )
    web = ipaddress.IPv6Network("2001:db8:80::/48")
    assert https == Rule(destination=web, protocol=6, destination_ports=(443, 443), action="pass")
    # SYN is 0x02 and ACK is 0x10: SYN set, ACK clear.
    assert syn == Rule(
        protocol=6, destination_ports=(0, 1023), tcp_flags=(0x12, 0x02), action="drop"
    )
    assert icmp == Rule(protocol=1, action="pass")
    assert (gre.source, gre.protocol) == (ip_network("198.51.100.0/24"), 47)
    assert tables.comments[1:3] == ("", "no new connections to well-known ports")
    assert tables.allow == (ip_network("10.9.0.53/32"), ip_network("2001:db8:53::/48"))
    assert [str(network) for network in tables.deny] == [
        "192.0.2.0/24", "2001:db8:bad::/48",  # the list
        "198.51.100.66/32", "203.0.113.0/24", "2001:db8:dead::/48",  # the file
    ]  # fmt: skip


def test_every_setting_can_be_set(site: Path) -> None:
    interface = load_one(
        site,
        f'{HEAD}mode = "generic"\nobjective = "throughput"\ntoolchain = "bcc"\napply = "advice"\n'
        '[interface.eth0.search]\nstrategy = "exhaustive"\nmax_seconds = 0.5\nmax_arms = 30\n'
        "seed = 9223372036854775807\nshare = 0.001\npoints.x = [true, 1, 0]\npoints.y = false\n",
    )
    assert interface.mode == "generic"
    assert interface.objective == ThroughputConfig()
    assert interface.toolchain == "bcc"
    assert interface.apply == "advice"
    assert interface.search == SearchConfig(
        strategy="exhaustive", max_seconds=0.5, max_arms=30, seed=2**63 - 1, share=0.001,
        points={"x": (True, 1, 0), "y": (False,)},
    )  # fmt: skip
    assert [type(v) for v in interface.search.points["x"]] == [bool, int, int]


def test_interfaces_keep_their_order_and_a_quoted_name(site: Path) -> None:
    names = ["eth0.7", "enp0s31f6np0d10", "eth0"]  # the second has 15 bytes
    site.write_text("".join(f'[interface."{name}"]\nfunction = "filter"\n' for name in names))
    assert [interface.name for interface in load_config(site).interfaces] == names


def test_ports_protocols_and_flags_at_their_limits(site: Path) -> None:
    rule = '[[interface.eth0.rules]]\naction = "drop"\n'
    tables = tables_of(
        load_one(
            site,
            f"{HEAD}{rule}source_port = 0\ndestination_port = 65535\n"
            f'{rule}destination_port = "0-65535"\n{rule}protocol = 0\n{rule}protocol = 255\n'
            f'{rule}tcp_flags = ["fin","syn","rst","psh","ack","urg","ece","cwr"]\n'
            f'{rule}source = "0.0.0.0/0"\n{rule}source = "::/0"\nprotocol = 1\n{rule}',
        )
    )
    assert tables.rules == (
        Rule(source_ports=(0, 0), destination_ports=(65535, 65535), action="drop"),
        Rule(destination_ports=(0, 65535), action="drop"),
        Rule(protocol=0, action="drop"),
        Rule(protocol=255, action="drop"),
        Rule(tcp_flags=(0xFF, 0xFF), action="drop"),
        Rule(source=ipaddress.IPv4Network("0.0.0.0/0"), action="drop"),
        Rule(source=ipaddress.IPv6Network("::/0"), protocol=1, action="drop"),
        Rule(action="drop"),
    )


def test_a_list_file_may_have_comments_blank_lines_and_crlf(site: Path) -> None:
    (site.parent / "list.txt").write_bytes(b"# head\r\n\r\n 10.0.0.1 \r\n::1/128# tail\r\n")
    interface = load_one(site, f'{HEAD}sets.allow_file = "list.txt"\nsets.allow = ["::2"]\n')
    shown = [str(network) for network in tables_of(interface).allow]
    assert shown == ["::2/128", "10.0.0.1/32", "::1/128"]


def test_allow_inside_deny_is_no_mistake(site: Path) -> None:
    tables = tables_of(load_one(site, f'{HEAD}sets = {{allow = ["::1"], deny = ["::/64"]}}\n'))
    assert (len(tables.allow), len(tables.deny)) == (1, 1)


def test_a_hundred_thousand_prefixes_are_read_in_two_seconds(site: Path) -> None:
    chosen = random.Random(7).sample(range(2**32), MAX_SET_PREFIXES)
    four = [ipaddress.IPv4Address(number) for number in chosen[::2]]
    six = [ipaddress.IPv6Address((0x20010DB8 << 96) | number) for number in chosen[1::2]]
    (site.parent / "list.txt").write_text("".join(f"{address}\n" for address in four + six))
    began_s = time.process_time()
    tables = tables_of(load_one(site, f'{HEAD}sets.deny_file = "list.txt"\n'))
    assert time.process_time() - began_s < MAX_READ_S
    assert [network.network_address for network in tables.deny] == four + six


def test_a_list_of_many_mistakes_is_told_in_short(site: Path) -> None:
    (site.parent / "list.txt").write_text("10.0.0.1/8\n" * 1_000)
    *told, more = problems_of(site, f'{HEAD}sets.deny_file = "list.txt"\n')
    numbers = [re.findall(r"line (\d+) of", problem) for problem in told]
    assert numbers == [["1"], ["2"], ["3"], ["4"], ["5"]]
    assert more.startswith("interface.eth0.sets.deny_file: has 995 more wrong entries")


def test_twenty_mistakes_are_told_at_once(site: Path) -> None:
    told = problems_of(
        site,
        'version = 1\n[interface.eth0]\nfunction = "filte"\nmode = 1\nobjectiv = "x"\n'
        "apply = true\npolicy.a = 1.0\npolicy.b = 1\n[interface.eth0.search]\nshare = 2.0\n"
        'seed = "x"\npoints.b = 1\npoints.c = []\n[interface."a b"]\nfunction = "filter"\n'
        '[[interface."a b".rules]]\nsource = "10.0.0.1/8"\nprotocol = "tpc"\n'
        '[[interface."a b".rules]]\naction = "drop"\nsource_port = 65536\ntcp_flags = ["x"]\n'
        '[[interface."a b".rules]]\naction = "drop"\nprotocol = "gre"\nsource_port = 1\n'
        'tcp_flags = ["syn"]\n[interface."a b".sets]\nallow = ["x"]\ndeny = 1\n'
        'deny_file = "none.txt"\n',
    )
    assert sorted(problem.partition(": ")[0] for problem in told) == sorted(
        ["version"]
        + [f"interface.eth0.{key}" for key in ("function", "mode", "objectiv", "apply")]
        + [f"interface.eth0.policy.{key}" for key in "ab"]
        + [f"interface.eth0.search.{key}" for key in ("share", "seed", "points.c")]
        + ['interface."a b"']
        + [f'interface."a b".rules[0].{key}' for key in ("source", "protocol", "action")]
        + [f'interface."a b".rules[1].{key}' for key in ("source_port", "tcp_flags")]
        + [f'interface."a b".rules[2].{key}' for key in ("source_port", "tcp_flags")]
        + [f'interface."a b".sets.{key}' for key in ("allow[0]", "deny", "deny_file")]
    )
    with pytest.raises(ConfigFileError) as caught:
        load_config(site)
    assert str(caught.value) == f"{site}: {told[0]} (and {len(told) - 1} more problems)"
    assert caught.value.exit_code == EXIT_CODE


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "cannot be read: No such file or directory; check the path"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory; check the path"),
        (lambda path: path.write_bytes(b"#\xff"), "is not UTF-8 text at byte 1; save it as UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read(site: Path, make: Any, says: str) -> None:
    make(site)
    with pytest.raises(ConfigFileError) as caught:
        load_config(site)
    assert str(caught.value).startswith(f"{site}: {says}")


def test_a_function_without_tables_of_its_own_takes_policy_and_search(site: Path) -> None:
    site.write_text('[interface.eth0]\nfunction = "bridge"\npolicy.x = 1\nsearch.points.y = "z"\n')
    (interface,) = load_config(site, functions=["bridge"]).interfaces
    assert (interface.policy, interface.search.points) == ({"x": 1}, {"y": ("z",)})
    assert interface.tables is None
    site.write_text('[interface.eth0]\nfunction = "bridge"\nrules = []\n')
    with pytest.raises(ConfigFileError, match=r'eth0.rules: .*; function "bridge" has no such'):
        load_config(site, functions=["bridge"])


def test_a_template_of_the_operator_is_found_beside_the_file(site: Path) -> None:
    for name in ("own.bpf.c", "filter.bpf.c"):
        (site.parent / name).touch()
    own = load_one(site, '[interface.eth0]\nfunction = "./own.bpf.c"\n')
    assert (own.function, own.tables) == (str(site.parent.resolve() / "own.bpf.c"), None)
    changed = load_one(site, '[interface.eth0]\nfunction = "filter.bpf.c"\n')
    assert changed.tables == FilterTables()


def test_a_wrong_function_is_the_only_problem_of_its_tables(site: Path) -> None:
    (told,) = problems_of(site, '[interface.eth0]\nfunction = "x"\nrules = 1\nsets = 1\n')
    assert told.startswith("interface.eth0.function: ")
