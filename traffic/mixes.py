# SPDX-License-Identifier: GPL-2.0-only
"""Packet mixes: what traffic is made of, and a stream that has exactly that."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import product
from random import Random
from typing import NamedTuple

import numpy as np

from traffic.mix_flows import Wish, random_flow
from traffic.mix_rules import flows_for_rules
from traffic.mix_shares import Floats, apportion, flow_weights, spread
from traffic.mix_spec import BREAK_PACKETS, IMIX, MAX_PACKETS, BreakKind, Mix
from traffic.mix_stream import Stream, expected_counts
from traffic.packet_build import (
    ICMP_V4,
    ICMP_V6,
    SCTP_PROTOCOL,
    TCP_PROTOCOL,
    UDP_PROTOCOL,
    Family,
    Flow,
    Fragment,
    Shape,
    frame,
)

__all__ = [
    "IMIX",
    "MAX_PACKETS",
    "SEQUENCE_LENGTH",
    "BreakKind",
    "Mix",
    "Stream",
    "build",
    "expected_counts",
    "flows_for_rules",
]

SEQUENCE_LENGTH = 65_536

_OPTIONS_BYTES = 8
_OTHER_PROTOCOLS = (SCTP_PROTOCOL, 50, 47)  # SCTP, ESP, GRE


class _Trait(NamedTuple):
    """What a flow's packets have in common, beside the flow."""

    family: Family
    protocol: str
    tags: int
    options_bytes: int
    fragment: Fragment
    size_bytes: int

    def shape(self) -> Shape:
        return Shape(
            tags=self.tags,
            options_bytes=self.options_bytes,
            fragment=self.fragment,
            size_bytes=self.size_bytes,
        )

    def wish(self, number: int) -> Wish:
        protocols = {
            "tcp": TCP_PROTOCOL,
            "udp": UDP_PROTOCOL,
            "icmp": ICMP_V4 if self.family == 4 else ICMP_V6,
            "other": _OTHER_PROTOCOLS[number % len(_OTHER_PROTOCOLS)],
        }
        return Wish(family=self.family, protocol=protocols[self.protocol])


def build(mix: Mix) -> Stream:
    """The stream of ``mix``: reproducible by its seed, SEQUENCE_LENGTH positions.

    Packet 0 is of the heaviest flow; every packet occurs at least once. How often is computed
    from the mix, not drawn, so that seeds do not differ in their shares; the order is random.
    The packets differ (in the IPv4 id or the IPv6 flow label). Raises TrafficError when
    ``hits`` can not be met.
    """
    weights = flow_weights(mix.flows, mix.locality)
    traits = _traits(mix, weights)
    flows = _flows(mix, traits, weights)
    breaking = round(mix.break_share * SEQUENCE_LENGTH)
    shapes = [(flow, trait.shape()) for flow, trait in zip(flows, traits, strict=True)]
    shapes += _breaking(mix, flows, min(breaking, BREAK_PACKETS))
    counts = apportion(weights, SEQUENCE_LENGTH - breaking)
    if breaking:
        even = np.ones(len(shapes) - len(flows))
        counts = np.concatenate((counts, apportion(even, breaking)))
    sequence = np.repeat(np.arange(len(shapes), dtype=np.uint32), counts)
    np.random.default_rng(mix.seed).shuffle(sequence)
    packets = tuple(frame(flow, shape, ident) for ident, (flow, shape) in enumerate(shapes))
    return Stream(name=mix.name, packets=packets, sequence=sequence)


def _traits(mix: Mix, weights: Floats) -> list[_Trait]:
    """A trait for each flow; all combinations compete, so that properties stay independent."""
    families: list[tuple[Family, float]] = [(4, 1 - mix.ipv6_share), (6, mix.ipv6_share)]
    options = [(0, 1 - mix.ip_options_share), (_OPTIONS_BYTES, mix.ip_options_share)]
    fragments: list[tuple[Fragment, float]] = [
        ("whole", 1 - mix.fragment_share),
        ("later", mix.fragment_share),
    ]
    combinations = [
        (_Trait(family, protocol, tags, option, fragment, size), a * b * c * d * e * f)
        for (family, a), (protocol, b), (tags, c), (option, d), (fragment, e), (size, f) in product(
            families,
            zip(("tcp", "udp", "icmp", "other"), mix.protocol_shares, strict=True),
            enumerate(mix.vlan_shares),
            options,
            fragments,
            mix.sizes,
        )
    ]
    possible = [(trait, share) for trait, share in combinations if share > 0]
    features = [_numbered(values) for values in zip(*(trait for trait, _ in possible), strict=True)]
    chosen = spread(weights, [share for _, share in possible], features)
    return [possible[index][0] for index in chosen]


def _numbered(values: Sequence[Hashable]) -> list[int]:
    """Equal values get equal numbers, from 0."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(value, len(numbers)) for value in values]


def _flows(mix: Mix, traits: list[_Trait], weights: Floats) -> tuple[Flow, ...]:
    wishes = [trait.wish(number) for number, trait in enumerate(traits)]
    if mix.hits:
        return flows_for_rules(
            mix.hits, mix.default_share, wishes=wishes, weights=weights, seed=mix.seed
        )
    random = Random(mix.seed)
    return tuple(random_flow(wish, random) for wish in wishes)


def _breaking(mix: Mix, flows: tuple[Flow, ...], count: int) -> list[tuple[Flow, Shape]]:
    """``count`` packets of the mix's flows in shapes that break an assumption."""
    size_bytes = mix.sizes[0][0]
    shapes: dict[BreakKind, Shape] = {
        "vlan": Shape(tags=1, size_bytes=size_bytes),
        "qinq": Shape(tags=2, size_bytes=size_bytes),
        "ipv6": Shape(size_bytes=size_bytes),
        "ip_options": Shape(options_bytes=_OPTIONS_BYTES, size_bytes=size_bytes),
        "fragment": Shape(fragment="later", size_bytes=size_bytes),
    }
    random = Random(mix.seed + 1)
    packets = []
    for number in range(count):
        kind = mix.break_kinds[number % len(mix.break_kinds)]
        flow = flows[number % len(flows)]
        if kind == "ipv6":
            flow = random_flow(Wish(family=6), random)
        packets.append((flow, shapes[kind]))
    return packets
