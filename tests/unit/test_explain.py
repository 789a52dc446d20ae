# SPDX-License-Identifier: GPL-2.0-only
"""What is kept of a search, and why a variant won or lost, told from it."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from iridescent_xdp import render, runtime
from iridescent_xdp.cli import cli
from iridescent_xdp.commands import explain
from iridescent_xdp.commands.holder import holder
from iridescent_xdp.commands.search_report import (
    SearchReport,
    known_reports,
    read_report,
    save_report,
)
from iridescent_xdp.commands.verdict import last_search, trials_of
from iridescent_xdp.config import load_config
from iridescent_xdp.demo import demo_file
from iridescent_xdp.errors import MissingFeatureError, StateError
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.plan import make_plan
from tests.unit.search_events import REPORT, SEARCH, effect, event, trial


@pytest.fixture(autouse=True)
def _own_run_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No compiler, and no other searches."""

    def no_compiler(name: str) -> None:
        raise MissingFeatureError(f"no {name} here", cure="make setup")

    monkeypatch.setattr(runtime, "RUN", tmp_path / "run")
    monkeypatch.setattr(explain, "Builder", no_compiler)


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, ["explain", *map(str, words)])


def facts(*words: object) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def kept(tmp_path: Path) -> SearchReport:
    """The last search on eth0, as `run` leaves it, with its event log."""
    log = tmp_path / "events.jsonl"
    log.write_text("".join(json.dumps(e) + "\n" for e in SEARCH))
    report = replace(REPORT, events=str(log))
    save_report(report, runtime.RUN / "eth0" / "search.json")
    return report


# -- the report ----------------------------------------------------------------------------


def test_report_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "search.json"
    save_report(REPORT, path)
    assert read_report(path) == REPORT


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"variants": 3}', '{"variants": [{}]}', "3"])
def test_other_documents_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(StateError, match=r"other\.json is not the report of a search"):
        read_report(path)


def test_newest_report_first_and_damaged_ones_left_out() -> None:
    for name, age_s in (("eth0", 9), ("eth1", 3), ("eth2", 6)):
        path = runtime.RUN / name / "search.json"
        save_report(replace(REPORT, interface=name), path)
        os.utime(path, (1000 - age_s, 1000 - age_s))
    (runtime.RUN / "eth2" / "search.json").write_text("{")
    assert [report.interface for report in known_reports()] == ["eth1", "eth0"]


def test_table_of_a_search_has_every_variant(capsys: pytest.CaptureFixture[str]) -> None:
    from iridescent_xdp.commands.output import show

    show(*render.search_view(REPORT))
    out = capsys.readouterr().out
    for row in REPORT.variants:
        assert row.label in out
    assert "51.00 (50.00 to 52.00)" in out and "packet 'x' differs" in out
    assert "25.0%" in out and "0 (noise floor 0.50)" in out
    assert "throughput 1.20x (1.10 to 1.30)" in out


# -- explain -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("aaaaaaaa", "won: rule_layout=tree saves 51.00 ns"),
        (
            "bbbbbbbb",
            "lost the final: it saved 33.00 ns (32.00 to 34.00), 'rule_layout=tree' 51.00",
        ),
        ("cccccccc", "did not reach the final: it saved 17.00 ns (16.00 to 18.00) with 1,000"),
        ("dddddddd", "was slower than generic, by 30.00 ns; 25.0% of its packets missed a guard"),
        ("eeeeeeee", "was refused: packet 'x' differs"),
        ("ffffffff", "was built, but no trial of it came to an end"),
        ("99999999", "it was the baseline: rule_layout=tree saves"),
    ],
)
def test_fate_of_each_variant(kept: SearchReport, key: str, words: str) -> None:
    why = facts(key)["why"]
    assert words in why
    assert why.startswith("in the search on eth0 (2026-01-01T00:00:12+0000) it")


