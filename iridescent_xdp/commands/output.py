# SPDX-License-Identifier: GPL-2.0-only
"""Where facts go: tables for people, JSON for programs, errors one line each on stderr."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console, RenderableType

from iridescent_xdp.config import ConfigFileError
from iridescent_xdp.errors import IridescentError, MissingFeatureError
from iridescent_xdp.kernel.features import Feature, has

F = TypeVar("F", bound=Callable[..., Any])

PRIVATE_PLACES = ("/sys/fs/bpf", "/run/iridescent")
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


def tell(error: IridescentError | OSError, where: str = "") -> int:
    """Print an error on stderr, one line for each problem; returns its exit code."""
    known = as_iridescent(error)
    prefix = f"error: {where}: " if where else "error: "
    lines = known.problems if isinstance(known, ConfigFileError) else [str(known)]
    for line in lines:
        click.echo(prefix + line, err=True)
    return known.exit_code


def as_iridescent(error: IridescentError | OSError) -> IridescentError:
    """An error of ours; a refused system call is a missing privilege."""
    if isinstance(error, IridescentError):
        return error
    private = str(error.filename or "").startswith(PRIVATE_PLACES)
    if error.errno == errno.EPERM or (error.errno == errno.EACCES and private):
        what = str(error.filename or error.strerror or error)
        lacking = "CAP_SYS_ADMIN too" if has(Feature.PRIVILEGE) else "CAP_BPF and CAP_NET_ADMIN"
        return MissingFeatureError(
            f"not permitted: {what}", cure=f"run as root, or grant {lacking}"
        )
    named = f"{error.filename}: " if error.filename else ""
    return IridescentError(f"{named}{error.strerror or error}")
