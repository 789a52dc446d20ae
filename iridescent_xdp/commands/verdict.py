# SPDX-License-Identifier: GPL-2.0-only
"""Why a variant won or lost, in words, from the report of a search and its event log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iridescent_xdp.commands.search_report import GENERIC, SearchReport, VariantReport

Event = dict[str, Any]


def why(key: str, report: SearchReport | None) -> str:
    """The fate of a variant in the search; says so when it was no part of it."""
    if report is None:
        return "there is no search to look into: run one, or give --report FILE"
    where = f"in the search on {report.interface} ({report.finished})"
    row = report.variant(key)
    if key == report.generic_key:
        return f"{where} it was the baseline: {report.sentence}"
    if row is None:
        return f"{where} it was not met"
    return f"{where} it {_fate(row, report)}"


def _fate(row: VariantReport, report: SearchReport) -> str:
    if row.key == report.winner_key:
        advice = "" if report.applied else "; it was only advised, not swapped in"
        return f"won: {report.sentence}{advice}"
    if row.status == "refused":
        return f"was refused: {row.reason}"
    if row.gain is None:
        return "was built, but no trial of it came to an end"
    if row.label in report.gains:
        return _lost_final(row, report)
    gain = f"{row.gain.value:.2f} ns ({row.gain.low:.2f} to {row.gain.high:.2f})"
    missed = f"; {row.miss_share:.1%} of its packets missed a guard" if row.miss_share else ""
    if row.gain.high < 0:
        return f"was slower than generic, by {-row.gain.value:.2f} ns{missed}"
    return (
        f"did not reach the final: it saved {gain} with {row.samples:,} samples, "
        f"others saved more{missed}"
    )


def _lost_final(row: VariantReport, report: SearchReport) -> str:
    gain = report.gains[row.label]
    mine = f"it saved {gain.value:.2f} ns ({gain.low:.2f} to {gain.high:.2f})"
    if not report.winner_key:
        return f"lost the final: {mine}, {report.sentence}"
    best = report.gains[report.winner]
    theirs = f"'{report.winner}' {best.value:.2f} ns ({best.low:.2f} to {best.high:.2f})"
    if gain.high >= best.low:
        return f"tied in the final: {mine}, {theirs}, which deviates less or saves more"
    return f"lost the final: {mine}, {theirs}"


# -- the event log -------------------------------------------------------------------------


def trials_of(label: str, report: SearchReport | None) -> list[dict[str, Any]]:
    """The trials of one variant in the last search of the log; none when the log is gone."""
    if report is None or not report.events:
        return []
    return [
        {
            "elapsed_s": event["elapsed_s"],
            "time_ns": arm["time_ns"],
            "generic_ns": event["arms"][0]["time_ns"],
            "samples": arm["samples"],
            "miss_share": arm["miss_share"],
        }
        for event in last_search(Path(report.events), report.interface)
        if event["event"] == "trial"
        for arm in event["arms"]
        if arm["variant"] == label and label != GENERIC
    ]


def last_search(path: Path, interface: str) -> list[Event]:
    """The events since an interface's last search began; a log may hold many."""
    found: list[Event] = []
    for event in read_events(path):
        if event.get("interface", interface) != interface:
            continue
        if event["event"] == "observed":
            found.clear()
        found.append(event)
    return found


def read_events(path: Path) -> Iterator[Event]:
    """The whole lines of an event log; a line that a kill cut off is left out."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event
