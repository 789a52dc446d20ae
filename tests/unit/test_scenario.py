# SPDX-License-Identifier: GPL-2.0-only
"""The scenarios that come with the project: each loads, and its traffic is what it says."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.filter_changes import AddPrefix, SetRules
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.l4lb_tables import DrainBackend, L4lbTables, SetBackend
from iridescent_xdp.functions.router_tables import DeleteRoute, RouterTables, SetRoute
from traffic.mix_stream import Stream
from traffic.scenario import Phase, Scenario, load_scenario, scenario_names
from traffic.scenario_changes import tables_after

NEEDED = {
    "adversarial", "alternating", "diurnal", "five_phases", "flash_crowd", "hot_set",
    "ipv6_migration", "steady", "syn_flood", "vlan_appears",
}  # fmt: skip
HEAD = 'name = "x"\ndescription = "y"\nfunction = "{}"\n'
PHASE = '[[phase]]\nname = "{}"\nseconds = 1\n'


def written(tmp_path: Path, text: str, function: str = "filter") -> Scenario:
    path = tmp_path / "x.toml"
    path.write_text(HEAD.format(function) + text)
    return load_scenario(path)


def sent_share(stream: Stream, chosen: np.ndarray) -> float:
    """The share of the sends whose packet is chosen."""
    return float(chosen[stream.sequence].mean())


def by_packet(stream: Stream) -> Iterator[Ether]:
    return (Ether(packet) for packet in stream.packets)


def syn_alone(stream: Stream) -> np.ndarray:
    """IPv4 without options, TCP, and the byte of its flags (RFC 9293) has one bit."""
    return np.array(
        [p[12:15] == b"\x08\x00\x45" and (p[23], p[47]) == (6, 2) for p in stream.packets]
    )


def hottest(phase: Phase, count: int = 20) -> set[str]:
    """The destinations that most packets go to."""
    stream = phase.stream()
    times = np.bincount(stream.sequence, minlength=len(stream.packets))
    ranked = sorted(range(len(times)), key=lambda n: -times[n])
    packets = (Ether(stream.packets[n]).payload for n in ranked[:count])
    return {packet.dst for packet in packets}


def test_all_that_are_asked_for_are_there() -> None:
    assert set(scenario_names()) >= NEEDED


@pytest.mark.parametrize("name", scenario_names())
def test_a_scenario_loads_and_its_streams_fit_the_generator(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name and scenario.description and scenario.seconds > 0
    for phase in scenario.phases:
        stream = phase.stream()
        assert len(stream.packets) <= 4096 and len(stream.sequence) == 65_536
        assert len(np.unique(stream.sequence)) == len(stream.packets)
        assert 0 < phase.rate <= 1
    tables = tables_after(
        scenario.interface_tables(), [c for p in scenario.phases for c in p.changes]
    )
    assert (
        type(tables)
        is {"filter": FilterTables, "router": RouterTables, "l4lb": L4lbTables}[scenario.function]
    )


def test_a_stream_is_the_same_each_time_and_shared_by_equal_phases(tmp_path: Path) -> None:
    text = PHASE.format("a") + PHASE.format("b") + PHASE.format("c") + "hot = 1\n"
    one, two = written(tmp_path, text), written(tmp_path, text)
    first, second, third = (phase.stream() for phase in one.phases)
    assert first is second
    assert first.packets != third.packets
    assert first.packets == two.phases[0].stream().packets
    assert (first.sequence == two.phases[0].stream().sequence).all()


def test_the_hot_set_moves_and_returns() -> None:
    phases = load_scenario("hot_set").phases
    sets = [hottest(phase) for phase in phases]
    for earlier, later in pairwise(sets):
        assert len(earlier & later) < len(earlier) / 4
    assert sets[8:] == sets[:2]


def test_a_flood_is_syn_to_one_service_beside_the_established_flows() -> None:
    peace, flood, *_ = (phase.stream() for phase in load_scenario("syn_flood").phases)
    assert sent_share(peace, syn_alone(peace)) == 0
    assert sent_share(flood, syn_alone(flood)) == pytest.approx(0.75, abs=0.001)
    packets = (p for p, syn in zip(flood.packets, syn_alone(flood), strict=True) if syn)
    targets = {(str(IPv4Address(p[30:34])), int.from_bytes(p[36:38])) for p in packets}
    assert targets == {("198.19.0.10", 443)}
    assert set(peace.packets) & set(flood.packets), "the established flows go on"


def test_shares_of_a_mix_are_in_the_stream() -> None:
    for phase, wanted in zip(
        load_scenario("ipv6_migration").phases, (0, 0.02, 0.25, 0.75, 0.98), strict=True
    ):
        stream = phase.stream()
        six = np.array([packet[12:14] == b"\x86\xdd" for packet in stream.packets])
        assert sent_share(stream, six) == pytest.approx(wanted, abs=0.05 if 0 < wanted < 1 else 0)
    for phase, tags in zip(load_scenario("vlan_appears").phases, (0, 0.1, 1, 1, 0), strict=True):
        stream = phase.stream()
        tagged = np.array([p[12:14] in (b"\x81\x00", b"\x88\xa8") for p in stream.packets])
        assert sent_share(stream, tagged) == pytest.approx(tags, abs=0.05)


def test_rules_that_no_packet_can_match_are_not_aimed_at(tmp_path: Path) -> None:
    """A phase of TCP over IPv4 has nothing else, though rules are for UDP and IPv6 too."""
    _, tcp = load_scenario("alternating").phases
    (six,) = written(tmp_path, "[mix]\nipv6_share = 1.0\n" + PHASE.format("six")).phases
    for packet in by_packet(tcp.stream()):
        assert IP in packet and TCP in packet
    assert all(packet[12:14] == b"\x86\xdd" for packet in six.stream().packets)


def test_rounds_and_lists_of_hot_sets_are_phases(tmp_path: Path) -> None:
    text = (
        "rounds = 2\n[mix]\nflows = 8\n" + PHASE.format("a") + "hot = [4, 7]\n" + PHASE.format("b")
    )
    phases = written(tmp_path, text).phases
    names = ["a hot 4", "a hot 7", "b"]
    assert [p.name for p in phases] == names + [f"{name} (2)" for name in names]
    assert [p.hot for p in phases] == [4, 7, 0, 4, 7, 0]
    assert phases[0].stream() is phases[3].stream()
    assert len(phases[0].stream().packets) == 8


def test_the_inner_mix_goes_before_the_outer_one(tmp_path: Path) -> None:
    text = (
        "[mix]\nflows = 100\nipv6_share = 1.0\n" + PHASE.format("a") + "[phase.mix]\nflows = 50\n"
    )
    (phase,) = written(tmp_path, text).phases
    stream = phase.stream()
    assert len(stream.packets) == 50
    six = sum(packet[12:14] == b"\x86\xdd" for packet in stream.packets)
    assert six > 25  # but for rules that are for IPv4 alone


# -- tables --------------------------------------------------------------------------------


def test_tables_are_made_or_written_out(tmp_path: Path) -> None:
    made = written(tmp_path, "[tables]\ncount = 100\n" + PHASE.format("a")).interface_tables()
    assert isinstance(made, FilterTables) and len(made.rules) == 100
    text = '[[tables.filter.rules]]\nprotocol = "udp"\ndestination_port = 53\naction = "drop"\n'
    own = written(tmp_path, text + PHASE.format("a"))
    tables = own.interface_tables()
    assert isinstance(tables, FilterTables) and len(tables.rules) == 1
    stream = own.phases[0].stream()
    matching = np.array([p[23] == 17 and p[36:38] == b"\x00\x35" for p in stream.packets])
    assert sent_share(stream, matching) == pytest.approx(0.2, abs=0.05)


def test_routes_written_out_are_hit(tmp_path: Path) -> None:
    text = (
        '[[tables.router.routes]]\nprefix = "203.0.113.0/24"\ninterface = "eth1"\n'
        'via = "02:00:00:00:00:09"\n[mix]\nflows = 16\n'
    )
    scenario = written(tmp_path, text + PHASE.format("a"), "router")
    network = IPv4Network("203.0.113.0/24")
    for packet in by_packet(scenario.phases[0].stream()):
        assert IPv4Address(packet[IP].dst) in network
    tables = scenario.interface_tables()
    assert isinstance(tables, RouterTables) and tables.ingress == ""


# -- changes -------------------------------------------------------------------------------


def test_changes_of_rules_are_made_from_the_rules_of_then(tmp_path: Path) -> None:
    text = PHASE.format("a") + (
        "[[phase.changes]]\nat_s = 0.9\nremove_rule = { place = 1 }\n"
        "[[phase.changes]]\nat_s = 0.1\n"
        'add_rule = { place = 0, protocol = "udp", action = "drop" }\n'
        '[[phase.changes]]\nat_s = 0.5\nadd_prefix = { set = "deny", prefix = "192.0.2.0/24" }\n'
    )
    scenario = written(tmp_path, text)
    add, prefix, remove = scenario.phases[0].changes
    assert [c.what for c in (add, prefix, remove)] == ["add_rule", "add_prefix", "remove_rule"]
    tables = scenario.interface_tables()
    assert isinstance(tables, FilterTables)
    (made,) = add.for_tables(tables)
    assert isinstance(made, SetRules) and made.rules[0].protocol == 17
    assert made.rules[1:] == tables.rules
    assert prefix.for_tables(tables) == (
        AddPrefix(name="deny", prefix=IPv4Network("192.0.2.0/24")),
    )
    after = tables_after(tables, scenario.phases[0].changes)
    assert isinstance(after, FilterTables)
    assert after.rules == (made.rules[0], *tables.rules[1:])
    assert after.deny == (IPv4Network("192.0.2.0/24"),)
    with pytest.raises(ConfigError, match="no place 1 in a list of 0 rules"):
        remove.for_tables(FilterTables())


def test_changes_of_services_and_routes(tmp_path: Path) -> None:
    text = PHASE.format("a") + (
        "[[phase.changes]]\nat_s = 0\ndrain_backend = { service = 0, backend = 2 }\n"
        '[[phase.changes]]\nat_s = 0\nadd_backend = { service = 0, address = "10.9.9.9" }\n'
    )
    scenario = written(tmp_path, text, "l4lb")
    tables = scenario.interface_tables()
    assert isinstance(tables, L4lbTables)
    (drain,), (add,) = (c.for_tables(tables) for c in scenario.phases[0].changes)
    assert isinstance(drain, DrainBackend) and isinstance(add, SetBackend)
    assert drain.address == tables.services[0].backends[2].address
    after = tables_after(tables, scenario.phases[0].changes)
    assert isinstance(after, L4lbTables)
    assert len(after.services[0].backends) == len(tables.services[0].backends) + 1
    text = PHASE.format("a") + (
        '[[phase.changes]]\nat_s = 0\nset_route = { prefix = "203.0.113.0/24", hop = 3 }\n'
        '[[phase.changes]]\nat_s = 1\ndelete_route = { prefix = "203.0.113.0/24" }\n'
    )
    scenario = written(tmp_path, "[tables]\ncount = 10\n" + text, "router")
    before = scenario.interface_tables()
    first, second = scenario.phases[0].changes
    (put,), (gone,) = first.for_tables(before), second.for_tables(before)
    assert isinstance(put, SetRoute) and isinstance(gone, DeleteRoute)
    assert put.route.via == bytes.fromhex("020000000103") and put.route.interface == "lo"
    assert tables_after(before, (first, second)) == before
