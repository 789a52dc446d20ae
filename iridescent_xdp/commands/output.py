# SPDX-License-Identifier: GPL-2.0-only
"""Where facts go: tables for people, JSON for programs, both on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console, RenderableType

F = TypeVar("F", bound=Callable[..., Any])

PIPE_COLUMNS = 120  # a table that goes to a file or a pipe is this wide


def json_option(function: F) -> F:
    """The --json flag; the parameter is called ``as_json``."""
    option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
    return option(function)


def emit_json(document: object) -> None:
    """A whole document on standard output."""
    click.echo(json.dumps(document, indent=1))


def show(*things: RenderableType) -> None:
    """Print tables and text; without a terminal there are no colours and lines are wide."""
    console = Console(
        file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_COLUMNS, highlight=False
    )
    for thing in things:
        console.print(thing)