def test_tie_and_advice_are_told(kept: SearchReport) -> None:
    gains = {**REPORT.gains, "rule_layout=chain": effect(50.5)}
    save_report(replace(kept, gains=gains, applied=False), runtime.RUN / "eth0" / "search.json")
    assert "tied in the final: it saved 50.50 ns" in facts("bbbbbbbb")["why"]
    assert "only advised, not swapped in" in facts("aaaaaaaa")["why"]


def test_trials_come_from_the_event_log(kept: SearchReport) -> None:
    rows = trials_of("rule_layout=tree", kept)
    assert [(r["elapsed_s"], r["time_ns"], r["generic_ns"]) for r in rows] == [
        (2.0, 60.0, 110.0),
        (3.5, 61.0, 112.0),
    ]
    assert len(trials_of("rule_layout=wide", kept)) == 1
    assert trials_of("rule_layout=tree", replace(kept, events="/nowhere")) == []


def test_only_the_last_search_of_the_interface_counts(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    other = {**trial(9.0, generic=1.0, twin=1.0, tree=1.0), "interface": "eth1"}
    events = [*SEARCH, event(5.0, "observed"), other, trial(6.0, generic=9.0, twin=9.0, tree=5.0)]
    text = "".join(json.dumps(e) + "\n" for e in events)
    log.write_text(f'{text}{{"event": "tri')  # a kill cut the last line off
    assert [e["elapsed_s"] for e in last_search(log, "eth0")] == [5.0, 6.0]


def test_points_are_shown_against_generic() -> None:
    told = facts("vlan_depth=0,rule_layout=tree", "--template", "filter")
    assert {p["name"]: (p["generic"], p["value"]) for p in told["points"]} == {
        "vlan_depth": ("2", "0"),
        "rule_layout": ("map", "tree"),
    }
    assert told["variant"] == "vlan_depth=0 rule_layout=tree"
    assert told["build"] == {"error": "no auto here (make setup)"}
    assert told["why"].startswith("there is no search to look into")
    out = run("vlan_depth=0,rule_layout=tree").stdout
    assert "not built: no auto here" in out and "how the rules are kept" in out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fast", "'fast' is neither a variant's key nor POINT=VALUE"),
        ("vlan_dept=0", "no point 'vlan_dept' (did you mean 'vlan_depth'?)"),
        ("vlan_depth=7", "takes 0, 1, 2, got '7'"),
        ("rule_layout=tre", "did you mean 'tree'?"),
        ("non_ip=drop", "'non_ip' is a policy point"),
        ("0123abcd", "no variant '0123abcd' in the last search"),
    ],
)
def test_wrong_variants_are_one_clear_line(text: str, words: str) -> None:
    result = run(text)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert words in line


def test_policy_comes_from_the_operator_file(tmp_path: Path) -> None:
    config = tmp_path / "site.toml"
    config.write_text('[interface.eth0]\nfunction = "filter"\n')
    without = facts("rule_layout=tree", "--config", config)
    config.write_text(config.read_text() + '[interface.eth0.policy]\nnon_ip = "drop"\n')
    told = facts("rule_layout=tree", "--config", config)
    assert told["key"] != without["key"] and told["points"] == without["points"]


# -- who controls, and the demo's file -----------------------------------------------------


def test_holder_is_who_has_the_lock() -> None:
    path = runtime.RUN / "eth0" / "lock"
    assert holder("eth0") == 0
    path.parent.mkdir(parents=True)
    with path.open("w") as file:
        assert holder("eth0") == 0
        fcntl.flock(file, fcntl.LOCK_EX)
        assert holder("eth0") == os.getpid()
    assert holder("eth0") == 0


def test_demo_file_is_an_operator_file(tmp_path: Path) -> None:
    path = tmp_path / "demo.toml"
    path.write_text(demo_file(25.0, "auto"))
    (interface,) = load_config(path).interfaces
    plan = make_plan(interface, path)
    assert isinstance(interface.tables, FilterTables)
    assert len(set(interface.tables.rules)) == 64
    assert 24 <= plan.space({}).size <= 48
    assert plan.generic["default_action"] == 1
