# SPDX-License-Identifier: GPL-2.0-only
"""Scenario files with one mistake each: the key's path, what is wrong, and the cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from iridescent_xdp.config import ConfigFileError
from iridescent_xdp.errors import ConfigError
from traffic.scenario import load_scenario

HEAD = 'name = "x"\ndescription = "y"\nfunction = "filter"\n'
PHASE = '[[phase]]\nname = "a"\nseconds = 2\n'
GOOD = HEAD + PHASE
BALANCER, ROUTER = (GOOD.replace("filter", name) for name in ("l4lb", "router"))
PHASE_B = PHASE.replace('"a"', '"b"')
CHANGE = "[[phase.changes]]\nat_s = 1\n"
EXTRA = "[[phase.extra]]\nshare = 0.5\n"

# name: (the file, key path, what the message must say)
MISTAKES = {
    "unknown key": (f"sed = 1\n{GOOD}", "sed", "is not a known key; did you mean 'seed'?"),
    "phase key at the top": (f"rate = 0.2\n{GOOD}", "rate", "it belongs in [[phase]]"),
    "mix key at the top": (f"flows = 2\n{GOOD}", "flows", "it belongs in [mix]"),
    "no function": (GOOD.replace('function = "filter"\n', ""), "function", "is missing; add"),
    "unknown function": (GOOD.replace("filter", "fliter"), "function", 'did you mean "filter"?'),
    "negative seed": (f"seed = -1\n{GOOD}", "seed", "from 0 to 2^63 - 1, got -1"),
    "no phases": (HEAD, "phase", "is missing; add [[phase]]"),
    "one phase as a table": (HEAD + "[phase]\nseconds = 1\n", "phase", "must be a list of tables"),
    "unknown phase key": (f"{GOOD}secnds = 1\n", "phase[0].secnds", "did you mean 'seconds'?"),
    "mix key in the phase": (f"{GOOD}flows = 9\n", "phase[0].flows", "it belongs in [phase.mix]"),
    "no seconds": (HEAD + '[[phase]]\nname = "a"\n', "phase[0].seconds", "is missing; add"),
    "no rate": (f"{GOOD}rate = 0\n", "phase[0].rate", "greater than 0 and at most 1, got 0"),
    "rate above 1": (f"{GOOD}rate = 1.5\n", "phase[0].rate", "at most 1, got 1.5"),
    "rate as text": (f'{GOOD}rate = "0.5"\n', "phase[0].rate", "write 0.5 without quotes"),
    "hot is text": (f'{GOOD}hot = "a"\n', "phase[0].hot", "or a list of them"),
    "hot is empty": (f"{GOOD}hot = []\n", "phase[0].hot", "or a list of them, got []"),
    "a name twice": (f"{GOOD}{PHASE}", "phase[1].name", 'is the name of phase[0] too, got "a"'),
    "too many phases": (f"rounds = 200\n{GOOD}{PHASE_B}", "phase", "got 400"),
    "unknown mix key": (
        f"{GOOD}[phase.mix]\nipv6_shar = 1.0\n", "phase[0].mix.ipv6_shar",
        "did you mean 'ipv6_share'?",
    ),
    "share above 1": (f"{GOOD}[phase.mix]\nipv6_share = 2\n", "phase[0].mix.ipv6_share", "got 2"),
    "shares that do not add up": (
        f"{GOOD}[phase.mix]\nprotocol_shares = [0.5, 0.4, 0, 0]\n", "phase[0].mix.protocol_shares",
        "that add up to 1 (TCP, UDP, ICMP, other), got [0.5, 0.4, 0, 0]",
    ),
    "shares of another number": (
        f"{HEAD}[mix]\nvlan_shares = [1.0]\n{PHASE}", "mix.vlan_shares", "must be 3 numbers",
    ),
    "unknown locality": (
        f'{GOOD}[phase.mix]\nlocality = "hi"\n', "phase[0].mix.locality", 'did you mean "high"?',
    ),
    "size": (f"{GOOD}[phase.mix]\nsize_bytes = 20\n", "phase[0].mix.size_bytes", "got 20"),
    "break kind": (
        f'{GOOD}[phase.mix]\nbreak_kinds = ["vlans"]\n', "phase[0].mix.break_kinds",
        'did you mean "vlan"?',
    ),
    "more flows than rooms": (
        f"{GOOD}[phase.mix]\nflows = 4090\nbreak_share = 0.1\n", "phase[0].mix",
        "1 <= flows <= 4036 must hold, got flows=4090",
    ),
    "first of too few": (f"{GOOD}[phase.mix]\nfirst = 65\n", "phase[0].mix.first", "have 64"),
    "syn to the filter": (
        f'{GOOD}[phase.mix]\ntcp = "syn"\n', "phase[0].mix.tcp", "its rules say which TCP flags",
    ),
    "extra of everything": (f"{GOOD}{EXTRA}{EXTRA}", "phase[0].extra", "add up to 1 or more"),
    "extra without share": (f"{GOOD}[[phase.extra]]\n", "phase[0].extra[0].share", "is missing"),
    "extra with too many flows": (
        f"{GOOD}{EXTRA}flows = 4000\n", "phase[0]", "at most 4,096 together, got 5,024",
    ),
    "extra key": (f"{GOOD}{EXTRA}rate = 1\n", "phase[0].extra[0].rate", "is not a known key"),
    "two sources of tables": (
        f'{GOOD}[tables]\ncount = 9\n[[tables.filter.rules]]\naction = "drop"\n', "tables.count",
        "remove one of the two",
    ),
    "tables of another function": (
        f"{GOOD}[[tables.l4lb.services]]\nport = 1\n", "tables.l4lb", "is not a known key",
    ),
    "too many rules": (f"{GOOD}[tables]\ncount = 2000\n", "tables.count", "at most 1,024"),
    "mistake in a rule": (
        f'{GOOD}[[tables.filter.rules]]\naction = "drop"\nsourc = "10.0.0.0/8"\n',
        "tables.filter.rules[0].sourc", "did you mean 'source'?",
    ),
    "the kernel's routes": (
        f'{ROUTER}[tables.router]\nroutes = "kernel"\n', "tables.router.routes", "written out",
    ),
    "policy": (f"{GOOD}[policy]\ndefault_action = 1.5\n", "policy.default_action", "got 1.5"),
    "no change": (f"{GOOD}{CHANGE}", "phase[0].changes[0]", "must hold one change, got none"),
    "two changes": (
        f"{GOOD}{CHANGE}remove_rule = {{ place = 0 }}\nadd_rule = {{ action = \"drop\" }}\n",
        "phase[0].changes[0]", "must hold one change, got remove_rule, add_rule",
    ),
    "change of another function": (
        f"{GOOD}{CHANGE}drain_backend = {{ service = 0, backend = 0 }}\n",
        "phase[0].changes[0].drain_backend", "is not a known key",
    ),
    "change after the phase": (
        f"{GOOD}{CHANGE.replace('1', '3')}remove_rule = {{ place = 0 }}\n",
        "phase[0].changes[0].at_s", "is after the phase, which takes 2.0 s, got 3",
    ),
    "rule that cannot be": (
        f'{GOOD}{CHANGE}add_rule = {{ protocol = "icmp", source_port = 1, action = "drop" }}\n',
        "phase[0].changes[0].add_rule", "needs a protocol that has ports",
    ),
    "mistake in a changed rule": (
        f'{GOOD}{CHANGE}add_rule = {{ action = "dorp" }}\n',
        "phase[0].changes[0].add_rule.action", 'did you mean "drop"?',
    ),
    "no such rule": (
        f"{GOOD}{CHANGE}remove_rule = {{ place = 64 }}\n", "phase", "no place 64 in a list of 64",
    ),
    "no such backend": (
        f"{BALANCER}{CHANGE}drain_backend = {{ service = 0, backend = 10 }}\n",
        "phase[0].changes[0].drain_backend", "service 0 has 10 backends, got backend=10",
    ),
    "no such service": (
        f'{BALANCER}{CHANGE}add_backend = {{ service = 10, address = "10.0.0.9" }}\n',
        "phase[0].changes[0].add_backend", "there are 10 services",
    ),
    "no such route": (
        f'{ROUTER}{CHANGE}delete_route = {{ prefix = "203.0.113.7/32" }}\n', "phase",
        "there is no route to 203.0.113.7/32",
    ),
    "prefix twice in the rounds": (
        f"rounds = 2\n{GOOD}{CHANGE}"
        'add_prefix = { set = "deny", prefix = "192.0.2.0/24" }\n',
        "phase", "in set 'deny' already",
    ),
    "syntax": (f"{GOOD}rate = low\n", "", "line 7, column 8: not TOML"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_told_with_its_place_and_a_cure(case: str, tmp_path: Path) -> None:
    text, at, told = MISTAKES[case]
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigFileError) as caught:
        load_scenario(path)
    (line,) = caught.value.problems
    assert line.startswith(f"{path}: {at}: " if at else f"{path}: "), line
    assert told in line
    assert "; " in line


def test_all_mistakes_of_a_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f"{GOOD}rate = 3\n[phase.mix]\nflow = 1\n[tables]\ncount = 0\n")
    with pytest.raises(ConfigFileError) as caught:
        load_scenario(path)
    assert len(caught.value.problems) == 3


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="did you mean 'hot_set'"):
        load_scenario("hotset")
    with pytest.raises(ConfigError, match="there are adversarial, alternating"):
        load_scenario("qqq")
    with pytest.raises(ConfigFileError, match="cannot be read"):
        load_scenario("nowhere.toml")
