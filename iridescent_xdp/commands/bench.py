# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent bench`: run bench suites; the suites themselves are in iridescent_xdp.bench."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from iridescent_xdp.errors import ConfigError

STDOUT = "-"
TEMPLATE = "template"


@click.command(name="bench")
@click.argument("suite")
@click.argument("template", required=False)
@click.option(
    "--pcap",
    type=click.Path(path_type=Path),
    help="Of `bench template`: the packets; without it the preflight corpus.",
)
@click.option(
    "--function",
    metavar="NAME",
    default="",
    help="Of suites about several functions (functions, guards, compile): only this one.",
)
@click.option("--quick", is_flag=True, help="A short form: shows that it works, not how fast.")
@click.option(
    "--json", "json_file", metavar="FILE", help=f"Write the results there; '{STDOUT}' is stdout."
)
def command(
    suite: str,
    template: str | None,
    pcap: Path | None,
    function: str,
    quick: bool,
    json_file: str | None,
) -> None:
    """Run SUITE, `all` of them, or `list` what there is.

    `bench template TEMPLATE` compares the generic variant of any template, by name or path, with
    the most specialized one that fits its packets.
    """
    from iridescent_xdp.bench import SUITES
    from iridescent_xdp.bench.main import run

    if suite == "list":
        for name, known in SUITES.items():
            click.echo(f"{name:12} {(known.__doc__ or '').strip().splitlines()[0]}")
        return
    _check_function(suite, function)
    to_stdout = json_file == STDOUT
    path = Path(json_file) if json_file and not to_stdout else None
    context = click.get_current_context()
    if suite == TEMPLATE:
        from iridescent_xdp.bench.template_bench import template_bench

        if template is None:
            raise ConfigError("`bench template` wants a template", cure="give its name or its path")
        one = {TEMPLATE: partial(template_bench, template, pcap)}
        context.exit(run([TEMPLATE], quick, path, to_stdout, one))
    if template is not None or pcap is not None:
        raise ConfigError(f"suite '{suite}' takes neither a template nor --pcap")
    if suite != "all" and suite not in SUITES:
        names = ", ".join((*SUITES, f"{TEMPLATE} TEMPLATE"))
        raise ConfigError(f"no suite '{suite}'", cure=f"all, or one of {names}")
    suites = list(SUITES) if suite == "all" else [suite]
    context.exit(run(suites, quick, path, to_stdout, function=function))


def _check_function(suite: str, function: str) -> None:
    """Raises ConfigError when ``suite`` is not about several functions, or not about this one."""
    from iridescent_xdp.bench.subjects import BY_FUNCTION, subjects

    if not function:
        return
    if suite not in BY_FUNCTION:
        names = ", ".join(BY_FUNCTION)
        raise ConfigError(f"suite '{suite}' takes no --function", cure=f"there are {names} for it")
    known = [subject.name for subject in subjects()]
    if function not in known:
        raise ConfigError(f"no function '{function}'", cure=f"one of {', '.join(known)}")
