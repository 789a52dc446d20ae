# SPDX-License-Identifier: GPL-2.0-only
"""The tables that a scenario's function works with, and which packets meet them.

They are those of the bench suites, ``count`` of them, or written out as in an operator file under
``[tables.FUNCTION]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import ip_network
from typing import TYPE_CHECKING

from pydantic import Field

from iridescent_xdp.config.check import KeyHints, checked, table
from iridescent_xdp.config.model import Section
from iridescent_xdp.config.problems import Problems
from iridescent_xdp.config.registry import table_reader
from iridescent_xdp.functions.filter_config import MAX_RULES, FilterTables
from iridescent_xdp.functions.l4lb_tables import MAX_SERVICES, PROTOCOL_NUMBERS, L4lbTables, Service
from iridescent_xdp.functions.router_tables import RouterTables
from iridescent_xdp.functions.rules import SCTP, TCP, UDP, Rule
from traffic.mix_flows import network_range
from traffic.scenario_spec import FunctionName, Tcp

if TYPE_CHECKING:  # the suites import scenarios in turn
    from iridescent_xdp.bench.subject import Egress

Tables = FilterTables | RouterTables | L4lbTables

_ICMP, _ICMPV6, _OTHERS = 1, 58, (47, 50)  # GRE and ESP
_SYN = (0x12, 0x02)  # of SYN and ACK, SYN alone
_DEFAULT = {"filter": 64, "router": 1000, "l4lb": 10}
_MOST = {"filter": MAX_RULES, "router": 100_000, "l4lb": MAX_SERVICES}


@dataclass(frozen=True, kw_only=True)
class TableSource:
    """Where the tables come from: ``own``, or ``count`` made entries."""

    function: FunctionName
    count: int = 0
    own: Tables | None = None

    def tables(self, egress: Egress | None = None) -> Tables:
        """The tables as the function takes them; made routes lead over ``egress`` (the loopback,
        which stands for it where nothing is sent)."""
        from iridescent_xdp.bench import routes, rules, services, subject

        if self.own is not None:
            return self.own
        if self.function == "filter":
            edge = self.count == len(rules.RULES)
            return FilterTables(rules=rules.RULES if edge else rules.many_rules(self.count))
        if self.function == "router":
            return routes.tables(egress or subject.LOOPBACK, self.count)
        return services.tables(self.count)

    def size(self) -> int:
        """How many entries packets can be made for."""
        return len(self._entries)

    def hits(self, first: int | None, tcp: Tcp) -> tuple[Rule, ...]:
        """What flows have to match: the first entries, or all.

        A prefix of a rule list is a rule list, so each flow's first match is the rule that it was
        made for; of routes the longest come first.
        """
        rules = self._entries[:first]
        if self.function == "router":
            longest = sorted(
                rules, key=lambda r: -(r.destination.prefixlen if r.destination else 0)
            )
            rules = tuple(longest)
        if tcp == "syn":
            rules = tuple(replace(r, tcp_flags=_SYN) for r in rules if r.protocol in (None, TCP))
        return rules

    @cached_property
    def _entries(self) -> tuple[Rule, ...]:
        tables = self.tables()
        if isinstance(tables, FilterTables):
            return reachable(tables.rules)
        if isinstance(tables, RouterTables):
            return tuple(
                Rule(destination=route.prefix, action="pass")
                for route in tables.routes
                if route.kind == "forward"
            )
        return tuple(_for_service(service) for service in tables.services)


def reachable(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Without the rules that one before them covers: no packet can match those first."""
    kept: list[Rule] = []
    for rule in rules:
        if not any(_covers(earlier, rule) for earlier in kept):
            kept.append(rule)
    return tuple(kept)


