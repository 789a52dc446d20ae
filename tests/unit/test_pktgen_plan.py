# SPDX-License-Identifier: GPL-2.0-only
"""A mix as pktgen devices: the shares become counts, and what can not be said is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iridescent_xdp.config import ConfigFileError
from iridescent_xdp.errors import ConfigError, TrafficError
from iridescent_xdp.functions.rules import Rule
from traffic.mix_file import NAMED, mix_of, read_mix
from traffic.mix_spec import IMIX, Mix
from traffic.mixes import build
from traffic.pktgen_plan import Kind, PktgenPlan, divided, plan_mix

UDP = (0.0, 1.0, 0.0, 0.0)


def test_imix_becomes_three_devices() -> None:
    plan = plan_mix(Mix(name="x", size_bytes=IMIX, protocol_shares=UDP), 1_200)
    assert [(k.size_bytes, k.count) for k in plan.kinds] == [(60, 700), (590, 400), (1514, 100)]
    assert plan.count == 1_200
    assert plan.notes == ("without a rate the kernel sends one kind of packets after the other",)


def test_families_tags_and_rates() -> None:
    mix = Mix(
        name="x", flows=16, protocol_shares=UDP, ipv6_share=0.25, vlan_shares=(0.5, 0.25, 0.25)
    )
    plan = plan_mix(mix, 800, pps=8_000)
    by_kind = {(k.family, k.tags): (k.count, k.pps) for k in plan.kinds}
    assert by_kind == {
        (4, 0): (300, 3000), (4, 1): (150, 1500), (4, 2): (150, 1500),
        (6, 0): (100, 1000), (6, 1): (50, 500), (6, 2): (50, 500),
    }  # fmt: skip
    four, six = plan.kinds[0], plan.kinds[-1]
    assert four.destinations == four.distinct == 16 and six.destinations == 1
    assert six.source_ports == (1024, 1039) and six.distinct == 16
    told = " ".join(plan.notes)
    assert "0x8100" in told and "source ports" in told and "78 bytes" in told


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"protocol_shares": (0.7, 0.3, 0.0, 0.0)}, "UDP only"),
        ({"locality": "high"}, "locality='high'"),
        ({"ip_options_share": 0.1}, "ip_options_share=0.1"),
        ({"fragment_share": 0.1}, "fragment_share=0.1"),
        ({"break_share": 0.1}, "break_share=0.1"),
        ({"hits": (Rule(protocol=17, action="drop"),)}, "it knows no rules, hits has 1"),
    ],
)
def test_what_pktgen_can_not_express(change: dict[str, object], told: str) -> None:
    mix = Mix(name="x", **{"protocol_shares": UDP, **change})  # type: ignore[arg-type]
    with pytest.raises(TrafficError, match=r"can not send mix 'x'.*approximate") as raised:
        plan_mix(mix, 100)
    assert told in str(raised.value)
    (note,) = plan_mix(mix, 100, approximate=True).notes
    assert told in note


def test_everything_that_is_lacking_is_told_at_once() -> None:
    with pytest.raises(TrafficError) as raised:
        plan_mix(NAMED["mixed"], 1000)
    assert str(raised.value).count("; ") == 2


def test_more_kinds_than_packets() -> None:
    mix = Mix(name="x", size_bytes=IMIX, protocol_shares=UDP)
    with pytest.raises(TrafficError, match="3 kinds of packets needs count >= 3, got 2"):
        plan_mix(mix, 2)


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"tags": 3}, "0 <= tags <= 2"),
        ({"destinations": 0}, "destinations >= 1"),
        ({"family": 6, "destinations": 2}, "destinations = 1 for IPv6"),
        ({"source_ports": (5, 4)}, "first <= last"),
        ({"destination_ports": (5, 65_535)}, "last < 65535"),
        ({"pps": 0.5}, "pps >= 1"),
        ({"count": -1}, "count >= 0"),
    ],
)
def test_a_kind_checks_itself(wrong: dict[str, object], rule: str) -> None:
    with pytest.raises(TrafficError, match=rule):
        Kind(**wrong)  # type: ignore[arg-type]


@given(counts=st.lists(st.integers(1, 10_000), min_size=1, max_size=5), threads=st.integers(1, 8))
def test_divided_loses_nothing(counts: list[int], threads: int) -> None:
    plan = PktgenPlan(name="x", kinds=tuple(Kind(count=count) for count in counts))
    parts = divided(plan, threads)
    assert len(parts) == threads
    assert sum(part.count for part in parts) == plan.count
    assert all(kind.count for part in parts for kind in part.kinds)


def test_endless_stays_endless() -> None:
    plan = PktgenPlan(name="x", kinds=(Kind(pps=100),))
    assert [k for part in divided(plan, 2) for k in part.kinds] == [Kind(pps=50)] * 2


# -- traffic files ---------------------------------------------------------------------------

FILE = """
flows = 64
protocol_shares = { udp = 1.0 }
size_bytes = [[60, 0.75], [1514, 0.25]]
vlan_shares = [0.5, 0.5, 0.0]
ipv6_share = 0.5
break_kinds = ["vlan"]
"""
RULES = """
default_share = 0.5
[[rules]]
protocol = "udp"
destination_port = 53
action = "drop"
"""


def test_a_file_feeds_both_generators(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(FILE)
    mix = mix_of(str(path))
    assert (mix.name, mix.flows, mix.protocol_shares, mix.locality) == ("site", 64, UDP, "none")
    assert mix.size_bytes == ((60, 0.75), (1514, 0.25)) and mix.vlan_shares == (0.5, 0.5, 0.0)
    assert len(build(mix).packets) == 64
    assert plan_mix(mix, 800).count == 800


def test_rules_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    mix = read_mix(path)
    assert mix.hits == (Rule(protocol=17, destination_ports=(53, 53), action="drop"),)
    assert mix.default_share == 0.5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("flow = 5", "flow: is not a known key; did you mean 'flows'"),
        ("flows = 'x'", "flows: must be a number"),
        ("locality = 'hgh'", 'did you mean "high"'),
        ("vlan_shares = 1", "vlan_shares: must be shares of 0, 1 and 2 tags, got 1"),
        ("[[rules]]\naction = 'drp'", "rules[0].action: must be one of"),
        ("flows = ", "not TOML"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigFileError) as raised:
        read_mix(path)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [("ipv6_share = 2", "0 <= ipv6_share <= 1"), ("vlan_shares = [1, 0]", "are 3 numbers")],
)
def test_a_value_out_of_range(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(TrafficError, match=f"mix 'wrong': .*{told}"):
        read_mix(path)


def test_an_unknown_name() -> None:
    with pytest.raises(ConfigError, match=r"there is no mix 'pain'.*plain, high"):
        mix_of("pain")


def test_names() -> None:
    assert all(mix_of(name).name == name for name in NAMED)


def test_the_example() -> None:
    mix = read_mix(Path(__file__).parents[2] / "examples" / "traffic.toml")
    assert sum(kind.count for kind in plan_mix(mix, 1_200, pps=10_000).kinds) == 1_200
