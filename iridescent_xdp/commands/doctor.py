# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent doctor`: what this machine has and lacks."""

from __future__ import annotations

import click

from iridescent_xdp import render
from iridescent_xdp.commands.output import emit_json, json_option, show
from iridescent_xdp.doctor import checks, exit_code


@click.command(name="doctor")
@json_option
def command(as_json: bool) -> None:
    """Everything that is missing on this machine, each with its cure.

    Exit code 5 when something required is missing.
    """
    found = checks()
    code = exit_code(found)
    if as_json:
        emit_json({"ok": code == 0, "checks": [check.to_json() for check in found]})
    else:
        show(render.doctor_table(found))
        missing = [check for check in found if check.required and not check.ok]
        names = ", ".join(check.name for check in missing)
        click.echo(f"missing: {names}" if missing else "everything that is required is here")
    click.get_current_context().exit(code)
