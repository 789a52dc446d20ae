# SPDX-License-Identifier: GPL-2.0-only
"""The traffic of the suites, reproducible: the same packets in the same order every time."""

from __future__ import annotations

from functools import cache
from typing import get_args

from iridescent_xdp.bench import routes, services
from iridescent_xdp.bench.rules import RULES
from iridescent_xdp.functions.rules import Rule
from traffic.mix_shares import Locality
from traffic.mix_stream import Stream
from traffic.mixes import Mix, build

LOCALITIES: tuple[Locality, ...] = get_args(Locality)
FLOWS = 1024
SEED = 1
NO_MATCH_SHARE = 0.8  # of the packets that meet the 64 rules


@cache
def edge_traffic(
    locality: Locality, break_share: float = 0.0, no_match: float = NO_MATCH_SHARE
) -> Stream:
    """64-byte packets that meet the 64 rules.

    Four of five match no rule: a list of what is denied mostly does not match. The rest is
    divided evenly among the rules. One packet in ten or so is IPv6. ``break_share`` of the packets
    have VLAN tags or IPv4 options or are later fragments.
    """
    return build(
        Mix(
            name=f"edge/{locality}",
            flows=FLOWS,
            locality=locality,
            protocol_shares=(0.6, 0.38, 0.02, 0.0),
            ipv6_share=0.1,
            hits=RULES,
            default_share=no_match,
            break_share=break_share,
            break_kinds=("vlan", "qinq", "ip_options", "fragment"),
            seed=SEED,
        )
    )


def matching_half(name: str, rules: tuple[Rule, ...], tcp: float, udp: float) -> Stream:
    """64-byte IPv4 packets of low locality, of which half match one of ``rules``."""
    flows = FLOWS if len(rules) < FLOWS // 2 else 2 * len(rules) + FLOWS // 2
    return build(
        Mix(
            name=name,
            flows=flows,
            locality="low",
            protocol_shares=(tcp, udp, 0.0, 0.0),
            hits=rules,
            default_share=0.5,
            seed=SEED,
        )
    )


@cache
def routed_traffic(
    locality: Locality, count: int = routes.COUNT, break_share: float = 0.0
) -> Stream:
    """64-byte packets to the routes of the suites: every destination's longest match is the route
    that it was made for, and every route is hit (of more than FLOWS routes as many as there are
    flows). ``break_share`` of the packets have IPv4 options.
    """
    longest_first = sorted(routes.entries(count), key=lambda entry: -entry.prefix.prefixlen)
    return build(
        Mix(
            name=f"routed/{locality}",
            flows=FLOWS,
            locality=locality,
            protocol_shares=(0.6, 0.38, 0.02, 0.0),
            hits=tuple(Rule(destination=e.prefix, action="pass") for e in longest_first),
            break_share=break_share,
            break_kinds=("ip_options",),
            seed=SEED,
        )
    )


@cache
def balanced_traffic(locality: Locality, break_share: float = 0.0) -> Stream:
    """64-byte packets of established flows to the services of the suites, to all alike.
    ``break_share`` of the packets have IPv4 options."""
    return build(
        Mix(
            name=f"balanced/{locality}",
            flows=FLOWS,
            locality=locality,
            hits=services.as_rules(),
            break_share=break_share,
            break_kinds=("ip_options",),
            seed=SEED,
        )
    )
