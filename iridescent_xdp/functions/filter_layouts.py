# SPDX-License-Identifier: GPL-2.0-only
"""The filter's rules compiled into code: a compare chain, or a search tree.

Both give ``rule_index * 2 + drop`` for the first rule that matches, else NO_MATCH. They rely
on what the parser guarantees of ``struct packet_key``: it starts zeroed, so a packet without
ports has ports and flags 0, only TCP has flags, and IPv4 leaves words 1 to 3 zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from iridescent_xdp.decision.clauses import Clause, all_of, chain_of
from iridescent_xdp.decision.nodes import Field, InRange, Masked, Node, Result, Test, If
from iridescent_xdp.decision.regions import Prior
from iridescent_xdp.decision.tree import tree_of
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.rules import MAX_PORT, TCP, UDP, Network, Rule

BUD = 2.4
NO_MATCH = 0xFFFF_FFFF
WORDS, WORD_BITS = 4, 32

SOURCE = tuple(Field("source", word, in_array=True) for word in range(WORDS))
DESTINATION = tuple(Field("destination", word, in_array=True) for word in range(WORDS))
SOURCE_PORT = Field("source_port")
DESTINATION_PORT = Field("destination_port")
FAMILY = Field("family")
PROTOCOL = Field("protocol")
TCP_FLAGS = Field("tcp_flags")
HAS_PORTS = Field("has_ports")

# offset and size in bytes, as in struct packet_key of bpf/include/filter_tables.h
PACKET_KEY_LAYOUT: Mapping[Field, tuple[int, int]] = MappingProxyType(
    {field: (4 * place, 4) for place, field in enumerate((*SOURCE, *DESTINATION))}
    | {SOURCE_PORT: (32, 2), DESTINATION_PORT: (34, 2)}
    | {FAMILY: (36, 1), PROTOCOL: (37, 1), TCP_FLAGS: (38, 1), HAS_PORTS: (39, 1)}
)

_PRIORS = {
    FAMILY: Prior(top=255, likely={4: 0.7, 6: 0.3}, closed=True),
    PROTOCOL: Prior(top=255, likely={TCP: 0.48, UDP: 0.48}),
    HAS_PORTS: Prior(top=1, likely={0: 0.04, 1: 0.96}, closed=True),
    SOURCE_PORT: Prior(top=MAX_PORT),
    DESTINATION_PORT: Prior(top=MAX_PORT),
    TCP_FLAGS: Prior(top=255),
}


def tree(rules: Sequence[Rule], *, weights: Sequence[float] | None = None, leaf: int = 2) -> Node:
    clauses = [
        Clause(tuple(_tests(rule)), 2 * i + (rule.action == "drop")) for i, rule in enumerate(rules)
    ]
    clauses.append(Clause((), NO_MATCH))
    if weights is None:
        weights = [1.0] * len(rules) + [float(max(1, len(rules)))]
    return tree_of(clauses, weights, priors=_PRIORS, leaf=leaf)


def _tests(rule: Rule) -> Iterator[Test]:
    if rule.family is not None:
        yield InRange(FAMILY, rule.family, rule.family)
    for words, network in ((SOURCE, rule.source), (DESTINATION, rule.destination)):
        if network is not None:
            yield from _prefix_tests(words, network)
    flags = rule.tcp_flags
    if flags is not None and flags[0]:
        yield Masked(TCP_FLAGS, *flags)
    implied = flags is not None and flags[1]
    protocol = TCP if flags is not None else rule.protocol
    if protocol is not None and not implied:
        yield InRange(PROTOCOL, protocol, protocol)
    asks = flags is not None
    for field, ports in (
        (SOURCE_PORT, rule.source_ports),
        (DESTINATION_PORT, rule.destination_ports),
    ):
        if ports is not None:
            asks = True
            if ports != (0, MAX_PORT):
                yield InRange(field, *ports)
            implied = implied or ports[0] > 0
    if asks and not implied:
        yield InRange(HAS_PORTS, 1, 1)


def _prefix_tests(words, network: Network) -> Iterator[Test]:
    size = network.max_prefixlen // WORD_BITS
    low, high = int(network.network_address), int(network.broadcast_address)
    for word in range(size):
        shift = WORD_BITS * (size - 1 - word)
        a, b = low >> shift & 0xFFFFFFFF, high >> shift & 0xFFFFFFFF
        if (a, b) != (0, 0xFFFFFFFF):
            yield InRange(words[word], a, b)


def chain(rules: Sequence[Rule]) -> Node:
    def clause(i, rule):
        t = sorted((x for x in _tests(rule) if x.field != FAMILY), key=_rank)
        return Clause(tuple(t), 2 * i + (rule.action == "drop"))
    # shared tail
    last = max((i for i, r in enumerate(rules) if r.family), default=-1)
    node = chain_of([clause(i, r) for i, r in enumerate(rules) if i > last], Result(NO_MATCH))
    if last < 0:
        return node
    four, six = (
        chain_of([clause(i, r) for i, r in enumerate(rules[: last + 1]) if r.family in (None, f)], node)
        for f in (4, 6)
    )
    return If(InRange(FAMILY, 4, 4), four, six)

def _rank(test):
    if isinstance(test, Masked): return 0.5
    if test.field in (PROTOCOL,): return 2
    if test.field == HAS_PORTS: return 3
    return 0 + (test.high - test.low) / 2**32
