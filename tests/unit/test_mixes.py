# SPDX-License-Identifier: GPL-2.0-only
"""Mixes: scapy checks the frames, the packet model says which rule they hit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet

from iridescent_xdp.errors import TrafficError
from iridescent_xdp.functions.rules import Rule
from tests.unit.packet_model import DEFAULT, classify
from traffic.mixes import IMIX, Mix, Stream, build, flows_for_rules

RULES = tuple(
    Rule(source=ip_network(f"10.{n}.0.0/16"), protocol=17 if n % 2 else 6,
         destination_ports=(n, 2 * n), action="drop")
    for n in range(1, 65)
)  # fmt: skip


def weighted(stream: Stream, test: Callable[[Packet], bool]) -> float:
    """The share of the stream's packets for which ``test`` holds."""
    counts = np.bincount(stream.sequence, minlength=len(stream.packets))
    return sum(int(n) for n, data in zip(counts, stream.packets, strict=True)
               if test(Ether(data))) / len(stream.sequence)  # fmt: skip


def test_4096_flows_are_built_in_two_seconds() -> None:
    mix = Mix(name="large", flows=4096, locality="high", size_bytes=IMIX, ipv6_share=0.2,
              vlan_shares=(0.5, 0.3, 0.2), hits=RULES, default_share=0.1)  # fmt: skip
    start = time.monotonic()
    stream = build(mix)
    assert time.monotonic() - start < 2
    assert len(set(stream.packets)) == len(stream.packets) == 4096
    assert stream.sequence.dtype == np.uint32
    assert len(stream.sequence) == 65_536
    assert set(stream.sequence.tolist()) == set(range(4096))


def test_a_seed_gives_one_stream() -> None:
    mix = Mix(name="a", flows=100, hits=RULES, break_share=0.01)
    one, same, other = build(mix), build(mix), build(replace(mix, seed=1))
    assert one.packets == same.packets
    assert (one.sequence == same.sequence).all()
    assert one.packets != other.packets
    assert (one.sequence != other.sequence).any()
    plain = Mix(name="b", flows=100)
    assert build(plain).packets != build(replace(plain, seed=1)).packets


PARTS: dict[str, tuple[float, Callable[[Packet], bool]]] = {
    "tcp": (0.4, lambda p: TCP in p),
    "udp": (0.3, lambda p: UDP in p),
    "icmp": (0.2, lambda p: ICMP in p or ICMPv6EchoRequest in p),
    "other": (0.1, lambda p: not {TCP, UDP, ICMP, ICMPv6EchoRequest} & set(p.layers())),
    "ipv6": (0.25, lambda p: IPv6 in p),
    "one tag": (0.3, lambda p: Dot1Q in p and Dot1AD not in p),
    "two tags": (0.2, lambda p: Dot1AD in p and Dot1Q in p),
    "options": (0.1, lambda p: IPv6ExtHdrHopByHop in p or (IP in p and p[IP].ihl > 5)),
    "590 bytes": (4 / 12, lambda p: len(p) == 590),
    "1514 bytes": (1 / 12, lambda p: len(p) == 1514),
}


@pytest.mark.parametrize("locality", ["none", "low"])
def test_shares_are_shares_of_the_packets(locality: Any) -> None:
    stream = build(Mix(
        name="shares", flows=2000, locality=locality, protocol_shares=(0.4, 0.3, 0.2, 0.1),
        ipv6_share=0.25, vlan_shares=(0.5, 0.3, 0.2), ip_options_share=0.1, size_bytes=IMIX,
    ))  # fmt: skip
    packets = [Ether(data) for data in stream.packets]
    for name, (share, test) in PARTS.items():
        counts = np.bincount(stream.sequence) * [test(packet) for packet in packets]
        assert counts.sum() / 65_536 == pytest.approx(share, abs=0.01), name
    assert any(SCTP in packet for packet in packets)
    both = np.bincount(stream.sequence) * [IPv6 in p and TCP in p for p in packets]
    # One flow of low locality has more packets than most combinations should have.
    assert both.sum() / 65_536 == pytest.approx(0.1, abs=0.005 if locality == "none" else 0.03)


