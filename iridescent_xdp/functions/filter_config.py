# SPDX-License-Identifier: GPL-2.0-only
"""The filter's own tables of the operator file: ``rules`` and ``sets``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field, PlainValidator

from iridescent_xdp.config.check import checked, checked_part, table
from iridescent_xdp.config.model import Section
from iridescent_xdp.config.packet_fields import (
    parse_ports,
    parse_protocol,
    parse_tcp_flags,
)
from iridescent_xdp.config.prefixes import (
    Network,
    PrefixPlaces,
    PrefixSource,
    lines_of,
    parse_prefix,
    read_prefixes,
    to_network,
)
from iridescent_xdp.config.problems import (
    KeyPath,
    Problems,
    quote,
    show_path,
    show_value,
)
from iridescent_xdp.config.registry import TableReader
from iridescent_xdp.functions.rules import PROTOCOLS_WITH_PORTS, TCP, Rule

MAX_RULES = 1_024  # MAX_RULES of bpf/include/filter_tables.h
MAX_SET_PREFIXES = 100_000  # SET_ENTRIES of bpf/include/filter_tables.h


@dataclass(frozen=True, kw_only=True)
class FilterTables:
    """What the filter decides by; ``comments`` has one text for each rule, "" if it has none."""

    rules: tuple[Rule, ...] = ()
    comments: tuple[str, ...] = ()
    allow: tuple[Network, ...] = field(default=(), repr=False)
    deny: tuple[Network, ...] = field(default=(), repr=False)


_Prefix = Annotated[Network | None, PlainValidator(parse_prefix)]
_PortRange = Annotated[tuple[int, int] | None, PlainValidator(parse_ports)]


class RuleSection(Section):
    """One ``[[interface.X.rules]]``."""

    source: _Prefix = None
    destination: _Prefix = None
    protocol: Annotated[int | None, PlainValidator(parse_protocol)] = None
    source_port: _PortRange = None
    destination_port: _PortRange = None
    tcp_flags: Annotated[tuple[int, int] | None, PlainValidator(parse_tcp_flags)] = None
    action: Literal["pass", "drop"] = Field(examples=["drop"])
    comment: str = Field(default="", description="a text in quotes", examples=["no DNS"])


class SetsSection(Section):
    """``[interface.X.sets]``; the entries of the lists are read apart, fast."""

    allow: list[object] = Field(
        default=[], description="a list of prefixes", examples=[["192.0.2.0/24"]]
    )
    deny: list[object] = Field(
        default=[], description="a list of prefixes", examples=[["2001:db8::/32"]]
    )
    allow_file: str | None = Field(
        default=None, description="the path of a file in quotes", examples=["allow.txt"]
    )
    deny_file: str | None = Field(
        default=None, description="the path of a file in quotes", examples=["deny.txt"]
    )


def read_tables(raw: Mapping[str, object], at: KeyPath, problems: Problems) -> FilterTables:
    """Check ``rules`` and ``sets`` of one interface; mistakes are noted in ``problems``."""
    rules = _rules(raw.get("rules", []), (*at, "rules"), problems)
    at_sets = (*at, "sets")
    keys = table(raw.get("sets", {}), at_sets, problems) or {}
    sets = checked_part(SetsSection, keys, at_sets, problems)
    allow = _set(sets, "allow", at_sets, problems)
    deny = _set(sets, "deny", at_sets, problems)
    _refuse_in_both(allow, deny, problems)
    return FilterTables(
        rules=tuple(rule for rule, _ in rules),
        comments=tuple(comment for _, comment in rules),
        allow=tuple(map(to_network, allow)),
        deny=tuple(map(to_network, deny)),
    )


def _rules(raw: object, at: KeyPath, problems: Problems) -> list[tuple[Rule, str]]:
    """The rules and their comments; those with a mistake are left out."""
    if not isinstance(raw, list):
        what = f"must be a list of tables, got {show_value(raw)}"
        problems.add(at, what, f"write it with two brackets: [[{show_path(at)}]]")
        return []
    if len(raw) > MAX_RULES:
        what = f"at most {MAX_RULES:,} rules, got {len(raw):,}"
        problems.add(at, what, "merge rules, or move plain source prefixes to sets.deny")
    rules: list[tuple[Rule, str]] = []
    seen: dict[Rule, tuple[int, Rule]] = {}
    for place, item in enumerate(raw[:MAX_RULES]):
        if not isinstance(item, dict):
            what = f"must be a table, got {show_value(item)}"
            problems.add((*at, place), what, f"write it as [[{show_path(at)}]]")
            continue
        section = checked(RuleSection, item, (*at, place), problems)
        if section and _consistent(section, item.get("protocol"), (*at, place), problems):
            rules.append((_to_rule(section), section.comment))
            _refuse_repeated(rules[-1][0], place, seen, at, problems)
    return rules


def _consistent(section: RuleSection, protocol: object, at: KeyPath, problems: Problems) -> bool:
    """Whether the keys of a rule fit together; ``protocol`` as the file has it."""
    before = len(problems.lines)
    versions = {p.version for p in (section.source, section.destination) if p}
    if len(versions) > 1:
        what = f"mixes IPv4 and IPv6, got {section.source} and {section.destination}"
        problems.add((*at, "destination"), what, "write one rule for each family")
    for name, version, other in (("icmp", 6, "icmpv6"), ("icmpv6", 4, "icmp")):
        if protocol == name and version in versions:
            what = f'"{name}" is not a protocol of IPv{version}, got an IPv{version} prefix'
            problems.add((*at, "protocol"), what, f'did you mean "{other}"?')
    for key in ("source_port", "destination_port"):
        if getattr(section, key) and section.protocol not in (None, *PROTOCOLS_WITH_PORTS):
            what = f"protocol {show_value(protocol)} has no ports"
            problems.add((*at, key), what, "remove the port, or use tcp, udp or sctp")
    if section.tcp_flags and section.protocol not in (None, TCP):
        what = f"protocol {show_value(protocol)} has no TCP flags"
        problems.add((*at, "tcp_flags"), what, 'remove the flags, or use protocol = "tcp"')
    return len(problems.lines) == before


def _to_rule(section: RuleSection) -> Rule:
    return Rule(
        source=section.source,
        destination=section.destination,
        protocol=section.protocol,
        source_ports=section.source_port,
        destination_ports=section.destination_port,
        tcp_flags=section.tcp_flags,
        action=section.action,
    )


def _refuse_repeated(
    rule: Rule, place: int, seen: dict[Rule, tuple[int, Rule]], at: KeyPath, problems: Problems
) -> None:
    """A rule that asks exactly what an earlier one asks can never match."""
    protocol = TCP if rule.tcp_flags else rule.protocol  # flags ask for TCP, said or not
    earlier, first = seen.setdefault(replace(rule, action="pass", protocol=protocol), (place, rule))
    if earlier == place:
        return
    if first.action == rule.action:
        what = f"is the same rule as rules[{earlier}]"
    else:
        what = (
            f'never matches: rules[{earlier}] asks the same and says "{first.action}", '
            f'here "{rule.action}"'
        )
    problems.add((*at, place), what, "remove one of the two")


def _set(
    sets: SetsSection, name: Literal["allow", "deny"], at: KeyPath, problems: Problems
) -> PrefixPlaces:
    """One set from its list and its file; each prefix with the place it came from."""
    prefixes: PrefixPlaces = {}
    source = PrefixSource(at=(*at, name))
    read_prefixes(source, enumerate(getattr(sets, name)), prefixes, problems)
    file = getattr(sets, f"{name}_file")
    if file is not None:
        source = PrefixSource(at=(*at, f"{name}_file"), file=problems.file.parent / file)
        read_prefixes(source, lines_of(source, problems), prefixes, problems)
    if len(prefixes) > MAX_SET_PREFIXES:
        what = f"a set has at most {MAX_SET_PREFIXES:,} prefixes, got {len(prefixes):,}"
        problems.add(source.at, what, "join neighbouring prefixes into shorter ones")
    return prefixes


def _refuse_in_both(allow: PrefixPlaces, deny: PrefixPlaces, problems: Problems) -> None:
    both = [key for key in deny if key in allow]
    for key in both[:1]:
        (source, index), (other, at) = deny[key], allow[key]
        more = f" (and {len(both) - 1:,} more)" if len(both) > 1 else ""
        what = f"{quote(str(to_network(key)))} is allowed too, in {other.place(at)}{more}"
        source.report(index, what, "remove it from one of the two sets", problems)


TABLES = TableReader(
    keys=("rules", "sets"),
    derived_points=("allow_set", "deny_set", "rule_capacity"),
    read=read_tables,
)
