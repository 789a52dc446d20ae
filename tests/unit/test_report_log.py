# SPDX-License-Identifier: GPL-2.0-only
"""Logs as controllers leave them: several runs and interfaces, torn lines, other files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.report.log import Log, read_log
from tests.unit.report_events import scenario, write_log
from tests.unit.search_events import SEARCH, event


def kinds(log: Log) -> list[tuple[str, list[str]]]:
    return [(run.interface, [entry.kind for entry in run.entries]) for run in log.runs]


def of(interface: str, at_s: float, kind: str, **more: object) -> dict[str, object]:
    return {**event(at_s, kind, **more), "interface": interface}


def test_every_event_is_read_in_its_order(tmp_path: Path) -> None:
    log = read_log(write_log(tmp_path / "log", scenario()))
    assert log.lines == len(scenario()) and not log.problems
    assert kinds(log) == [("eth0", [e["event"] for e in scenario()])]


def test_an_empty_log_has_no_runs(tmp_path: Path) -> None:
    log = read_log(write_log(tmp_path / "log", []))
    assert (log.runs, log.lines, log.problems) == ((), 0, ())


def test_runs_that_were_appended_are_told_apart(tmp_path: Path) -> None:
    short = [of("eth0", 0.1, "attached"), of("eth0", 0.2, "space", size=1)]
    again = [of("eth0", 0.3, "adopted"), of("eth0", 0.9, "space", size=2)]
    longer = [of("eth0", 0.2, "adopted"), of("eth0", 30.0, "space", size=3)]
    log = read_log(write_log(tmp_path / "log", [*short, *again, *longer, *short]))
    assert [len(run.entries) for run in log.runs] == [2, 2, 2, 2]


def test_events_of_threads_that_overtook_each_other_are_one_run(tmp_path: Path) -> None:
    told = [of("eth0", 0.1, "attached"), of("eth0", 5.0, "swap"), of("eth0", 4.99, "retreat")]
    assert len(read_log(write_log(tmp_path / "log", told)).runs) == 1


def test_interfaces_that_share_a_file_are_told_apart(tmp_path: Path) -> None:
    mixed = [
        of("eth0", 0.1, "attached"),
        of("eth1", 0.05, "attached"),
        of("eth0", 4.0, "space", size=1),
        of("eth1", 1.0, "space", size=1),
        of("eth0", 4.1, "swap"),
    ]
    assert kinds(read_log(write_log(tmp_path / "log", mixed))) == [
        ("eth0", ["attached", "space", "swap"]),
        ("eth1", ["attached", "space"]),
    ]


def test_a_line_without_an_interface_belongs_to_all_that_run(tmp_path: Path) -> None:
    phase = event(2.0, "phase", name="day")
    del phase["interface"]
    told = [of("eth0", 0.1, "attached"), of("eth1", 0.1, "attached"), phase]
    assert kinds(read_log(write_log(tmp_path / "log", told))) == [
        ("eth0", ["attached", "phase"]),
        ("eth1", ["attached", "phase"]),
    ]
    assert kinds(read_log(write_log(tmp_path / "one", [phase, phase]))) == [("", ["phase"] * 2)]


@pytest.mark.parametrize("kept", [1, 5, 40, -2])
def test_a_torn_last_line_is_told_and_the_rest_is_read(tmp_path: Path, kept: int) -> None:
    torn = json.dumps(SEARCH[-1])[:kept]
    log = read_log(write_log(tmp_path / "log", SEARCH[:-1], torn))
    assert len(log.runs[0].entries) == len(SEARCH) - 1
    assert log.problems == (
        f"the last line ({len(SEARCH)}) is torn: the controller died while it wrote it",
    )


def test_a_run_that_was_appended_to_a_torn_line_is_whole(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", SEARCH[:-1], json.dumps(SEARCH[-1])[:50])
    path.write_text(path.read_text() + "".join(json.dumps(e) + "\n" for e in SEARCH))
    log = read_log(path)
    assert [len(run.entries) for run in log.runs] == [len(SEARCH) - 1, len(SEARCH)]
    assert log.problems == (
        f"line {len(SEARCH)} begins with a torn event: a controller died there",
    )


def test_lines_that_are_no_events_are_named_and_counted(tmp_path: Path) -> None:
    path = write_log(tmp_path / "log", SEARCH)
    path.write_text(path.read_text() + "garbage\n" + '{"event": "swap"}\n' * 7)
    first = len(SEARCH) + 1
    assert read_log(path).problems == (
        f"line {first} is no JSON",
        *(f"line {first + i} is no event: one has 'event' and 'elapsed_s'" for i in range(1, 5)),
        "3 more lines are no events",
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[interface.eth0]\nfunction = 'filter'\n", "line 1 is no JSON"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "line 1 is no JSON"),
        (b'{"winner": "generic"}\n', "line 1 is no event"),
        (b"\n\n[1, 2]\n", "line 3 is no event"),
        (b'{"event": "swap", "elapsed_s": -1}\n', "line 1 is no event"),
        (b'{"event": "swap", "elapsed_s": NaN}\n', "line 1 is no event"),
    ],
)
def test_another_file_is_one_error_with_its_cure(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"is not an event log: {why}.*run --events") as caught:
        read_log(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ConfigError, match="cannot read the event log"):
            read_log(path)


def test_a_run_began_when_its_clock_says(tmp_path: Path) -> None:
    # the log has whole seconds: an event at 2.7 s that is told in second 12 began after 9.3
    told = [
        {**of("eth0", at_s, "space", size=1), "time": f"1970-01-01T00:00:{second:02}+0000"}
        for at_s, second in ((0.1, 9), (2.7, 12), (3.5, 12))
    ]
    assert read_log(write_log(tmp_path / "log", told)).runs[0].began == pytest.approx(9.3)
