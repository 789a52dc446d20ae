# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent scenario` on the command line; `play` is tried in tests/kernel/test_player.py."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.test_cli import error_lines, run
from traffic.scenario import load_scenario, scenario_names

FILE = """
name = "own"
description = "one of a user's own"
function = "filter"
[mix]
flows = 5
[[phase]]
name = "first"
seconds = 2
rate = 0.2
[[phase.changes]]
at_s = 1.5
remove_rule = { place = 3 }
[[phase]]
name = "then"
seconds = 3
hot = 7
"""


def test_all_scenarios_are_listed() -> None:
    result = run("scenario", "list", "--json")
    assert result.exit_code == 0
    told = {one["name"]: one for one in json.loads(result.stdout)}
    assert list(told) == scenario_names()
    assert told["syn_flood"]["function"] == "l4lb"
    assert told["steady"]["seconds"] == load_scenario("steady").seconds
    table = run("scenario", "list").stdout
    assert all(name in table for name in scenario_names())


def test_a_file_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(FILE)
    told = json.loads(run("scenario", "show", path, "--json").stdout)
    assert told["phases"] == [
        {"name": "first", "seconds": 2.0, "rate": 0.2, "hot": 0, "distinct_packets": 5,
         "changes": [{"at_s": 1.5, "what": "remove_rule"}]},
        {"name": "then", "seconds": 3.0, "rate": 1.0, "hot": 7, "distinct_packets": 5,
         "changes": []},
    ]  # fmt: skip
    table = run("scenario", "show", path).stdout
    assert "remove_rule at 1.5 s" in table and "20%" in table


def test_each_mistake_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(FILE.replace("flows", "flow").replace("rate", "rat"))
    result = run("scenario", "show", path)
    assert result.exit_code == 2
    first, second = error_lines(result)
    assert "mix.flow: is not a known key" in first
    assert "phase[0].rat: is not a known key; did you mean 'rate'?" in second
    result = run("scenario", "play", "hotset", "--interface", "lo")
    assert result.exit_code == 2 and "did you mean 'hot_set'?" in error_lines(result)[0]
