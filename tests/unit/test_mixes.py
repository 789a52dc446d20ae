# SPDX-License-Identifier: GPL-2.0-only
"""Mixes: scapy checks the frames, the packet model says which rule they hit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet

from iridescent_xdp.errors import TrafficError
from iridescent_xdp.functions.rules import Rule
from tests.unit.packet_model import DEFAULT, classify
from traffic.mix_shares import apportion, zipf_exponent
from traffic.mix_stream import fitted
from traffic.mixes import IMIX, Mix, Stream, build, expected_counts, flows_for_rules
from traffic.packet_build import Flow, Fragment, Shape, frame

RULES = tuple(
    Rule(source=ip_network(f"10.{n}.0.0/16"), protocol=17 if n % 2 else 6,
         destination_ports=(n, 2 * n), action="drop")
    for n in range(1, 65)
)  # fmt: skip


def rebuilt(data: bytes) -> bytes:
    """``data`` with every length and checksum computed by scapy."""
    packet = layer = Ether(data)
    while layer:
        for name in ("len", "plen", "chksum", "cksum"):
            layer.fields.pop(name, None)
        layer = layer.payload
    return bytes(packet)


def weighted(stream: Stream, test: Callable[[Packet], bool]) -> float:
    """The share of the stream's packets for which ``test`` holds."""
    counts = np.bincount(stream.sequence, minlength=len(stream.packets))
    return sum(int(n) for n, data in zip(counts, stream.packets, strict=True)
               if test(Ether(data))) / len(stream.sequence)  # fmt: skip


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", [6, 17, 132, 1, 58, 47, 50])
def test_lengths_and_checksums_are_scapys(family: Any, protocol: int) -> None:
    flow = Flow(family=family, source=0x0A010203, destination=0xC0000201, protocol=protocol,
                source_port=0xFFFE, destination_port=53, tcp_flags=0x29)  # fmt: skip
    for tags, options, size in product((0, 1, 2, 3), (0, 8, 40), (60, 61, 590, 1514)):
        data = frame(flow, Shape(tags=tags, options_bytes=options, size_bytes=size), 0xABCD)
        assert data == rebuilt(data)
        headers = len(frame(flow, Shape(tags=tags, options_bytes=options, size_bytes=0)))
        assert len(data) == max(size, headers)


def test_a_udp_checksum_of_zero_is_sent_as_ffff() -> None:
    # RFC 768: zero means that there is none.
    flows = (Flow(family=4, source=n, destination=1, protocol=17) for n in range(0x20000))
    data = next(d for d in (frame(f, Shape()) for f in flows) if d[40:42] in (b"\0\0", b"\xff\xff"))
    assert data[40:42] == b"\xff\xff"
    assert data == rebuilt(data)


@pytest.mark.parametrize(("fragment", "offset", "more"), [("first", 0, 1), ("later", 185, 0)])
def test_fragments_are_announced_and_keep_the_ports_place(
    fragment: Fragment, offset: int, more: int
) -> None:
    flow = Flow(family=4, source=1, destination=2, protocol=17, source_port=7, destination_port=8)
    ip = Ether(frame(flow, Shape(fragment=fragment)))[IP]
    assert (ip.frag, int(ip.flags)) == (offset, more)
    assert bytes(ip)[20:24] == bytes((0, 7, 0, 8))
    data = frame(replace(flow, family=6), Shape(fragment=fragment))
    header = Ether(data)[IPv6ExtHdrFragment]
    assert (header.offset, header.m, header.nh) == (offset, more, 17)
    assert data[62:66] == bytes((0, 7, 0, 8))


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


@pytest.mark.parametrize(
    ("locality", "flows", "share"),
    [("none", 1000, 0.05), ("low", 1000, 0.60), ("high", 1000, 0.945), ("high", 4096, 0.92),
     ("high", 64, 0.95), ("none", 1, 1.0), ("high", 1, 1.0)],
)  # fmt: skip
def test_the_top_twentieth_gets_its_share(locality: Any, flows: int, share: float) -> None:
    sequence = build(Mix(name="z", flows=flows, locality=locality)).sequence
    counts = np.sort(np.bincount(sequence))[::-1]
    assert counts[: max(1, round(flows / 20))].sum() / 65_536 == pytest.approx(share, abs=0.005)
    assert counts.sum() == 65_536


