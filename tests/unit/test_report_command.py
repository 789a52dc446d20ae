# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent report`: files, exit codes, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from iridescent_xdp.cli import cli
from tests.unit.report_events import TREE, scenario, write_log
from tests.unit.search_events import SEARCH


def report(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["report", *map(str, arguments)])


def test_the_page_stands_beside_the_log(tmp_path: Path) -> None:
    log = write_log(tmp_path / "events.jsonl", SEARCH)
    done = report(log)
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path}/events.html: 1 run, 9 events\n")
    assert (tmp_path / "events.html").read_text().startswith("<!DOCTYPE html>")


def test_json_has_the_numbers_of_the_page(tmp_path: Path) -> None:
    log = write_log(tmp_path / "events.jsonl", scenario())
    done = report(log, "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 0 and not (tmp_path / "events.html").exists()
    assert document["page"] is None and document["problems"] == []
    (run,) = document["runs"]
    best = run["searches"][0]["variants"][0]
    assert (best["label"], best["gain"]["low"], best["gain_pct"]) == (TREE, 49.0, 50.0)
    assert run["cost"]["told_pct"] == 0.42 and len(run["looks"]) == 255
    assert run["looks"][0]["seen"]["signature"]["protocol"]["udp"] == 0.9


def test_json_and_a_page_go_together(tmp_path: Path) -> None:
    log, page = write_log(tmp_path / "events.jsonl", SEARCH), tmp_path / "page.html"
    assert json.loads(report(log, "-o", page, "--json").stdout)["page"] == str(page)
    assert page.stat().st_size > 10_000


@pytest.mark.parametrize("content", ["[interface.eth0]\n", '{"winner": 1}\n'])
def test_another_file_is_one_line_and_exit_code_2(tmp_path: Path, content: str) -> None:
    other = tmp_path / "site.toml"
    other.write_text(content)
    done = report(other)
    assert done.exit_code == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "is not an event log" in done.stderr
    assert list(tmp_path.iterdir()) == [other]


def test_a_missing_log_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = report(tmp_path / "missing.jsonl")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    log = write_log(tmp_path / "events.jsonl", SEARCH)
    done = report(log, "-o", tmp_path / "missing" / "page.html")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)


def test_the_log_is_never_overwritten(tmp_path: Path) -> None:
    log = write_log(tmp_path / "events.html", SEARCH)
    before = log.read_bytes()
    assert report(log).exit_code == report(log, "-o", log).exit_code == 2
    assert log.read_bytes() == before
