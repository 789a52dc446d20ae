# SPDX-License-Identifier: GPL-2.0-only
"""The preflight corpus: the packet model and scapy say what is in it."""

from __future__ import annotations

import time
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import pytest
import scapy.layers.inet6  # noqa: F401  (makes conf.route6)
from hypothesis import given
from hypothesis import strategies as st
from scapy.config import conf
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from iridescent_xdp.errors import TrafficError
from iridescent_xdp.functions.rules import Rule
from tests.unit import packet_model as model
from tests.unit.packet_model import DEFAULT, classify
from traffic import corpus_ipv4, corpus_ipv6
from traffic.corpus import Sample, corpus, crafted, for_rules, fuzz, truncations
from traffic.corpus_crafted import stacks
from traffic.corpus_cut import header_length
from traffic.packet_build import _template

RULES = [
    Rule(source=ip_network(f"10.{n}.0.0/16"), protocol=17 if n % 2 else 6,
         destination_ports=(n, 2 * n), action="drop")
    for n in range(1, 65)
]  # fmt: skip
SHAPES = ("plain", "1-tag", "2-tags", "options", "first-fragment", "later-fragment")


def prefixes(version: int) -> st.SearchStrategy[IPv4Network | IPv6Network]:
    network, bits = (IPv4Network, 32) if version == 4 else (IPv6Network, 128)
    return st.tuples(st.integers(0, 2**bits - 1), st.integers(0, bits)).map(
        lambda pair: network((pair[0] >> (bits - pair[1]) << (bits - pair[1]), pair[1]))
    )


port_ranges = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(
    lambda pair: (min(pair), max(pair))
)


@st.composite
def some_rule(draw: st.DrawFn) -> Rule:
    network = st.none() | prefixes(draw(st.sampled_from((4, 6))))
    protocol = draw(st.sampled_from((None, 1, 6, 17, 47, 58, 132)))
    ports = st.none() | port_ranges if protocol in (None, 6, 17, 132) else st.none()
    mask = draw(st.integers(0, 255))
    flags = st.none() | st.integers(0, 255).map(lambda value: (mask, value & mask))
    return Rule(
        source=draw(network),
        destination=draw(network),
        protocol=protocol,
        source_ports=draw(ports),
        destination_ports=draw(ports),
        tcp_flags=draw(flags) if protocol in (None, 6) else None,
        action="drop",
    )


@given(some_rule())
def test_hits_hit_and_misses_miss_in_every_shape(rule: Rule) -> None:
    asks_ports = rule.source_ports or rule.destination_ports or rule.tcp_flags
    for name, frame in for_rules([rule]):
        _, label, shape = name.split("/")
        hit = label.startswith("hit") and not (shape == "later-fragment" and asks_ports)
        assert classify(frame, [rule]) == ((0, "drop") if hit else (DEFAULT, "pass")), name


def test_every_condition_is_missed_by_one_on_both_sides() -> None:
    rule = Rule(source=ip_network("10.1.0.0/16"), destination=ip_network("192.0.2.8/29"),
                protocol=6, source_ports=(100, 200), destination_ports=(80, 80),
                tcp_flags=(0x12, 0x02), action="drop")  # fmt: skip
    seen = {}
    for name, frame in for_rules([rule]):
        _, label, shape = name.split("/")
        if shape == "plain" and label != "miss-family":
            ip = Ether(frame)[IP]
            flags = int(ip[TCP].flags) if TCP in ip else None
            ports = (getattr(ip, "sport", None), getattr(ip, "dport", None))
            seen[label] = (ip.src, ip.dst, ip.proto, *ports, flags)
    low = ("10.1.0.0", "192.0.2.8", 6, 100, 80, 0x02)
    high = ("10.1.255.255", "192.0.2.15", 6, 200, 80, 0x02)
    assert seen == {
        "hit-low": low,
        "hit-high": high,
        "hit-all-other-flags": (*low[:5], 0xEF),
        "miss-source-below": ("10.0.255.255", *low[1:]),
        "miss-source-above": ("10.2.0.0", *high[1:]),
        "miss-destination-below": (low[0], "192.0.2.7", *low[2:]),
        "miss-destination-above": (high[0], "192.0.2.16", *high[2:]),
        "miss-source-port-below": (*low[:3], 99, *low[4:]),
        "miss-source-port-above": (*high[:3], 201, *high[4:]),
        "miss-destination-port-below": (*low[:4], 79, 0x02),
        "miss-destination-port-above": (*high[:4], 81, 0x02),
        "miss-protocol-1": (*low[:2], 1, None, None, None),
        "miss-protocol-17": (*low[:2], 17, 100, 80, None),
        "miss-flag-0x02": (*low[:5], 0x00),
        "miss-flag-0x10": (*low[:5], 0x12),
    }
    names = {name.split("/")[1] + "/" + name.split("/")[2] for name, _ in for_rules([rule])}
    assert names == {f"{label}/{shape}" for label in (*seen, "miss-family") for shape in SHAPES}