def test_zipf_exponents() -> None:
    assert zipf_exponent(1000, "high") == pytest.approx(1.63, abs=0.01)
    assert zipf_exponent(4096, "high") == pytest.approx(1.47, abs=0.01)
    assert zipf_exponent(1000, "low") == pytest.approx(1.0, abs=0.01)
    assert zipf_exponent(1000, "none") == 0


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=50), st.integers(0, 5000))
def test_apportioned_counts_add_up_and_follow_the_weights(weights: list[float], more: int) -> None:
    total = len(weights) + more
    counts = apportion(np.array(weights), total)
    assert counts.sum() == total
    assert counts.min() >= 1
    order = np.argsort(weights, kind="stable")
    assert (np.diff(counts[order]) >= -1).all()


PARTS: dict[str, tuple[float, Callable[[Packet], bool]]] = {
    "tcp": (0.4, lambda p: TCP in p),
    "udp": (0.3, lambda p: UDP in p),
    "icmp": (0.2, lambda p: ICMP in p or ICMPv6EchoRequest in p),
    "other": (0.1, lambda p: not {TCP, UDP, ICMP, ICMPv6EchoRequest} & set(p.layers())),
    "sctp": (0.1 / 3, lambda p: SCTP in p),
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


def test_break_share_is_exact_and_of_every_kind() -> None:
    stream = build(Mix(name="b", flows=1000, break_share=0.01, hits=RULES))
    counts = np.bincount(stream.sequence)
    assert len(stream.packets) == 1060
    assert counts[1000:].sum() == round(0.01 * 65_536)
    kinds = Counter()
    for data in stream.packets[1000:]:
        packet = Ether(data)
        kinds[packet.haslayer(Dot1AD), packet.haslayer(Dot1Q), packet.haslayer(IPv6),
              IP in packet and packet[IP].ihl > 5, IP in packet and packet[IP].frag > 0] += 1  # fmt: skip
    assert sorted(kinds.values()) == [12] * 5
    for data in map(Ether, stream.packets[:1000]):
        assert Dot1Q not in data and IPv6 not in data and data[IP].ihl == 5 and not data[IP].frag


def test_one_kind_of_break_and_a_tiny_share() -> None:
    stream = build(Mix(name="b", flows=10, break_share=0.0001, break_kinds=("ipv6",)))
    assert weighted(stream, lambda p: IPv6 in p) == 7 / 65_536
    assert len(stream.packets) == 17


@given(st.integers(0, 300), st.integers(0, 300))
def test_expected_counts_are_what_a_sender_sends(first: int, count: int) -> None:
    stream = Stream(name="s", packets=(b"a" * 14, b"b" * 14, b"c" * 14, b"d" * 14),
                    sequence=np.array([2, 0, 1, 1, 2, 1, 0], dtype=np.uint32))  # fmt: skip
    sent = Counter(stream.frames(first, count))
    assert expected_counts(stream, first, count).tolist() == [sent[p] for p in stream.packets]


def test_expected_counts_of_billions() -> None:
    stream = build(Mix(name="s", flows=16))
    counts = expected_counts(stream, 1, 65_536 * 100_000 + 3)
    assert counts.sum() == 65_536 * 100_000 + 3
    base = 100_000 * np.bincount(stream.sequence)
    assert (counts - base).tolist() == np.bincount(stream.sequence[1:4], minlength=16).tolist()
    with pytest.raises(TrafficError, match="count >= 0 must hold, got first=0, count=-1"):
        expected_counts(stream, 0, -1)


def test_a_stream_is_fitted_to_a_sender() -> None:
    stream = Stream(name="s", packets=(b"a", b"b", b"c"), sequence=np.array([2, 2, 1, 2, 0]))
    assert "".join(p.decode() for p in fitted(stream, positions=8).frames()) == "ccbcaccb"
    assert "".join(p.decode() for p in fitted(stream, positions=3).frames()) == "ccb"
    small = fitted(stream, packets=2, positions=6)
    assert "".join(p.decode() for p in small.frames()) == "ccbccc"
    assert set(small.packets) == {b"b", b"c"}
    assert small.sequence.dtype == np.uint32
    built = build(Mix(name="m", flows=4))
    assert fitted(built) is built


@pytest.mark.parametrize(
    ("sequence", "words"),
    [([], "1 packets and 0 positions"), ([0, 1], "has 1 packets, its sequence asks for packet 1")],
)
def test_a_stream_without_meaning_is_refused(sequence: list[int], words: str) -> None:
    with pytest.raises(TrafficError, match=words):
        Stream(name="s", packets=(b"a",), sequence=np.array(sequence, dtype=np.uint32))


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
    r"seed >= 0 must hold, got seed=-1": {"seed": -1},
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_wrong_mix_is_refused_by_name_and_value(words: str) -> None:
    with pytest.raises(TrafficError, match=f"mix 'wrong': .*{words}"):
        Mix(name="wrong", **MISTAKES[words])
