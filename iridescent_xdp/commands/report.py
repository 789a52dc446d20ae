# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent report`: an event log as one HTML page that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter

from iridescent_xdp.commands.output import emit_json, json_option
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.report.collect import collect
from iridescent_xdp.report.log import read_log
from iridescent_xdp.report.model import Report
from iridescent_xdp.report.page import write_page


@click.command(name="report")
@click.argument("log", metavar="EVENTS.jsonl", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page. [default: beside the log, with .html; none with --json]",
)
@json_option
def command(log: Path, output: Path | None, as_json: bool) -> None:
    """Turn an event log into one self-contained HTML page.

    EVENTS.jsonl is what 'iridescent run --events' or the demo wrote; it may hold several
    interfaces and runs, and its controller may still be writing.
    """
    if output is None and not as_json:
        output = log.with_suffix(".html")
    if output is not None and output.resolve() == log.resolve():
        raise ConfigError(f"{output} is the event log itself", cure="name another file with -o")
    report = collect(read_log(log))
    if output is not None:
        write_page(report, output)
    if as_json:
        emit_json({**to_json(report), "page": str(output) if output is not None else None})
    else:
        runs = len(report.runs)
        click.echo(f"{output}: {runs} run{'' if runs == 1 else 's'}, {report.lines} events")


def to_json(report: Report) -> dict[str, Any]:
    """The model as plain values."""
    document = TypeAdapter(Report).dump_python(report, mode="json")
    assert isinstance(document, dict)
    return document
