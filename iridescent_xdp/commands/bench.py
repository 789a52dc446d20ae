# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent bench`: run bench suites; the suites themselves are in iridescent_xdp.bench."""

from __future__ import annotations

from pathlib import Path

import click

from iridescent_xdp.errors import ConfigError

STDOUT = "-"


@click.command(name="bench")
@click.argument("suite")
@click.option("--quick", is_flag=True, help="A short form: shows that it works, not how fast.")
@click.option(
    "--json", "json_file", metavar="FILE", help=f"Write the results there; '{STDOUT}' is stdout."
)
def command(suite: str, quick: bool, json_file: str | None) -> None:
    """Run SUITE, `all` of them, or `list` what there is."""
    from iridescent_xdp.bench import SUITES
    from iridescent_xdp.bench.main import run

    if suite == "list":
        for name, function in SUITES.items():
            click.echo(f"{name:12} {(function.__doc__ or '').strip().splitlines()[0]}")
        return
    if suite != "all" and suite not in SUITES:
        raise ConfigError(f"no suite '{suite}'", cure=f"all, or one of {', '.join(SUITES)}")
    names = list(SUITES) if suite == "all" else [suite]
    to_stdout = json_file == STDOUT
    path = Path(json_file) if json_file and not to_stdout else None
    click.get_current_context().exit(run(names, quick, path, to_stdout))
