# SPDX-License-Identifier: GPL-2.0-only
"""The routes of the suites: reproducible, and as mixed as those of a border router.

Prefix lengths of IPv4 are shared about as in the Internet's table (more than half are /24, few are
longer or shorter than /16), those of IPv6 likewise. One route in six lies inside another. One in
ten is IPv6, but at most a hundred. All lead over one interface, to HOPS neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from random import Random

from iridescent_xdp.bench.subject import Egress
from iridescent_xdp.functions.router_tables import Network, Route, RouterTables

COUNT = 10_000
MOST_IPV6 = 100  # or the program by hand would be one of tables, too
HOPS = 16
IPV6_SHARE, NESTED_SHARE = 0.1, 1 / 6
SEED = 1
_LENGTHS: dict[int, Mapping[int, int]] = {
    4: {
        8: 1,
        10: 1,
        11: 1,
        12: 2,
        13: 3,
        14: 5,
        15: 6,
        16: 30,
        17: 15,
        18: 25,
        19: 35,
        20: 50,
        21: 50,
        22: 110,
        23: 90,
        24: 560,
        25: 4,
        27: 3,
        28: 3,
        30: 2,
        32: 4,
    },
    6: {29: 4, 32: 15, 36: 6, 40: 8, 44: 10, 47: 4, 48: 45, 56: 3, 64: 3, 128: 2},
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A route: where it leads is one of HOPS neighbours."""

    prefix: Network
    hop: int


@cache
def entries(count: int = COUNT) -> tuple[Entry, ...]:
    """``count`` different prefixes in random order, each with its hop."""
    random = Random(SEED)
    found: dict[Network, None] = {}
    last: list[Network] = []
    while len(found) < count:
        family = 6 if len(found) < min(count * IPV6_SHARE, MOST_IPV6) else 4
        last = [*last[-63:], _prefix(family, last, random)]
        found[last[-1]] = None
    prefixes = random.sample(list(found), count)
    return tuple(Entry(prefix=p, hop=random.randrange(HOPS)) for p in prefixes)


def _prefix(family: int, others: list[Network], random: Random) -> Network:
    lengths = _LENGTHS[family]
    (length,) = random.choices(list(lengths), list(lengths.values()))
    # two bits longer, so that what lies inside never covers all of it
    around = [n for n in others if n.version == family and n.prefixlen + 1 < length]
    if around and random.random() < NESTED_SHARE:
        return _inside(random.choice(around), length, random)
    if family == 4:
        first = random.choice([n for n in range(1, 224) if n not in (10, 127)])
        address = first << 24 | random.getrandbits(24)
        return IPv4Network((address >> (32 - length) << (32 - length), length))
    address = 0x2 << 124 | random.getrandbits(124)  # 2000::/4, part of global unicast
    return IPv6Network((address >> (128 - length) << (128 - length), length))


def _inside(outer: Network, length: int, random: Random) -> Network:
    size = outer.max_prefixlen
    offset = random.getrandbits(length - outer.prefixlen) << (size - length)
    address = int(outer.network_address) | offset
    if isinstance(outer, IPv4Network):
        return IPv4Network((IPv4Address(address), length))
    return IPv6Network((IPv6Address(address), length))


def neighbour(hop: int) -> bytes:
    """The MAC address of a next hop; locally administered."""
    return bytes((0x02, 0, 0, 0, 1, hop))


def tables(egress: Egress, count: int = COUNT) -> RouterTables:
    """The routes as the router takes them."""
    return RouterTables(routes=tuple(_routes(egress, count)))


def _routes(egress: Egress, count: int) -> Iterator[Route]:
    for entry in entries(count):
        yield Route(prefix=entry.prefix, interface=egress.name, via=neighbour(entry.hop))


def compares(hops: Mapping[Network, int]) -> str:
    """A C header with ``hop_of6(a, b, c, d)``: longest prefix match of an IPv6 address, given as
    its words in host order, by binary search among the intervals that the prefixes make."""
    starts = _intervals({n: hop for n, hop in hops.items() if n.version == 6}, 128)
    lines = ["static __always_inline __u32 hop_of6(__u32 a, __u32 b, __u32 c, __u32 d)", "{"]
    lines += ["\t__u64 high = (__u64)a << 32 | b, low = (__u64)c << 32 | d;", ""]
    _search(starts, 1, lines)
    return "\n".join([*lines, "}", ""])


def _intervals(hops: Mapping[Network, int], bits: int) -> list[tuple[int, int]]:
    """Where the result changes: (first address, hop from there on), 0 for no route."""
    edges = {0}
    for network in hops:
        edges |= {int(network.network_address), int(network.broadcast_address) + 1}
    starts: list[tuple[int, int]] = []
    for edge in sorted(edges - {1 << bits}):
        covering = [n for n in hops if edge in range(*_span(n))]
        hop = hops[max(covering, key=lambda n: n.prefixlen)] if covering else 0
        if not starts or starts[-1][1] != hop:
            starts.append((edge, hop))
    return starts


def _span(network: Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address) + 1


def _search(starts: list[tuple[int, int]], depth: int, lines: list[str]) -> None:
    tabs = "\t" * depth
    if len(starts) == 1:
        lines.append(f"{tabs}return {starts[0][1]};")
        return
    middle = len(starts) // 2
    high, low = starts[middle][0] >> 64, starts[middle][0] & ((1 << 64) - 1)
    if low:
        test = f"high < {high:#x}ull || (high == {high:#x}ull && low < {low:#x}ull)"
    else:
        test = f"high < {high:#x}ull" if high & 0xFFFF_FFFF else f"a < {high >> 32:#x}u"
    lines.append(f"{tabs}if ({test}) {{")
    _search(starts[:middle], depth + 1, lines)
    lines.append(f"{tabs}}}")
    _search(starts[middle:], depth, lines)
