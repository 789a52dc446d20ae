# SPDX-License-Identifier: GPL-2.0-only
"""Tables and traffic of the suites for router and load balancer, and the figures made of times."""

from __future__ import annotations

import re
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import numpy as np
import pytest

from iridescent_xdp.bench import routes, services
from iridescent_xdp.bench.guards import break_even
from iridescent_xdp.bench.lookup import difference_ratio
from iridescent_xdp.bench.mixes import LOCALITIES, balanced_traffic, routed_traffic
from iridescent_xdp.bench.results import percent
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.statistics import Effect
from traffic.mix_shares import Locality

TOP = 51  # 5 % of 1,024 flows


def addresses(frame: bytes) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
    """Source and destination of a frame without tags."""
    if frame[12:14] == b"\x08\x00":
        return ip_address(frame[26:30]), ip_address(frame[30:34])
    assert frame[12:14] == b"\x86\xdd"
    return ip_address(frame[22:38]), ip_address(frame[38:54])


def test_the_routes_are_mixed_as_announced() -> None:
    entries = routes.entries(1000)
    prefixes = [entry.prefix for entry in entries]
    assert len(set(prefixes)) == 1000
    assert sum(p.version == 6 for p in prefixes) == 100
    four = Counter(p.prefixlen for p in prefixes if p.version == 4)
    assert set(four) <= set(range(8, 33)) and len(four) >= 18
    assert four[24] / four.total() == pytest.approx(0.56, abs=0.06)
    inside = sum(
        any(p != o and p.version == o.version and p.subnet_of(o) for o in prefixes)  # type: ignore[arg-type]
        for p in prefixes
    )
    assert inside > 100
    assert {entry.hop for entry in entries} == set(range(routes.HOPS))
    martian = [ip_network("127.0.0.0/8"), ip_network("224.0.0.0/3"), ip_network("0.0.0.0/8")]
    assert not any(p.overlaps(m) for p in prefixes for m in martian if p.version == 4)
    assert routes.entries(100) == routes.entries(100)


@pytest.mark.parametrize("locality", LOCALITIES)
def test_every_packet_has_a_route_and_every_route_packets(locality: Locality) -> None:
    stream = routed_traffic(locality, 1000)
    known = {entry.prefix for entry in routes.entries(1000)}
    hit: Counter[object] = Counter()
    for frame, count in zip(stream.packets, np.bincount(stream.sequence), strict=True):
        _, destination = addresses(frame)
        bits = destination.max_prefixlen
        ways = (ip_network((destination, n), strict=False) for n in range(bits, -1, -1))
        hit[next(network for network in ways if network in known)] += int(count)
        assert frame[22 if destination.version == 4 else 21] > 1  # TTL, hop limit
    assert set(hit) == known


@pytest.mark.parametrize(("locality", "share"), [("high", 0.95), ("low", 0.6), ("none", 0.05)])
def test_the_top_flows_have_their_share_of_the_packets(locality: Locality, share: float) -> None:
    for stream in (routed_traffic(locality), balanced_traffic(locality)):
        counts = np.sort(np.bincount(stream.sequence))[::-1]
        assert len(counts) == 1024
        assert counts[:TOP].sum() / counts.sum() == pytest.approx(share, abs=0.01)
        assert max(map(len, stream.packets)) <= 74


@pytest.mark.parametrize("locality", LOCALITIES)
def test_every_packet_is_for_a_service_and_every_service_has_packets(locality: Locality) -> None:
    numbers = {"tcp": 6, "udp": 17}
    known = {(s.id.address, numbers[s.id.protocol], s.id.port) for s in services.services()}
    stream, hit = balanced_traffic(locality), set()
    for frame in stream.packets:
        _, destination = addresses(frame)
        four = destination.version == 4
        ports = 36 if four else 56
        port = int.from_bytes(frame[ports : ports + 2])
        hit.add((destination, frame[23 if four else 20], port))
    assert hit == known


def test_the_services_have_ten_to_a_hundred_backends() -> None:
    made = services.services()
    assert [len(s.backends) for s in made] == list(range(10, 101, 10))
    assert sum(s.id.address.version == 6 for s in made) == 2
    backends = [b.address for s in services.services(100) for b in s.backends]
    assert len(set(backends)) == len(backends) <= 4096


# -- the compares of the router written by hand -------------------------------------------

_RETURN, _IF = re.compile(r"\t+return (\d+);"), re.compile(r"\t+if \((.*)\) \{")


def run_compares(text: str, address: int) -> int:
    """Executes the generated C: a line is an if, a return, or a closing brace."""
    names = {"high": address >> 64, "low": address & (2**64 - 1), "a": address >> 96}
    lines = text.splitlines()[4:]
    at = 0
    while True:
        line = lines[at]
        at += 1
        if found := _RETURN.fullmatch(line):
            return int(found[1])
        if found := _IF.fullmatch(line):
            test = re.sub(r"(?<=[0-9a-f])u(ll)?", "", found[1])
            test = test.replace("&&", "and").replace("||", "or")
            if not eval(test, {}, names):  # text that this test has made
                end = "\t" * (len(line) - len(line.lstrip("\t"))) + "}"
                at = lines.index(end, at) + 1


def test_compares_find_the_longest_prefix() -> None:
    hops = {
        ip_network(text): hop
        for hop, text in enumerate(
            ("2000::/4", "2001:db8::/32", "2001:db8:0:1::/64", "2001:db8:0:1::7/128"), start=3
        )
    }
    text = routes.compares({**hops, ip_network("10.0.0.0/8"): 9})
    edges = {0, 2**128 - 1}
    for network in hops:
        first, last = int(network.network_address), int(network.broadcast_address)
        edges |= {first - 1, first, first + 1, last - 1, last, (last + 1) % 2**128}
    for edge in edges:
        inside = [n for n in hops if IPv6Address(edge) in n]
        wanted = hops[max(inside, key=lambda n: n.prefixlen)] if inside else 0
        assert run_compares(text, edge) == wanted, IPv6Address(edge)


# -- figures ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain_ns", "miss_ns", "rate"),
    [(10, 30, 0.25), (30, 10, 0.75), (5, 0, 1), (5, -1, 1), (0, 10, 0), (-2, 10, 0)],
)
def test_the_rate_at_which_misses_eat_the_gain(gain_ns: float, miss_ns: float, rate: float) -> None:
    assert break_even(gain_ns, miss_ns) == rate
    if 0 < rate < 1:
        assert (1 - rate) * gain_ns == pytest.approx(rate * miss_ns)


def test_what_two_programs_cost_above_a_third() -> None:
    base = [30.0, 31.0, 29.0, 30.0, 30.5]
    a, b = [b + 70 for b in base], [b + 7 for b in base]
    effect = difference_ratio(a, b, base)
    assert (effect.value, effect.low, effect.high) == pytest.approx((10, 10, 10))
    assert effect.n == 5
    with pytest.raises(MeasurementError, match="less than none"):
        difference_ratio(a, [b - 1 for b in base], base)


def test_a_ratio_of_costs_is_told_as_what_is_on_top() -> None:
    effect = percent(Effect(value=1.02, low=0.99, high=1.05, n=9, unit="ratio"))
    assert (effect.value, effect.low, effect.high) == pytest.approx((2, -1, 5))
    assert (effect.n, effect.unit) == (9, "%")