def test_the_other_family_keeps_the_first_word_of_the_addresses() -> None:
    rule = Rule(source=ip_network("10.1.2.3/32"), action="drop")
    frame = dict(for_rules([rule]))["rule-0/miss-family/plain"]
    assert Ether(frame).src and Ether(frame).payload.src == "a01:203::"


def test_edges_of_the_number_ranges_are_not_crossed() -> None:
    rule = Rule(source=ip_network("0.0.0.0/1"), destination=ip_network("128.0.0.0/1"),
                source_ports=(0, 5), destination_ports=(7, 65535), action="drop")  # fmt: skip
    labels = {name.split("/")[1] for name, _ in for_rules([rule])}
    assert {"miss-source-above", "miss-destination-below", "miss-source-port-above",
            "miss-destination-port-below"} <= labels  # fmt: skip
    assert not {"miss-source-below", "miss-destination-above", "miss-source-port-below",
                "miss-destination-port-above"} & labels  # fmt: skip


def test_all_rules_of_a_long_list_are_hit_and_64_in_all_shapes() -> None:
    rules = [Rule(source=ip_network((n << 8, 24)), action="drop") for n in range(1, 501)]
    shaped: dict[str, set[int]] = {shape: set() for shape in SHAPES}
    for name, frame in for_rules(rules):
        number, label, shape = name.split("/")
        if label.startswith("hit"):
            assert f"rule-{classify(frame, rules)[0]}" == number
            shaped[shape].add(int(number[5:]))
    assert shaped.pop("plain") == set(range(500))
    assert all(len(numbers) == 64 and {0, 499} <= numbers for numbers in shaped.values())


def test_packets_do_not_depend_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """scapy fills addresses that are left out from routes and neighbours."""

    def asked(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"scapy asked this machine: {args} {kwargs}")

    before = crafted(), stacks(), tuple(for_rules(RULES))
    monkeypatch.setattr(conf.route, "route", asked)
    monkeypatch.setattr(conf.route6, "route", asked)
    monkeypatch.setattr(conf.neighbor, "resolve", asked)
    for cached in (crafted, stacks, corpus_ipv4.transports, corpus_ipv6.transports, _template):
        cached.cache_clear()
    assert (crafted(), stacks(), tuple(for_rules(RULES))) == before


def test_crafted_packets_are_different_and_fit_a_frame() -> None:
    names, frames = zip(*crafted(), strict=True)
    assert len(set(names)) == len(set(frames)) == len(names)
    assert all(14 <= len(frame) <= 1514 for frame in frames)
    assert {14, 1514} <= {len(frame) for frame in frames}


def ipv4_headers() -> list[bytes]:
    return [frame[14:] for _, frame in crafted() if frame[12:14] == b"\x08\0" and len(frame) > 34]


def test_crafted_ipv4_has_every_oddity() -> None:
    headers = ipv4_headers()
    assert {h[0] & 15 for h in headers if h[9] == 6} == set(range(16))
    assert {h[0] & 15 for h in headers if h[9] == 17} == set(range(16))
    assert {0, 3, 5, 6, 15} <= {h[0] >> 4 for h in headers}
    assert {1, 2, 4, 6, 17, 41, 44, 47, 50, 51, 132, 255} <= {h[9] for h in headers}
    lengths = {int.from_bytes(h[2:4]) for h in headers if len(h) == 36}
    assert {0, 19, 20, 28, 35, 36, 37, 65535} <= lengths
    for protocol in (1, 6, 17, 132):
        fields = {int.from_bytes(h[6:8]) for h in headers if h[9] == protocol}
        assert {0x2000, 0x2001, 0x2000 | 185, 370, 0x1FFF, 0x4000, 0x8000} <= fields


