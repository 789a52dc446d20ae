# SPDX-License-Identifier: GPL-2.0-only
"""Rules and packet keys for tests: small pools, so that they meet, and edges of everything."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from random import Random

from hypothesis import strategies as st

from iridescent_xdp.decision.nodes import Field
from iridescent_xdp.functions.filter_layouts import NO_MATCH
from iridescent_xdp.functions.rules import Network, Rule
from tests.unit.filter_model import Address, PacketKey, first_match

WITH_PORTS = (6, 17, 132)
NETWORKS4 = (
    "0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "10.1.3.0/25",
    "128.0.0.0/1", "192.0.2.128/31", "255.255.255.255/32", "0.0.0.0/32",
)  # fmt: skip
NETWORKS6 = (
    "::/0", "2001:db8::/32", "2001:db8:1::/48", "2001:db8:1:2::/64", "2001:db8:1:2::/65",
    "2001:db8:1:2:3:4:5:6/128", "2001:db8::/29", "fe80::/10", "::/128", "2001:db8:1:2:3::/96",
)  # fmt: skip
PORTS = (0, 1, 22, 53, 80, 443, 1023, 1024, 8080, 65_534, 65_535)


def random_rule(rng: Random) -> Rule:
    """One valid rule."""
    pool = rng.choice((NETWORKS4, NETWORKS6))
    asks_ports = rng.random() < 0.5
    protocols = WITH_PORTS if asks_ports else (0, 1, 6, 17, 58, 132, 255)
    protocol = rng.choice((None, rng.choice(protocols)))
    flags = None
    if protocol in (None, 6) and rng.random() < 0.25:
        mask = rng.choice((0x00, 0x02, 0x12, 0x17, 0xFF))
        flags = (mask, rng.choice((0x00, 0x02, 0x10, 0x12)) & mask)
    return Rule(
        source=rng.choice((None, ip_network(rng.choice(pool)))),
        destination=rng.choice((None, ip_network(rng.choice(pool)))),
        protocol=protocol,
        source_ports=_random_ports(rng) if asks_ports and rng.random() < 0.5 else None,
        destination_ports=_random_ports(rng) if asks_ports and rng.random() < 0.7 else None,
        tcp_flags=flags,
        action=rng.choice(("pass", "drop")),
    )


def _random_ports(rng: Random) -> tuple[int, int]:
    low, high = sorted((rng.choice(PORTS), rng.choice(PORTS)))
    return low, high


def random_rules(count: int, seed: int) -> list[Rule]:
    """Rules of every kind, the same for the same seed."""
    rng = Random(seed)
    return [random_rule(rng) for _ in range(count)]


def rule_sets(most: int = 24) -> st.SearchStrategy[list[Rule]]:
    """Ordered lists of rules, the empty one too."""
    rule = st.randoms(use_true_random=False).map(random_rule)
    return st.lists(rule, max_size=most)


def near(rng: Random, network: Network | None, version: int) -> Address:
    """An address inside, at an edge of, or beside a network; any of the family without one."""
    bits = 32 if version == 4 else 128
    if network is None or network.version != version:
        number = rng.choice((0, 1, (1 << bits) - 1, rng.getrandbits(bits)))
    else:
        low, high = int(network.network_address), int(network.broadcast_address)
        number = rng.choice((low, high, low - 1, high + 1, rng.randint(low, high)))
    number %= 1 << bits
    return IPv4Address(number) if version == 4 else IPv6Address(number)


def _near_port(rng: Random, ports: tuple[int, int] | None) -> int:
    low, high = ports or (0, 65_535)
    return rng.choice((low, high, low - 1, high + 1, rng.randint(low, high), 53, 0)) % 65_536


def near_key(rng: Random, table: Sequence[Rule]) -> PacketKey:
    """A key that a parser can give, at or near the edges of some rules of the table."""
    aim, other = (rng.choice(table) if table else Rule(action="drop") for _ in range(2))
    version = aim.family or rng.choice((4, 6))
    protocol = rng.choice((aim.protocol, aim.protocol, other.protocol, 6, 17, 132, 1))
    protocol = rng.choice(WITH_PORTS) if protocol is None else protocol
    has_ports = protocol in WITH_PORTS and rng.random() < 0.9
    mask, value = aim.tcp_flags or (0, 0)
    flags = rng.choice((value, value | ~mask & 0xFF, value ^ 0x02, rng.getrandbits(8)))
    return PacketKey(
        source=near(rng, rng.choice((aim, aim, other)).source, version),
        destination=near(rng, rng.choice((aim, aim, other)).destination, version),
        protocol=protocol,
        source_port=_near_port(rng, aim.source_ports) if has_ports else 0,
        destination_port=_near_port(rng, aim.destination_ports) if has_ports else 0,
        tcp_flags=flags if has_ports and protocol == 6 else 0,
        has_ports=has_ports,
    )


def words(address: Address) -> list[int]:
    """Four words in host order, as in ``struct packet_key``."""
    if address.version == 4:
        return [int(address), 0, 0, 0]
    return [int(address) >> shift & 0xFFFF_FFFF for shift in (96, 64, 32, 0)]


def field_values(key: PacketKey) -> dict[Field, int]:
    """The key as the decision code sees it."""
    values = {Field("source", i): word for i, word in enumerate(words(key.source))}
    values |= {Field("destination", i): word for i, word in enumerate(words(key.destination))}
    return values | {
        Field("source_port"): key.source_port,
        Field("destination_port"): key.destination_port,
        Field("family"): key.family,
        Field("protocol"): key.protocol,
        Field("tcp_flags"): key.tcp_flags,
        Field("has_ports"): int(key.has_ports),
    }


def packed(key: PacketKey) -> bytes:
    """The key as ``struct packet_key`` in memory, little-endian."""
    return struct.pack(
        "<8I2H4B",
        *words(key.source),
        *words(key.destination),
        key.source_port,
        key.destination_port,
        key.family,
        key.protocol,
        key.tcp_flags,
        key.has_ports,
    )


def expected(table: Sequence[Rule], key: PacketKey) -> int:
    """The number that compiled rules must give."""
    index = first_match(table, key)
    return NO_MATCH if index is None else 2 * index + (table[index].action == "drop")


def mixed_rules(seed: int = 1) -> list[Rule]:
    """64 rules of every kind in random order: ports, source prefixes, destination prefixes with
    ports, port ranges, IPv6 prefixes.
    """
    rng = Random(seed)
    result = [_port_rule(rng, port, port) for port in rng.sample(range(1, 1_024), 16)]
    result += [Rule(source=_network4(rng, "10"), action="drop") for _ in range(16)]
    for _ in range(16):
        port = rng.choice((80, 443, 53, 8_080, 22, rng.randrange(65_536)))
        result.append(_port_rule(rng, port, port, _network4(rng, "192")))
    for _ in range(8):
        port = rng.randrange(1_024, 60_000)
        result.append(_port_rule(rng, port, port + rng.randrange(10, 2_000)))
    for _ in range(8):
        network = IPv6Network(f"2001:db8:{rng.randrange(65_536):x}::/48")
        result.append(Rule(source=network, action="drop"))
    rng.shuffle(result)
    return result


def exact_rules(count: int, seed: int = 1) -> list[Rule]:
    """Rules for single IPv4 sources, all different."""
    numbers = Random(seed).sample(range(1 << 24), count)
    base = int(ip_address("10.0.0.0"))
    return [Rule(source=IPv4Network((base + n, 32)), action="drop") for n in numbers]


def _network4(rng: Random, first: str) -> IPv4Network:
    return IPv4Network(f"{first}.{rng.randrange(256)}.{rng.randrange(256)}.0/24")


def _port_rule(rng: Random, low: int, high: int, to: IPv4Network | None = None) -> Rule:
    protocol = rng.choice((6, 17))
    return Rule(destination=to, protocol=protocol, destination_ports=(low, high), action="drop")


def many_rules(count: int, seed: int = 1) -> list[Rule]:
    """Rules of six kinds that ask of different fields, in random order."""
    rng = Random(seed)
    kinds: tuple[Callable[[], Rule], ...] = (
        lambda: _one_port(rng, rng.randrange(1, 65_536)),
        lambda: Rule(source=_network4(rng, "10"), action="drop"),
        lambda: _one_port(rng, rng.choice((80, 443, 53, 22)), _network4(rng, "192")),
        lambda: _wide_ports(rng, rng.randrange(1_024, 60_000)),
        lambda: Rule(source=IPv6Network(f"2001:db8:{rng.randrange(65_536):x}::/48"), action="drop"),
        lambda: Rule(
            source=_network4(rng, "10"),
            destination=_network4(rng, "192"),
            action=rng.choice(("pass", "drop")),
        ),
    )
    return [rng.choice(kinds)() for _ in range(count)]


def _one_port(rng: Random, port: int, to: IPv4Network | None = None) -> Rule:
    return _port_rule(rng, port, port, to)


def _wide_ports(rng: Random, port: int) -> Rule:
    return _port_rule(rng, port, port + rng.randrange(10, 2_000))
