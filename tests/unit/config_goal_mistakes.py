# SPDX-License-Identifier: GPL-2.0-only
"""Operator files with one mistake each in what is wanted: objective, constraints, limits, adapt."""

from __future__ import annotations

HEAD = '[interface.eth0]\nfunction = "filter"\n'
ADAPT, LIMITS = f"{HEAD}[interface.eth0.adapt]\n", f"{HEAD}[interface.eth0.limits]\n"
BOUNDS, AIM = f"{HEAD}[interface.eth0.constraints]\n", f"{HEAD}[interface.eth0.objective]\n"
OUTSIDE = 'direction = "lower"\nunit = "us"\n'
COMMAND = f'{AIM}kind = "command"\n{OUTSIDE}'
QUERY = f'{AIM}kind = "prometheus"\nquery = "up"\n{OUTSIDE}'
AT = "interface.eth0"
GOAL, QUIET = f"{AT}.objective", f"{AT}.limits.quiet_hours"

# name: (the file, key path, what the message must say)
OF_GOALS = {
    "adapt is true": (f"{HEAD}adapt = true\n", f"{AT}.adapt", "must be a table, got true"),
    "adapt key outside": (
        f"{HEAD}look_ms = 3\n", f"{AT}.look_ms", "belongs in [interface.eth0.adapt]",
    ),
    "adapt is off": (f'{ADAPT}enabled = "no"\n', f"{AT}.adapt.enabled", 'false, got "no"'),
    "short look": (f"{ADAPT}look_ms = 0\n", f"{AT}.adapt.look_ms", "from 1 to 3600000, got 0"),
    "looks overlap": (
        f"{ADAPT}look_ms = 50\nevery_ms = 40\n", f"{AT}.adapt.every_ms",
        "at least look_ms, got 40 < 50",
    ),
    "no searches": (
        f"{ADAPT}max_searches_per_hour = 0\n", f"{AT}.adapt.max_searches_per_hour", "got 0",
    ),
    "memory": (f"{ADAPT}memory = 1\n", f"{AT}.adapt.memory", "true or false, got 1"),
    "p99 of a second": (
        f"{BOUNDS}p99_ns = 1e9\n", f"{AT}.constraints.p99_ns", "below 1048576, got 1000000000.0",
    ),
    "no instructions": (
        f"{BOUNDS}instructions = 0\n", f"{AT}.constraints.instructions", "from 1 to 1000000",
    ),
    "memory of a text": (
        f'{BOUNDS}memory_bytes = "16M"\n', f"{AT}.constraints.memory_bytes", 'got "16M"',
    ),
    "constraint in limits": (
        f"{LIMITS}p99_ns = 1\n", f"{AT}.limits.p99_ns", "known keys: max_regret_pct",
    ),
    "no swap at all": (
        f"{LIMITS}swaps_per_minute = 0\n", f"{AT}.limits.swaps_per_minute", "from 1 to 6000",
    ),
    "quiet is text": (f'{LIMITS}quiet_hours = "night"\n', QUIET, 'list of "HH:MM-HH:MM"'),
    "quiet is a number": (f"{LIMITS}quiet_hours = [22]\n", QUIET, '"HH:MM-HH:MM", got 22'),
    "quiet without zero": (f'{LIMITS}quiet_hours = ["8:00-9:00"]\n', QUIET, 'got "8:00-9:00"'),
    "quiet at 25": (f'{LIMITS}quiet_hours = ["20:00-25:00"]\n', QUIET, "up to 24:00, got"),
    "quiet at 24:01": (f'{LIMITS}quiet_hours = ["20:00-24:01"]\n', QUIET, "up to 24:00, got"),
    "quiet for no time": (f'{LIMITS}quiet_hours = ["08:00-08:00"]\n', QUIET, "not be empty"),
    "large limit": (f"{LIMITS}max_share = 2\n", f"{AT}.limits.max_share", "at most 1, got 2"),
    "no regret": (f"{LIMITS}max_regret_pct = 0\n", f"{AT}.limits.max_regret_pct", "got 0"),
    "objective is a number": (f"{HEAD}objective = 1\n", GOAL, "must be a table, got 1"),
    "objective without a kind": (f'{AIM}unit = "x"\n', f"{GOAL}.kind", "is missing; one of"),
    "kind of objective": (
        f'{AIM}kind = "p95"\n', f"{GOAL}.kind", 'got "p95"; did you mean "p99"?',
    ),
    "key of another objective": (
        f'{AIM}kind = "p99"\nunit = "ns"\n', f"{GOAL}.unit", "is not a known key",
    ),
    "cost without weights": (
        f'{HEAD}objective = "verdict_cost"\n', f"{GOAL}.weights", "is missing; add for example",
    ),
    "weight of no verdict": (
        f'{AIM}kind = "verdict_cost"\nweights.dropp = 1\n', f"{GOAL}.weights",
        "no verdict, got \"dropp\"; did you mean 'drop'?",
    ),
    "weight below 0": (
        f'{AIM}kind = "verdict_cost"\nweights.drop = -1\n', f"{GOAL}.weights", "got drop = -1",
    ),
    "weights of nothing": (
        f'{AIM}kind = "verdict_cost"\nweights.drop = 0\n', f"{GOAL}.weights", "above 0",
    ),
    "command line": (
        f'{COMMAND}command = "latency --once"\n', f"{GOAL}.command", "there is no shell",
    ),
    "no such command": (
        f'{COMMAND}command = ["no-such-program"]\n', f"{GOAL}.command", "no such program, got",
    ),
    "command without x": (
        f'{COMMAND}command = ["./good.txt"]\n', f"{GOAL}.command", "`chmod +x` makes it",
    ),
    "no direction": (
        COMMAND.replace("direction", "#") + 'command = ["true"]\n', f"{GOAL}.direction",
        'is missing; add for example `direction = "lower"`',
    ),
    "direction": (
        COMMAND.replace("lower", "low") + 'command = ["true"]\n', f"{GOAL}.direction",
        'did you mean "lower"?',
    ),
    "few repetitions": (
        f'{COMMAND}command = ["true"]\nrepetitions = 3\n', f"{GOAL}.repetitions", "from 9",
    ),
    "no time-out": (
        f'{COMMAND}command = ["true"]\ntimeout_s = 0\n', f"{GOAL}.timeout_s", "greater than 0",
    ),
    "query in the address": (
        f'{QUERY}url = "http://localhost/?query=up"\n', f"{GOAL}.url", "a key of its own",
    ),
    "address of a file": (f'{QUERY}url = "file:///etc/passwd"\n', f"{GOAL}.url", "address of a"),
    "port of a server": (f'{QUERY}url = "http://localhost:x"\n', f"{GOAL}.url", "address of a"),
    "all packets where a part is allowed": (
        f'{HEAD}objective = "throughput"\n[interface.eth0.limits]\nmax_share = 0.5\n', GOAL,
        '"throughput" sends all packets to one variant, but limits.max_share is 0.5',
    ),
}  # fmt: skip
