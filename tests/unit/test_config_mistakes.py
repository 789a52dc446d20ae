# SPDX-License-Identifier: GPL-2.0-only
"""Operator files with one mistake each: the key's path, what is wrong, and the cure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from iridescent_xdp.config import ConfigFileError, load_config
from iridescent_xdp.errors import ConfigError
from tests.unit.config_goal_mistakes import OF_GOALS

HEAD = '[interface.eth0]\nfunction = "filter"\n'
POLICY, SEARCH = f"{HEAD}[interface.eth0.policy]\n", f"{HEAD}[interface.eth0.search]\n"
POINTS = f"{HEAD}[interface.eth0.search.points]\n"
SETS = f"{HEAD}[interface.eth0.sets]\n"
RULE = f'{HEAD}[[interface.eth0.rules]]\naction = "drop"\n'
NEXT = '[[interface.eth0.rules]]\naction = "pass"\n'
AT = "interface.eth0"
FIRST, FIXED, LISTS = f"{AT}.rules[0]", f"{AT}.policy", f"{AT}.sets"
FIND, TRIED = f"{AT}.search", f"{AT}.search.points"

# name: (the file, key path, what the message must say)
MISTAKES = {
    "empty": ("", "", "is empty"),
    "only comments": ("# nothing\n\n", "", "is empty"),
    "no interface": ("[interface]\n", "interface", "names no interface"),
    "unknown top key": (f'interfaces = "x"\n{HEAD}', "interfaces", "did you mean 'interface'?"),
    "rules at the top": (f"rules = []\n{HEAD}", "rules", "[interface.NAME]"),
    "interface is text": ('interface = "eth0"\n', "interface", 'must be a table, got "eth0"'),
    "interface is a number": ("[interface]\neth0 = 1\n", AT, "must be a table, got 1"),
    "syntax": (f"{HEAD}mode = native\n", "", "line 3, column 8: not TOML"),
    "open text": (f'{HEAD}mode = "native\n', "", 'close the text with a double quote (")'),
    "interface twice": (f"{HEAD}{HEAD}", AT, "declared twice, again at line 3, column 16"),
    "key twice": (f'{HEAD}function = "x"\n', "", "the key is set twice"),
    "nested deep": (f"a = {'[' * 9000}", "", "nested too deeply"),
    "endless number": (f"a = {'9' * 5000}", "", "more than 4,300 digits"),
    "long name": (
        HEAD.replace("eth0", "enp0s31f6np0d109"), "interface.enp0s31f6np0d109",
        "at most 15 bytes, got 16",
    ),
    "name in letters of two bytes": (
        HEAD.replace("eth0", '"ööööööööö"'), 'interface."ööööööööö"', "at most 15 bytes, got 18",
    ),
    "slash in name": (HEAD.replace("eth0", '"eth/0"'), 'interface."eth/0"', 'got "eth/0"'),
    "line break in name": (HEAD.replace("eth0", '"a\\nb"'), 'interface."a\\nb"', "blanks"),
    "vlan name without quotes": (
        f'{HEAD}[interface.eth0.7]\nmode = "native"\n', f"{AT}.7", '[interface."eth0.7"]',
    ),
    "no function": ("[interface.eth0]\n", f"{AT}.function", 'add for example `function ='),
    "function is a number": ("[interface.eth0]\nfunction = 1\n", f"{AT}.function", "file, got 1"),
    "unknown function": (
        HEAD.replace("filter", "fliter"), f"{AT}.function", 'got "fliter"; did you mean "filter"?',
    ),
    "program that is no function": (
        HEAD.replace("filter", "root"), f"{AT}.function", 'got "root"; ',
    ),
    "missing template": (
        HEAD.replace("filter", "my/own.bpf.c"), f"{AT}.function", 'got "my/own.bpf.c"',
    ),
    "unknown key": (f'{HEAD}objectiv = "x"\n', f"{AT}.objectiv", "did you mean 'objective'?"),
    "unlike any key": (f"{HEAD}zzz = 1\n", f"{AT}.zzz", "known keys: adapt, apply, cons"),
    "search key outside": (
        f"{HEAD}max_seconds = 3\n", f"{AT}.max_seconds", "belongs in [interface.eth0.search]",
    ),
    "one rule": (f"{HEAD}[[interface.eth0.rule]]\n", f"{AT}.rule", "did you mean 'rules'?"),
    "mode": (f'{HEAD}mode = "nativ"\n', f"{AT}.mode", 'got "nativ"; did you mean "native"?'),
    "mode is true": (
        f"{HEAD}mode = true\n", f"{AT}.mode",
        'must be one of "native-then-generic", "native", "generic", got true',
    ),
    "objective": (f'{HEAD}objective = "TIME"\n', f"{AT}.objective", '"throughput", "p99"'),
    "toolchain": (f'{HEAD}toolchain = "gcc"\n', f"{AT}.toolchain", '"auto", "bcc", "llvm"'),
    "apply": (f'{HEAD}apply = "advise"\n', f"{AT}.apply", 'did you mean "advice"?'),
    "policy is a list": (f"{HEAD}policy = []\n", f"{AT}.policy", "must be a table, got []"),
    "policy is a fraction": (f"{POLICY}x = 1.5\n", f"{FIXED}.x", "true, false, an integer"),
    "policy is negative": (f"{POLICY}x = -1\n", f"{FIXED}.x", "from 0 to 4294967295"),
    "policy is huge": (f"{POLICY}x = 0x{'f' * 5000}\n", f"{FIXED}.x", "a number of 20000 bits"),
    "policy is a list of values": (f"{POLICY}x = [1]\n", f"{FIXED}.x", "got [1]"),
    "policy of no point": (f'{POLICY}"a-b" = 1\n', f"{FIXED}.a-b", "letters, digits and '_'"),
    "policy from the sets": (f"{POLICY}deny_set = true\n", f"{FIXED}.deny_set", "follows from"),
    "point set and fixed": (
        f"{POINTS}x = 1\n[interface.eth0.policy]\nx = 1\n", f"{FIXED}.x", "under search.points",
    ),
    "point set and searched": (
        f"{POINTS}x = [1, 2]\n[interface.eth0.policy]\nx = 1\n", f"{FIXED}.x", "keep one",
    ),
    "search is text": (f'{HEAD}search = "racing"\n', FIND, 'table, got "racing"'),
    "strategy": (f'{SEARCH}strategy = "race"\n', f"{FIND}.strategy", '"racing"?'),
    "policy file is missing": (
        f'{SEARCH}strategy = "own.py"\n', f"{FIND}.strategy", 'no such file, got "own.py"',
    ),
    "strategy is a number": (f"{SEARCH}strategy = 1\n", f"{FIND}.strategy", ".py file, got 1"),
    "no trial": (f"{SEARCH}max_trials = 0\n", f"{FIND}.max_trials", "from 1 to 1000000, got 0"),
    "study is a path": (
        f'{SEARCH}strategy = "optuna"\nstudy = "/tmp/x.db"\n', f"{FIND}.study",
        'connection string SCHEME://… or "memory", got "/tmp/x.db"',
    ),
    "study of racing": (
        f'{SEARCH}study = "sqlite:///x.db"\n', f"{FIND}.study", 'by strategy "racing"',
    ),
    "unknown search key": (
        f"{SEARCH}max_second = 3\n", f"{FIND}.max_second", "did you mean 'max_seconds'?",
    ),
    "no time": (f"{SEARCH}max_seconds = 0\n", f"{FIND}.max_seconds", "greater than 0"),
    "too long": (f"{SEARCH}max_seconds = 86401\n", f"{FIND}.max_seconds", "at most 86400"),
    "endless": (f"{SEARCH}max_seconds = inf\n", f"{FIND}.max_seconds", "got inf"),
    "time is nan": (f"{SEARCH}max_seconds = nan\n", f"{FIND}.max_seconds", "got nan"),
    "time in quotes": (
        f'{SEARCH}max_seconds = "30"\n', f"{FIND}.max_seconds", "write 30 without quotes",
    ),
    "no arm": (f"{SEARCH}max_arms = 0\n", f"{FIND}.max_arms", "from 1 to 30, got 0"),
    "arms are a fraction": (f"{SEARCH}max_arms = 2.0\n", f"{FIND}.max_arms", "got 2.0"),
    "no share": (f"{SEARCH}share = 0.0\n", f"{FIND}.share", "greater than 0 and at most 1"),
    "large share": (f"{SEARCH}share = 1.01\n", f"{FIND}.share", "got 1.01"),
    "seed": (f"{SEARCH}seed = -1\n", f"{FIND}.seed", "got -1"),
    "points are a list": (f"{SEARCH}points = [1]\n", TRIED, "must be a table, got [1]"),
    "no value": (f"{POINTS}x = []\n", f"{TRIED}.x", "at least one value"),
    "value twice": (f"{POINTS}x = [1, true, 1]\n", f"{TRIED}.x", "twice, got 1"),
    "list in a list": (f"{POINTS}x = [[1]]\n", f"{TRIED}.x", "got [1]"),
    "rules are a table": (
        f'{HEAD}[interface.eth0.rules]\naction = "drop"\n', f"{AT}.rules",
        "two brackets: [[interface.eth0.rules]]",
    ),
    "rule is a number": (f"{HEAD}rules = [1]\n", FIRST, "must be a table, got 1"),
    "no action": (RULE.replace("action", "#"), f"{FIRST}.action", "is missing; add for example"),
    "action": (RULE.replace("drop", "DROP"), f"{FIRST}.action", 'did you mean "drop"?'),
    "unknown rule key": (f"{RULE}dst_port = 1\n", f"{FIRST}.dst_port", "is not a known key"),
    "comment": (f"{RULE}comment = 1\n", f"{FIRST}.comment", "must be a text in quotes, got 1"),
    "no prefix": (f'{RULE}source = "eth0"\n', f"{FIRST}.source", 'IPv6 prefix, got "eth0"'),
    "any": (f'{RULE}source = "any"\n', f"{FIRST}.source", "leave the key out"),
    "prefix without quotes": (f"{RULE}source = 10\n", f"{FIRST}.source", "in quotes, got 10"),
    "host bits": (f'{RULE}source = "10.9.1.1/16"\n', f"{FIRST}.source", 'write "10.9.0.0/16"'),
    "host bits of IPv6": (
        f'{RULE}destination = "2001:db8::1/32"\n', f"{FIRST}.destination", 'write "2001:db8::/32"',
    ),
    "long prefix": (f'{RULE}source = "10.0.0.0/33"\n', f"{FIRST}.source", "from 0 to 32"),
    "no prefix length": (f'{RULE}source = "::/"\n', f"{FIRST}.source", "from 0 to 128"),
    "netmask": (f'{RULE}source = "10.0.0.0/255.0.0.0"\n', f"{FIRST}.source", 'write "10.0.0.0/8"'),
    "leading zero": (f'{RULE}source = "10.0.0.01"\n', f"{FIRST}.source", "is not an IPv4"),
    "zone": (f'{RULE}source = "fe80::1%eth0"\n', f"{FIRST}.source", "is not an IPv4 or IPv6"),
    "two families": (
        f'{RULE}source = "10.0.0.0/8"\ndestination = "::/0"\n', f"{FIRST}.destination",
        "mixes IPv4 and IPv6, got 10.0.0.0/8 and ::/0",
    ),
    "protocol": (f'{RULE}protocol = "tpc"\n', f"{FIRST}.protocol", 'did you mean "tcp"?'),
    "protocol 256": (f"{RULE}protocol = 256\n", f"{FIRST}.protocol", "from 0 to 255, got 256"),
    "protocol is true": (f"{RULE}protocol = true\n", f"{FIRST}.protocol", "got true"),
    "icmp of IPv6": (
        f'{RULE}source = "2001:db8::/32"\nprotocol = "icmp"\n', f"{FIRST}.protocol", '"icmpv6"?',
    ),
    "icmpv6 of IPv4": (
        f'{RULE}source = "10.0.0.0/8"\nprotocol = "icmpv6"\n', f"{FIRST}.protocol", '"icmp"?',
    ),
    "port 65536": (f"{RULE}source_port = 65536\n", f"{FIRST}.source_port", "0 to 65535, got 65536"),
    "port -1": (f"{RULE}source_port = -1\n", f"{FIRST}.source_port", "got -1"),
    "port in quotes": (f'{RULE}source_port = "53"\n', f"{FIRST}.source_port", "without quotes"),
    "half a range": (f'{RULE}source_port = "53-"\n', f"{FIRST}.source_port", 'got "53-"'),
    "wide range": (f'{RULE}source_port = "0-65536"\n', f"{FIRST}.source_port", "0 to 65535"),
    "range backwards": (
        f'{RULE}destination_port = "99-1"\n', f"{FIRST}.destination_port", 'write "1-99"',
    ),
    "ports of icmp": (
        f'{RULE}protocol = "icmp"\nsource_port = 0\n', f"{FIRST}.source_port",
        'protocol "icmp" has no ports',
    ),
    "flags are text": (f'{RULE}tcp_flags = "syn"\n', f"{FIRST}.tcp_flags", 'a list of at'),
    "no flags": (f"{RULE}tcp_flags = []\n", f"{FIRST}.tcp_flags", "at least one flag"),
    "unknown flag": (f'{RULE}tcp_flags = ["sny"]\n', f"{FIRST}.tcp_flags", 'did you mean "syn"?'),
    "flag set and clear": (
        f'{RULE}tcp_flags = ["syn", "!syn"]\n', f"{FIRST}.tcp_flags", 'names flag "syn" twice',
    ),
    "flags of udp": (
        f'{RULE}protocol = "udp"\ntcp_flags = ["syn"]\n', f"{FIRST}.tcp_flags",
        'protocol "udp" has no TCP flags',
    ),
    "rule twice": (f"{RULE}{NEXT}".replace("pass", "drop"), f"{AT}.rules[1]", "is the same rule"),
    "rule in the shadow": (
        f'{RULE}protocol = "tcp"\n{NEXT}protocol = 6\n', f"{AT}.rules[1]",
        'never matches: rules[0] asks the same and says "drop", here "pass"',
    ),
    "shadow with flags": (
        f'{RULE}tcp_flags = ["ack"]\n{NEXT}protocol = "tcp"\ntcp_flags = ["ack"]\n',
        f"{AT}.rules[1]", "never matches: rules[0]",
    ),
    "1025 rules": (
        HEAD + "".join(f"{NEXT}source_port = {port}\n" for port in range(1025)), f"{AT}.rules",
        "at most 1,024 rules, got 1,025",
    ),
    "unknown set": (f"{SETS}block = []\n", f"{LISTS}.block", "known keys: allow,"),
    "sets are a list": (f"{HEAD}sets = []\n", LISTS, "must be a table"),
    "set is text": (f'{SETS}deny = "::/0"\n', f"{LISTS}.deny", "must be a list of prefixes"),
    "prefix in a set": (f'{SETS}deny = ["::1", "::1/64"]\n', f"{LISTS}.deny[1]", 'write "::/64"'),
    "number in a set": (f"{SETS}allow = [1]\n", f"{LISTS}.allow[0]", "in quotes, got 1"),
    "twice in a set": (
        f'{SETS}deny = ["10.0.0.1", "10.0.0.1/32"]\n', f"{LISTS}.deny[1]", "as in deny[0]",
    ),
    "in both sets": (
        f'{SETS}allow = ["::1"]\ndeny = ["::/8", "::1/128"]\n', f"{LISTS}.deny[1]",
        '"::1/128" is allowed too, in allow[0]',
    ),
    "no such list": (f'{SETS}deny_file = "no.txt"\n', f"{LISTS}.deny_file", "No such file"),
    "list is a number": (f"{SETS}allow_file = 1\n", f"{LISTS}.allow_file", "got 1"),
    "line of a list": (f'{SETS}deny_file = "bad.txt"\n', f"{LISTS}.deny_file", "line 3 of "),
    "list in both sets": (
        f'{SETS}allow = ["10.0.0.0/8"]\ndeny_file = "good.txt"\n', f"{LISTS}.deny_file",
        'good.txt: "10.0.0.0/8" is allowed too, in allow[0]',
    ),
    "list is not text": (f'{SETS}deny_file = "raw"\n', f"{LISTS}.deny_file", "not UTF-8 text"),
    "full set": (
        f'{SETS}deny_file = "many.txt"\n', f"{LISTS}.deny_file",
        "at most 100,000 prefixes, got 100,001",
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prefix lists beside the operator file."""
    folder = tmp_path_factory.mktemp("config")
    (folder / "bad.txt").write_text("# two prefixes\n::1 # one\n10.0.0.1/8\n")
    (folder / "good.txt").write_text("\n10.0.0.0/8\n")
    (folder / "raw").write_bytes(b"\xff")
    (folder / "many.txt").write_text(
        "".join(f"::{n >> 16:x}:{n & 65535:x}\n" for n in range(100_001))
    )
    return folder


@pytest.mark.parametrize("name", [*MISTAKES, *OF_GOALS])
def test_one_mistake_gives_one_line_with_path_and_cure(name: str, folder: Path) -> None:
    text, path, says = (MISTAKES | OF_GOALS)[name]
    file = folder / "site.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert isinstance(caught.value, ConfigFileError)
    assert caught.value.exit_code == ConfigError.exit_code
    (problem,) = caught.value.problems
    start = f"{file}: {path}: " if path else f"{file}: "
    assert problem.startswith(start)
    what, _, cure = problem.removeprefix(start).partition("; ")
    assert what and cure
    assert says in problem.removeprefix(start)
    assert problem.isprintable() and len(problem.splitlines()) == 1
    assert not re.search(r"pydantic|Input should|type=|valid (string|integer|number)", problem)
    assert str(caught.value) == problem