def test_fragment_share_counts_later_fragments() -> None:
    stream = build(Mix(name="f", flows=500, fragment_share=0.2))
    assert weighted(stream, lambda p: p[IP].frag > 0) == pytest.approx(0.2, abs=0.005)


def test_each_rule_is_hit_by_as_many_flows() -> None:
    stream = build(Mix(name="h", flows=1000, hits=RULES, default_share=0.36))
    slots = Counter(classify(data, RULES)[0] for data in stream.packets)
    assert slots.pop(DEFAULT) == 360
    assert set(slots) == set(range(64))
    assert set(slots.values()) == {10}


def test_the_heaviest_flows_hit_rules_all_over_the_list() -> None:
    stream = build(Mix(name="h", flows=100, locality="high", hits=RULES))
    heaviest = np.argsort(-np.bincount(stream.sequence), kind="stable")[:7]
    slots = [classify(stream.packets[index], RULES)[0] for index in heaviest]
    assert slots == [32, 16, 48, 8, 24, 40, 56]


def test_default_share_is_of_the_packets() -> None:
    stream = build(Mix(name="d", flows=500, locality="high", hits=RULES, default_share=0.2))
    counts = np.bincount(stream.sequence)
    hits = [classify(data, RULES)[0] == DEFAULT for data in stream.packets]
    assert counts[np.array(hits)].sum() / 65_536 == pytest.approx(0.2, abs=0.01)


OVERLAPPING = (
    Rule(source=ip_network("2001:db8::/64"), action="drop"),
    Rule(protocol=6, tcp_flags=(0x12, 0x02), action="drop"),
    Rule(destination_ports=(53, 53), action="pass"),
    Rule(source=ip_network("198.18.0.0/15"), protocol=6, action="drop"),
    Rule(source_ports=(1, 5000), protocol=132, action="pass"),
    Rule(protocol=51, action="drop"),
    Rule(source=ip_network("198.18.0.0/15"), action="drop"),
    Rule(destination=ip_network("2001:2::/32"), action="pass"),
)


def test_the_first_match_is_the_intended_rule_when_rules_overlap() -> None:
    stream = build(Mix(name="o", flows=160, hits=OVERLAPPING, default_share=0.1, ipv6_share=0.5,
                       protocol_shares=(0.4, 0.2, 0.3, 0.1)))  # fmt: skip
    slots = Counter(classify(data, OVERLAPPING)[0] for data in stream.packets)
    assert slots == {DEFAULT: 16} | dict.fromkeys(range(8), 18)


def test_any_condition_may_come_first() -> None:
    rules = (
        Rule(source=ip_network("::/0"), action="drop"),
        Rule(destination_ports=(0, 65535), action="drop"),
        Rule(destination=ip_network("192.0.2.0/24"), action="pass"),
        Rule(protocol=1, action="drop"),
        Rule(source=ip_network("198.18.0.0/17"), action="drop"),
    )
    stream = build(Mix(name="a", flows=60, hits=rules, default_share=0.25))
    slots = Counter(classify(data, rules)[0] for data in stream.packets)
    assert slots == {DEFAULT: 15} | dict.fromkeys(range(5), 9)


@pytest.mark.parametrize("source", ["192.0.2.1/32", "2001:db8::1/128"])
def test_packets_differ_even_where_a_rule_leaves_one_flow(source: str) -> None:
    rule = Rule(source=ip_network(source), destination=ip_network(source), protocol=6,
                source_ports=(1, 1), destination_ports=(2, 2), action="drop")  # fmt: skip
    assert len(set(build(Mix(name="one", flows=4096, hits=(rule,))).packets)) == 4096


