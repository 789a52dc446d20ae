# SPDX-License-Identifier: GPL-2.0-only
"""Flows that hit the rules of a list, each rule as often as the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import get_args

import numpy as np

from iridescent_xdp.errors import TrafficError
from iridescent_xdp.functions.rules import Rule
from traffic.mix_flows import Wish, flow_inside, network_range, random_flow
from traffic.mix_shares import Floats, spread
from traffic.packet_build import (
    ICMP_V4,
    SCTP_PROTOCOL,
    TCP_PROTOCOL,
    UDP_PROTOCOL,
    Family,
    Flow,
)

Matcher = Callable[[Flow], bool]

_ATTEMPTS = 128
_ANY_WISH = tuple(
    Wish(family=family, protocol=protocol)
    for family in get_args(Family)
    for protocol in (TCP_PROTOCOL, UDP_PROTOCOL, SCTP_PROTOCOL, ICMP_V4, 47, 50)
)


def flows_for_rules(
    rules: Sequence[Rule],
    default_share: float,
    *,
    wishes: Sequence[Wish] = (Wish(),) * 1024,
    weights: Floats | None = None,
    seed: int = 0,
) -> tuple[Flow, ...]:
    """One flow for each wish; the first rule that it matches is the rule it was made for.

    A wish yields where the rule, or the rules before it, leave no room for it.
    ``default_share`` of the weight (of the flows, without ``weights``) matches no rule, the
    other flows are divided evenly. The first flows, which are the heaviest, take rules spread
    over the whole list (the middle one, the quarters, ...), so that the depth of the average
    hit does not depend on luck. Raises TrafficError for a rule that no packet can hit, or when
    no packet is left for the default.
    """
    if not 0 <= default_share <= 1 or (default_share < 1 and not rules):
        raise TrafficError(
            f"default_share must lie in 0..1, and be 1 without rules, got {default_share} "
            f"with {len(rules)} rules"
        )
    random = Random(seed)
    tests = [_matcher(rule) for rule in rules]
    if weights is None:
        weights = np.ones(len(wishes))
    to_default = spread(weights, (1 - default_share, default_share)) == 1
    targets = _targets(len(rules), to_default.tolist(), random)
    return tuple(
        _default_flow(tests, wish, random)
        if target is None
        else _rule_flow(rules[target], tests[: target + 1], wish, random)
        for target, wish in zip(targets, wishes, strict=True)
    )


def _matcher(rule: Rule) -> Matcher:
    """``rule`` as one fast test of a whole packet's flow."""
    family, protocol, flags = rule.family, rule.protocol, rule.tcp_flags
    sources, destinations = network_range(rule.source), network_range(rule.destination)
    source_ports, destination_ports = rule.source_ports, rule.destination_ports
    with_ports = bool(source_ports or destination_ports)

    def matches(flow: Flow) -> bool:
        return (
            (protocol is None or flow.protocol == protocol)
            and (family is None or flow.family == family)
            and (not sources or sources[0] <= flow.source <= sources[1])
            and (not destinations or destinations[0] <= flow.destination <= destinations[1])
            and (not with_ports or flow.has_ports)
            and (not source_ports or source_ports[0] <= flow.source_port <= source_ports[1])
            and (
                not destination_ports
                or destination_ports[0] <= flow.destination_port <= destination_ports[1]
            )
            and (
                not flags
                or (flow.protocol == TCP_PROTOCOL and flow.tcp_flags & flags[0] == flags[1])
            )
        )

    return matches


def _first(tests: Sequence[Matcher], flow: Flow) -> int | None:
    for index, test in enumerate(tests):
        if test(flow):
            return index
    return None


def _targets(rules: int, to_default: Sequence[bool], random: Random) -> list[int | None]:
    """The rule of each flow, None for the default; evenly, in a new order in each round."""
    targets: list[int | None] = []
    deck = _halving_order(rules)
    for default in to_default:
        if default:
            targets.append(None)
            continue
        targets.append(deck.pop(0))
        if not deck:
            deck = random.sample(range(rules), rules)
    return targets


def _halving_order(count: int) -> list[int]:
    """0..count-1 with the middle first, then the quarters, the eighths, ..."""
    order: list[int] = []
    parts = [(0, count)]
    for low, high in parts:  # grows while it is walked
        if low < high:
            middle = (low + high) // 2
            order.append(middle)
            parts += [(low, middle), (middle + 1, high)]
    return order


def _rule_flow(rule: Rule, tests: Sequence[Matcher], wish: Wish, random: Random) -> Flow:
    """A flow whose first match is ``rule``, the owner of the last of ``tests``."""
    target = len(tests) - 1
    earlier = None
    for attempt in range(_ATTEMPTS):
        if attempt >= _ATTEMPTS // 2:  # the rules before may take all that was wished for
            wish = random.choice(_ANY_WISH)
        flow = flow_inside(rule, wish, random)
        if flow.is_packet:
            earlier = _first(tests, flow)
            if earlier == target:
                return flow
    reason = (
        f"protocol {rule.protocol} is an extension header of IPv6"
        if earlier is None
        else f"every packet that was tried matches rule {earlier} before"
    )
    raise TrafficError(
        f"no packet hits rule {target} ({rule}): {reason}", cure="remove the rule, or move it up"
    )


def _default_flow(tests: Sequence[Matcher], wish: Wish, random: Random) -> Flow:
    for attempt in range(_ATTEMPTS):
        anywhere = attempt >= _ATTEMPTS // 2  # the rules may take all that was wished for
        if anywhere:
            wish = random.choice(_ANY_WISH)
        flow = random_flow(wish, random, anywhere=anywhere)
        if _first(tests, flow) is None:
            return flow
    raise TrafficError(
        "every packet that was tried matches a rule, none is left for the default",
        cure="set default_share to 0",
    )
