# SPDX-License-Identifier: GPL-2.0-only
"""Rule lists, address sets and packets near their edges, for comparing with the packet model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import islice
from random import Random
from typing import Any

from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import Network, Rule
from tests.unit.filter_cases import exact_rules, mixed_rules, near, near_key, random_rules
from tests.unit.filter_model import PacketKey
from tests.unit.packet_model import Decision, classify
from traffic.corpus import corpus
from traffic.packet_build import Flow, Fragment, Shape, checksum, frame

SET_ENTRIES = 1000
FRAGMENTS: tuple[Fragment, ...] = ("whole",) * 6 + ("first", "later")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What the filter is told, and how many packets it meets."""

    tables: FilterTables
    policy: dict[str, Any] = field(default_factory=dict)
    packets: int = 1500


def wide_set(seed: int) -> tuple[Network, ...]:
    """Prefixes of every length, inside each other too, of both families."""
    rng = Random(seed)
    found: dict[Network, None] = {}
    while len(found) < SET_ENTRIES:
        if rng.random() < 0.7:
            base = 10 << 24 | rng.getrandbits(24)
            found[IPv4Network((base, rng.randint(17, 32)), strict=False)] = None
        else:
            base = 0x20010DB8 << 96 | rng.getrandbits(24) << 72 | rng.getrandbits(16)
            found[IPv6Network((base, rng.randint(36, 128)), strict=False)] = None
    return tuple(found)


def exact_set(seed: int) -> tuple[Network, ...]:
    """Single IPv4 addresses, and IPv6 prefixes, which a hash of IPv4 addresses leaves alone."""
    rng = Random(seed)
    hosts = rng.sample(range(1 << 12), SET_ENTRIES - 50)
    four = [IPv4Network(((10 << 24 | host), 32)) for host in hosts]
    six = [ip_network(f"2001:db8:{number:x}::/48") for number in rng.sample(range(1 << 12), 50)]
    return (*four, *six)


SCENES = {
    "random": Scene(tables=FilterTables(rules=tuple(random_rules(60, seed=3)))),
    "mixed": Scene(
        tables=FilterTables(rules=tuple(mixed_rules())),
        policy={"default_action": "drop", "non_ip": "drop"},
    ),
    "wide sets": Scene(
        tables=FilterTables(
            rules=tuple(random_rules(8, seed=4)), allow=wide_set(1), deny=wide_set(2)
        ),
        policy={"fragments": "pass"},
    ),
    "exact sets": Scene(
        tables=FilterTables(
            rules=tuple(random_rules(8, seed=5)), allow=exact_set(1), deny=exact_set(2)
        ),
        policy={"fragments": "drop", "default_action": "drop"},
    ),
    "checksums": Scene(
        tables=FilterTables(rules=tuple(random_rules(20, seed=6))),
        policy={"verify_ip_checksum": True},
    ),
    "many rules": Scene(tables=FilterTables(rules=tuple(exact_rules(1000))), packets=300),
    "no rules": Scene(tables=FilterTables(), policy={"non_ip": "drop"}, packets=300),
}


@cache
def expected(name: str) -> dict[Decision, list[bytes]]:
    """The scene's packets by what the model says of them."""
    scene = SCENES[name]
    found: dict[Decision, list[bytes]] = {}
    for data in packets_of(scene):
        decision = classify(
            data,
            scene.tables.rules,
            allow=scene.tables.allow,
            deny=scene.tables.deny,
            **scene.policy,
        )
        found.setdefault(decision, []).append(data)
    return found


def packets_of(scene: Scene) -> Iterator[bytes]:
    """Random packets near the edges of rules and sets, then the corpus for these rules."""
    rng = Random(7)
    sets = (*scene.tables.allow, *scene.tables.deny)
    for number in range(scene.packets):
        yield _damaged(rng, _near(rng, scene.tables.rules, sets, number))
    rules = scene.tables.rules[:: max(1, len(scene.tables.rules) // 20)]
    yield from (sample.data for sample in islice(corpus(rules, seed=7), 4 * scene.packets))


def _near(rng: Random, rules: Sequence[Rule], sets: Sequence[Network], ident: int) -> bytes:
    key = near_key(rng, rules)
    source = key.source
    if sets and rng.random() < 0.7:
        network = rng.choice(sets)
        source = near(rng, network, network.version)
        if source.version != key.family:
            key = PacketKey(source=source, destination=source, protocol=key.protocol)
    flow = Flow(
        family=4 if source.version == 4 else 6,
        source=int(source),
        destination=int(key.destination),
        protocol=key.protocol,
        source_port=key.source_port,
        destination_port=key.destination_port,
        tcp_flags=key.tcp_flags,
    )
    shape = Shape(
        tags=rng.choice((0, 0, 0, 1, 2, 3)),
        options_bytes=rng.choice((0, 0, 0, 8, 16)),
        fragment=rng.choice(FRAGMENTS),
        size_bytes=rng.choice((60, 90, 200)),
    )
    data = frame(flow, shape, ident & 0xFFFF)
    return _moved(rng, data, shape) if shape.fragment == "later" else data


def _moved(rng: Random, data: bytes, shape: Shape) -> bytes:
    """A later fragment whose offset has one bit: each of the 13 makes it one."""
    network, offset = 14 + 4 * shape.tags, 1 << rng.randrange(13)
    changed = bytearray(data)
    if data[network] >> 4 == 4:
        changed[network + 6 : network + 8] = offset.to_bytes(2)
        changed[network + 10 : network + 12] = bytes(2)
        header = changed[network : network + 20 + shape.options_bytes]
        changed[network + 10 : network + 12] = checksum(int.from_bytes(header)).to_bytes(2)
    else:
        header_at = network + 40 + shape.options_bytes
        changed[header_at + 2 : header_at + 4] = (offset << 3).to_bytes(2)
    return bytes(changed)


def _damaged(rng: Random, data: bytes) -> bytes:
    """One packet in eight is cut, one in eight has a wrong byte in its headers."""
    chance = rng.random()
    if chance < 0.125:
        return data[: rng.randint(14, len(data))]
    if chance < 0.25:
        changed = bytearray(data)
        changed[rng.randrange(12, min(80, len(changed)))] = rng.randrange(256)
        return bytes(changed)
    return data