@pytest.mark.parametrize(
    ("rules", "share", "words"),
    [
        ((RULES[4], replace(RULES[4], action="pass")), 0.0, r"rule 1 .*matches rule 0 before"),
        ((Rule(action="drop"),), 0.5, "none is left for the default"),
        ((Rule(source=ip_network("::/0"), protocol=60, action="drop"),), 0.0, "extension header"),
        ((), 0.5, "be 1 without rules, got 0.5"),
        (RULES, 1.5, "must lie in 0..1"),
    ],
)
def test_what_cannot_be_hit_is_an_error(rules: Any, share: float, words: str) -> None:
    with pytest.raises(TrafficError, match=words):
        flows_for_rules(rules, share)


def oddities(data: bytes) -> tuple[str, ...]:
    """What in a frame breaks assumptions, as scapy sees it."""
    packet = Ether(data)
    ip = packet.getlayer(IP)
    found = {
        "vlan": Dot1Q in packet,
        "qinq": Dot1AD in packet,
        "ipv6": IPv6 in packet,
        "options": ip is not None and ip.ihl > 5,
        "later": ip is not None and ip.frag > 0,
    }
    return tuple(name for name, there in found.items() if there)


def test_break_share_is_exact_and_of_every_kind() -> None:
    stream = build(Mix(name="b", flows=1000, break_share=0.01, hits=RULES))
    counts = np.bincount(stream.sequence)
    assert len(stream.packets) == 1060
    assert counts[1000:].sum() == round(0.01 * 65_536)
    kinds = Counter(oddities(data) for data in stream.packets[1000:])
    assert kinds == {
        ("vlan",): 12,
        ("vlan", "qinq"): 12,
        ("ipv6",): 12,
        ("options",): 12,
        ("later",): 12,
    }
    assert {oddities(data) for data in stream.packets[:1000]} == {()}


def test_one_kind_of_break_and_a_tiny_share() -> None:
    stream = build(Mix(name="b", flows=10, break_share=0.0001, break_kinds=("ipv6",)))
    assert weighted(stream, lambda p: IPv6 in p) == 7 / 65_536
    assert len(stream.packets) == 17


MISTAKES: dict[str, dict[str, Any]] = {
    r"1 <= flows <= 4096 must hold, got flows=0": {"flows": 0},
    r"1 <= flows <= 4096 must hold, got flows=4097": {"flows": 4097},
    r"1 <= flows <= 4036 must hold, got flows=4096": {"flows": 4096, "break_share": 0.1},
    r"locality is 'high', 'low' or 'none' must hold, got locality='some'": {"locality": "some"},
    r"60 <= size_bytes <= 1514 must hold, got size_bytes=59": {"size_bytes": 59},
    r"got size_bytes=1515": {"size_bytes": ((60, 0.5), (1515, 0.5))},
    r"the shares of size_bytes are 2 .*got .*\(0.5, 0.6\)": {"size_bytes": ((60, 0.5), (70, 0.6))},
    r"the shares of size_bytes are 0": {"size_bytes": ()},
    r"protocol_shares are 4 .*add up to 1": {"protocol_shares": (1.0, 0.1, 0.0, 0.0)},
    r"protocol_shares=\(1.0,\)": {"protocol_shares": (1.0,)},
    r"vlan_shares=\(1.5, -0.5, 0.0\)": {"vlan_shares": (1.5, -0.5, 0.0)},
    r"0 <= ipv6_share <= 1 must hold, got ipv6_share=1.1": {"ipv6_share": 1.1},
    r"got ip_options_share=-1": {"ip_options_share": -1},
    r"0 <= break_share <= 0.5 must hold, got break_share=0.6": {"break_share": 0.6},
    r"break_kinds=\('mpls',\)": {"break_kinds": ("mpls",)},
    r"default_share = 0 without hits must hold, got default_share=0.5": {"default_share": 0.5},
    r"seed >= 0 must hold, got seed=-1": {"seed": -1},
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_wrong_mix_is_refused_by_name_and_value(words: str) -> None:
    with pytest.raises(TrafficError, match=f"mix 'wrong': .*{words}"):
        Mix(name="wrong", **MISTAKES[words])
