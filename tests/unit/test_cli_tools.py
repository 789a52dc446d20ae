# SPDX-License-Identifier: GPL-2.0-only
"""`traffic`, `bench` and `doctor` on the command line; what they call is a stand-in here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import iridescent_xdp.bench
from iridescent_xdp.bench.results import Options
from iridescent_xdp.bench.subjects import wanted
from iridescent_xdp.commands import doctor as doctor_command
from iridescent_xdp.doctor import Check
from tests.unit.test_cli import error_lines, run


def test_unreadable_capture_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "noise.pcap"
    path.write_bytes(b"this is no capture at all")
    result = run("traffic", "send", "--interface", "lo", "--pcap", path)
    assert result.exit_code == 7
    (line,) = error_lines(result)
    assert "noise.pcap" in line


@pytest.mark.parametrize("more", [[], ["--pcap", "x.pcap", "--mix", "plain"]])
def test_traffic_wants_one_source(more: list[str]) -> None:
    result = run("traffic", "send", "--interface", "lo", *more)
    assert result.exit_code == 2
    assert "either --pcap FILE or --mix NAME" in error_lines(result)[0]


@pytest.fixture
def benches(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Two stand-in suites; what was asked of the runner is appended to the list."""

    def suite() -> None:
        """Measures nothing."""

    calls: list[Any] = []
    main = ModuleType("iridescent_xdp.bench.main")

    def run_suites(*asked: Any, function: str) -> int:
        calls.append((*asked, function))
        return 8

    main.run = run_suites  # type: ignore[attr-defined]
    monkeypatch.setattr(
        iridescent_xdp.bench, "SUITES", {"compile": suite, "swap": suite}, raising=False
    )
    monkeypatch.setitem(sys.modules, main.__name__, main)
    return calls


def test_bench_hands_over_and_passes_the_exit_code(benches: list[Any], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert run("bench", "all", "--quick", "--json", out).exit_code == 8
    assert run("bench", "swap", "--json", "-").exit_code == 8
    assert run("bench", "compile", "--function", "l4lb").exit_code == 8
    assert benches == [
        (["compile", "swap"], True, out, False, ""),
        (["swap"], False, None, True, ""),
        (["compile"], False, None, False, "l4lb"),
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("swap", "--function", "l4lb"), "suite 'swap' takes no --function"),
        (("all", "--function", "l4lb"), "suite 'all' takes no --function"),
        (("template", "filter", "--function", "l4lb"), "suite 'template' takes no --function"),
        (("guards", "--function", "nat"), "no function 'nat' (one of filter, router, l4lb)"),
    ],
)
def test_one_function_alone(arguments: tuple[str, ...], told: str) -> None:
    assert told in error_lines(run("bench", *arguments))[0]
    assert [subject.name for subject in wanted(Options(function="router"))] == ["router"]
    assert len(wanted(Options())) == 3


def test_bench_lists_suites_and_refuses_unknown_ones(benches: list[Any]) -> None:
    listed = run("bench", "list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["compile", "swap"]
    assert "Measures nothing." in listed.stdout
    result = run("bench", "speed")
    assert result.exit_code == 2 and "compile, swap" in error_lines(result)[0]
    assert benches == []


def test_doctor_shows_cures_and_fails_for_required_things(monkeypatch: pytest.MonkeyPatch) -> None:
    common = SimpleNamespace(needed_for="all", detail="not there", cure="apt-get install it")
    found = [
        Check(name="one", ok=True, required=True, **{**vars(common), "cure": ""}),
        Check(name="two", ok=False, required=True, **vars(common)),
    ]
    monkeypatch.setattr(doctor_command, "checks", lambda: found)
    result = run("doctor", "--json")
    assert result.exit_code == 5
    facts = json.loads(result.stdout)
    assert facts["ok"] is False
    assert [(c["name"], c["ok"], c["cure"]) for c in facts["checks"]] == [
        ("one", True, ""),
        ("two", False, "apt-get install it"),
    ]
    table = run("doctor")
    assert table.exit_code == 5
    assert "apt-get install it" in table.stdout and "missing: two" in table.stdout
    monkeypatch.setattr(doctor_command, "checks", lambda: found[:1])
    assert run("doctor").exit_code == 0
