# SPDX-License-Identifier: GPL-2.0-only
"""Runs bench suites; figures go to a table or a JSON document, progress to stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from iridescent_xdp.bench import SUITES
from iridescent_xdp.bench.environment import environment
from iridescent_xdp.bench.results import Options, Result, document, table
from iridescent_xdp.commands.output import emit_json, show, tell
from iridescent_xdp.errors import ConfigError, IridescentError

if TYPE_CHECKING:
    from iridescent_xdp.bench import Suite


def run(
    suites: Sequence[str],
    quick: bool,
    json_path: Path | None,
    json_stdout: bool,
    known: Mapping[str, Suite] | None = None,
    *,
    function: str = "",
) -> int:
    """Run suites by name, of those in ``known`` (default: SUITES); returns the exit code.

    The figures are printed as a table, or with ``json_stdout`` as JSON, and written to
    ``json_path``. A suite that fails is told on stderr, the others run nevertheless; the exit code
    is that of the first failure. Raises ConfigError for an unknown suite and for a file that
    cannot be written, before anything runs.
    """
    known = SUITES if known is None else known
    _check(suites, json_path, known)
    options = Options(quick=quick, function=function, tell=lambda text: click.echo(text, err=True))
    facts = environment(quick=quick)
    results: list[Result] = []
    code = 0
    for name in suites:
        try:
            results += known[name](options)
        except (IridescentError, OSError) as error:
            failure = tell(error, where=f"bench {name}")
            code = code or failure
    facts["winners"] = options.winners
    made = document(facts, results)
    if json_path is not None:
        json_path.write_text(json.dumps(made, indent=1) + "\n")
    if json_stdout:
        emit_json(made)
    else:
        show(table(results))
    return code


def _check(suites: Sequence[str], json_path: Path | None, known: Mapping[str, Suite]) -> None:
    for name in suites:
        if name not in known:
            raise ConfigError(f"no suite '{name}'", cure=f"there are {', '.join(known)}")
    if json_path is not None and (json_path.is_dir() or not json_path.absolute().parent.is_dir()):
        raise ConfigError(f"cannot write {json_path}", cure="name a file in a folder that exists")