def test_crafted_ipv6_has_chains_of_up_to_eight_extension_headers() -> None:
    known = {0, 43, 44, 51, 60}
    lengths, first = set(), set()
    for _, frame in crafted():
        if frame[12:14] != b"\x86\xdd" or len(frame) < 62:
            continue
        following, at, count = frame[20], 54, 0
        first.add(following)
        while following in known and at + 8 <= len(frame):
            size = {44: 8, 51: (frame[at + 1] + 2) * 4}.get(following, (frame[at + 1] + 1) * 8)
            following, at, count = frame[at], at + size, count + 1
        lengths.add(count)
    assert set(range(9)) <= lengths
    named = dict(crafted())
    for kind in ("hop", "route", "frag", "ah", "opts"):
        for count in range(2, 9):
            slot, _ = classify(named[f"ipv6/{count}-{kind}"], [])
            assert slot == (DEFAULT if count <= 6 else model.MALFORMED)
    assert known | {6, 17, 58, 59, 132, 135, 255} <= first


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("fragments", ["match", "drop"])
def test_crafted_packets_reach_every_outcome(verify: bool, fragments: Any) -> None:
    rules = [Rule(protocol=6, action="drop"), Rule(destination_ports=(53, 53), action="pass")]
    slots = {
        classify(frame, rules, verify_ip_checksum=verify, fragments=fragments)[0]
        for _, frame in crafted()
    }
    always = {0, 1, DEFAULT, model.NOT_IP, model.MALFORMED}
    assert slots == always | ({model.BAD_CHECKSUM} if verify else set()) | (
        {model.FRAGMENT} if fragments == "drop" else set()
    )


def test_a_checksum_of_zero_and_its_twin() -> None:
    named = dict(crafted())
    for name, field in (("0x0000", 0), ("0xffff", 0xFFFF)):
        frame = named[f"ipv4/checksum-right-{name}"]
        assert int.from_bytes(frame[24:26]) == field
        assert classify(frame, [], verify_ip_checksum=True) == (DEFAULT, "pass")


def test_headers_end_where_scapy_says() -> None:
    for name, data in stacks():
        packet = Ether(data)
        for layer in (TCP, UDP):
            if layer in packet and name.count("/") and "gue" not in name and "gre" not in name:
                inner = packet[layer]
                size = inner.dataofs * 4 if layer is TCP else 8
                assert header_length(data) == len(data) - len(inner) + size, name
    named = dict(stacks())
    assert header_length(named["ipv6/hop/tcp"]) == 14 + 40 + 8 + 20
    assert header_length(named["ipv6/ah/udp"]) == 14 + 40 + (2 + 2) * 4 + 8
    assert header_length(named["3-tags/ipv4/udp"]) == 14 + 12 + 20 + 8
    assert header_length(bytes(14)) == 14


def test_truncations_are_every_length_once() -> None:
    whole = [("a", dict(stacks())["qinq/ipv6/tcp"]), ("b", dict(stacks())["ipv4/udp"])]
    cuts = list(truncations(whole))
    assert [name for name, _ in cuts if name[0] == "a"] == [f"a/cut-{n}" for n in range(14, 86)]
    # From 14 + 8 + 40 + 20 bytes of headers 4 more; the second packet's headers have 42 bytes.
    assert [name for name, _ in cuts if name[0] == "b"] == [f"b/cut-{n}" for n in range(14, 46)]
    assert all(frame == dict(whole)[name[0]][: len(frame)] for name, frame in cuts)
    assert len(list(truncations(whole * 2))) == len(cuts)


def test_fuzz_is_reproducible_and_changes_packets() -> None:
    packets = fuzz(500, 3)
    assert packets == fuzz(500, 3)
    assert packets != fuzz(500, 4)
    originals = {frame for _, frame in stacks()}
    assert len(packets) == 500
    assert sum(frame in originals for _, frame in packets) < 25
    assert all(14 <= len(frame) <= 1514 for _, frame in packets)
    assert all(name.rpartition("/fuzz-")[0] in dict(stacks()) for name, _ in packets)
    own = fuzz(50, 1, [("mine", b"\xaa" * 60)])
    assert {name.partition("/")[0] for name, _ in own} == {"mine"}


def test_the_corpus_for_64_rules() -> None:
    observed = [bytes(13), b"\x77" * 60, bytes(1515), b"\x77" * 60]
    start = time.monotonic()
    samples = corpus(RULES, 7, observed)
    assert time.monotonic() - start < 2
    assert 3000 <= len(samples) <= 6500
    assert len({sample.data for sample in samples}) == len(samples)
    assert len({sample.name for sample in samples}) == len(samples)
    assert samples == corpus(RULES, 7, observed)
    assert samples != corpus(RULES, 8, observed)
    assert {"observed-1"} == {s.name for s in samples if s.name.startswith("observed") and
                              "/" not in s.name}  # fmt: skip
    assert sum(s.name.startswith("observed-1/fuzz") for s in samples) > 50
    assert {classify(s.data, RULES)[0] for s in samples} >= {*range(64), DEFAULT, model.NOT_IP}


def test_the_corpus_without_rules_still_has_thousands() -> None:
    assert 2000 <= len(corpus((), 1)) <= 3500


@pytest.mark.parametrize("size", [13, 1515])
def test_a_sample_is_a_frame(size: int) -> None:
    with pytest.raises(TrafficError, match=f"'x' must have 14 to 1514 bytes, got {size}"):
        Sample(name="x", data=bytes(size))