def _covers(wide: Rule, rule: Rule) -> bool:
    """Whether every packet that matches ``rule`` matches ``wide`` too."""
    protocol = TCP if rule.tcp_flags else rule.protocol
    return (
        wide.protocol in (None, protocol)
        and wide.tcp_flags in (None, rule.tcp_flags)
        and _range_in(rule.destination_ports, wide.destination_ports)
        and _range_in(rule.source_ports, wide.source_ports)
        and _range_in(network_range(rule.source), network_range(wide.source))
        and _range_in(network_range(rule.destination), network_range(wide.destination))
        and wide.family in (None, rule.family)
    )


def _range_in(inner: tuple[int, int] | None, outer: tuple[int, int] | None) -> bool:
    if outer is None:
        return True
    return inner is not None and outer[0] <= inner[0] and inner[1] <= outer[1]


def fitting(
    rules: tuple[Rule, ...], protocol_shares: tuple[float, ...], ipv6_share: float
) -> tuple[Rule, ...]:
    """The rules that some packet of these shares can match; no other rule can come before one."""
    tcp, udp, icmp, other = (share > 0 for share in protocol_shares)
    shown = {
        TCP: tcp,
        UDP: udp,
        SCTP: other,
        _ICMP: icmp,
        _ICMPV6: icmp,
        **dict.fromkeys(_OTHERS, other),
    }
    families = {4: ipv6_share < 1, 6: ipv6_share > 0, None: True}

    def fits(rule: Rule) -> bool:
        if rule.protocol is not None:
            return shown.get(rule.protocol, True) and families[rule.family]
        with_ports = not (rule.source_ports or rule.destination_ports) or tcp or udp or other
        return families[rule.family] and (tcp or not rule.tcp_flags) and with_ports

    return tuple(rule for rule in rules if fits(rule))


def _for_service(service: Service) -> Rule:
    return Rule(
        destination=ip_network(service.id.address),
        protocol=PROTOCOL_NUMBERS[service.id.protocol],
        destination_ports=(service.id.port, service.id.port),
        action="pass",
    )


class TablesSection(Section):
    """``[tables]``."""

    count: int | None = Field(
        default=None, ge=1, description="an integer greater than 0", examples=[64]
    )


def read_tables(raw: object, function: FunctionName, problems: Problems) -> TableSource:
    """Check ``[tables]``; mistakes are noted in ``problems``."""
    keys = table(raw, ("tables",), problems) or {}
    made = TableSource(function=function, count=_DEFAULT[function])
    shared = {key: value for key, value in keys.items() if key != function}
    section = checked(TablesSection, shared, ("tables",), problems, KeyHints(known=(function,)))
    if section is None:
        return made
    if function in keys:
        if section.count is not None:
            what = f"stands beside [tables.{function}], which says it all"
            problems.add(("tables", "count"), what, "remove one of the two")
        return _written_out(keys[function], function, made, problems)
    if section.count is None:
        return made
    if section.count > _MOST[function]:
        what = f"at most {_MOST[function]:,} for function '{function}', got {section.count:,}"
        problems.add(("tables", "count"), what, "use fewer")
        return made
    return replace(made, count=section.count)


def _written_out(
    raw: object, function: FunctionName, made: TableSource, problems: Problems
) -> TableSource:
    at = ("tables", function)
    keys = table(raw, at, problems)
    reader = table_reader(function)
    if keys is None or reader is None:
        return made
    for key in sorted(set(keys) - set(reader.keys)):
        problems.add((*at, key), "is not a known key", f"known keys: {', '.join(reader.keys)}")
    before = len(problems.lines)
    own = reader.read(_own(keys, reader.keys), at, problems)
    if len(problems.lines) > before:
        return made
    assert isinstance(own, FilterTables | RouterTables | L4lbTables)
    if isinstance(own, RouterTables):
        if own.from_kernel:
            what = "must be written out: the kernel's routes differ from machine to machine"
            problems.add((*at, "routes"), what, "list them, or use `count`")
        own = replace(own, ingress="")
    return TableSource(function=function, own=own)


def _own(keys: Mapping[str, object], known: tuple[str, ...]) -> dict[str, object]:
    return {key: keys[key] for key in known if key in keys}
