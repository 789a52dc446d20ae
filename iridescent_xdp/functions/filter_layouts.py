# SPDX-License-Identifier: GPL-2.0-only
"""The filter's rules compiled into code: a compare chain, or a search tree.

Both give ``rule_index * 2 + drop`` for the first rule that matches, else NO_MATCH. They rely
on what the parser guarantees of ``struct packet_key``: it starts zeroed, so a packet without
ports has ports and flags 0; only TCP has flags; the family is 4 or 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from iridescent_xdp.decision.axes import Prior
from iridescent_xdp.decision.clauses import Clause, chain_of
from iridescent_xdp.decision.forest import forest_of
from iridescent_xdp.decision.nodes import (
    U32_MAX,
    Decision,
    Field,
    If,
    InRange,
    Masked,
    Node,
    Result,
    Test,
)
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.rules import MAX_BYTE, MAX_PORT, TCP, UDP, Network, Rule

NO_MATCH = U32_MAX
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
    FAMILY: Prior(top=MAX_BYTE, likely={4: 0.7, 6: 0.3}, closed=True),
    PROTOCOL: Prior(top=MAX_BYTE, likely={TCP: 0.48, UDP: 0.48}),
    HAS_PORTS: Prior(top=1, likely={0: 0.04, 1: 0.96}, closed=True),
    SOURCE_PORT: Prior(top=MAX_PORT),
    DESTINATION_PORT: Prior(top=MAX_PORT),
}

# A test in the code may cost what each packet would save by 1/PRICE tests at one rule. 64 mixed
# rules: 400 tests, 14 of them made; with twice the code it would be 13.
PRICE = 1 / 3_200


def chain(rules: Sequence[Rule]) -> Node:
    """The rules one after the other, the tests of each in the order that fails soonest.

    IPv4 and IPv6 skip each other's rules; behind the last rule with an address they meet.
    """
    clauses = [_clause(place, rule) for place, rule in enumerate(rules)]
    last = max((place for place, rule in enumerate(rules) if rule.family), default=-1)
    node = chain_of(clauses[last + 1 :], Result(NO_MATCH))
    if last < 0:
        return node
    either = zip(rules[: last + 1], clauses, strict=False)
    four: list[Clause] = []
    six: list[Clause] = []
    for rule, clause in either:
        inner = Clause(tuple(t for t in clause.tests if t.field != FAMILY), clause.result)
        if rule.family != 6:
            four.append(inner)
        if rule.family != 4:
            six.append(inner)
    return If(InRange(FAMILY, 4, 4), chain_of(four, node), chain_of(six, node))


def tree(
    rules: Sequence[Rule], *, weights: Sequence[float] | None = None, leaf: int = 4
) -> Decision:
    """A search tree over the rules, or several where one would be little more than a chain.

    ``weights`` are the observed hits of each rule and, last, of no rule; without them the rules
    are taken to be hit alike, and no rule as often as all of them. Up to ``leaf`` rules or
    values are asked for one by one: few for traffic that repeats itself, up to 16 where branches
    are hard to predict. Raises ConfigError when an argument breaks a rule.
    """
    if weights is None:
        weights = [1.0] * len(rules) + [max(1.0, float(len(rules)))]
    if len(weights) != len(rules) + 1:
        raise ConfigError(
            f"{len(rules)} rules need {len(rules) + 1} weights, the last for no match, "
            f"got {len(weights)}"
        )
    clauses = [_clause(place, rule) for place, rule in enumerate(rules)]
    clauses.append(Clause((), NO_MATCH))
    return forest_of(clauses, weights, priors=_PRIORS, leaf=leaf, price=PRICE)


def _clause(place: int, rule: Rule) -> Clause:
    tests = sorted(_tests(rule), key=_passing_cost)
    return Clause(tuple(tests), 2 * place + (rule.action == "drop"))


def _tests(rule: Rule) -> Iterator[Test]:
    """What has to be asked for a rule, without what other tests imply."""
    if rule.family is not None:
        yield InRange(FAMILY, rule.family, rule.family)
    for words, network in ((SOURCE, rule.source), (DESTINATION, rule.destination)):
        if network is not None:
            yield from _prefix_tests(words, network)
    yield from _transport_tests(rule)


def _prefix_tests(words: Sequence[Field], network: Network) -> Iterator[Test]:
    """An interval of each word; words that may have any value are left out."""
    count = network.max_prefixlen // WORD_BITS
    low, high = int(network.network_address), int(network.broadcast_address)
    for word, field in enumerate(words[:count]):
        shift = WORD_BITS * (count - 1 - word)
        first, last = low >> shift & U32_MAX, high >> shift & U32_MAX
        if last - first < U32_MAX:
            yield InRange(field, first, last)


def _transport_tests(rule: Rule) -> Iterator[Test]:
    """Protocol, ports and flags. A port other than 0 implies ports, a set flag implies TCP."""
    mask, value = rule.tcp_flags or (0, 0)
    if mask:
        yield Masked(TCP_FLAGS, mask, value)
    protocol = rule.protocol if rule.tcp_flags is None else TCP
    if protocol is not None and not value:
        yield InRange(PROTOCOL, protocol, protocol)
    asked = ((SOURCE_PORT, rule.source_ports), (DESTINATION_PORT, rule.destination_ports))
    ranges = [(field, ports) for field, ports in asked if ports is not None]
    for field, (low, high) in ranges:
        if high - low < MAX_PORT:
            yield InRange(field, low, high)
    implied = value or any(low > 0 for _, (low, _) in ranges)
    if (ranges or rule.tcp_flags is not None) and not implied:
        yield InRange(HAS_PORTS, 1, 1)


def _passing_cost(test: Test) -> float:
    """What a test costs for each packet that it turns away; cheap ones are made first."""
    if isinstance(test, Masked):
        return 1.5 / (1 - 0.5 ** test.mask.bit_count())
    prior = _PRIORS.get(test.field, Prior())
    passing = sum(share for value, share in prior.likely.items() if test.holds(value))
    if not prior.likely:
        passing = (test.high - test.low + 1) / (prior.top + 1)
    instructions = 1.0 if test.low == test.high else 1.5
    return instructions / max(1e-9, 1 - passing)
