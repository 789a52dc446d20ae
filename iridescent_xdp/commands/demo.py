# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent demo`: a whole search on this machine, without a NIC and without set-up."""

from __future__ import annotations

from pathlib import Path

import click

from iridescent_xdp.commands.output import emit_json, json_option
from iridescent_xdp.commands.stopping import Stopper
from iridescent_xdp.kernel.features import Feature, require

NEEDED = (
    *(Feature.PRIVILEGE, Feature.SYS_ADMIN, Feature.BPF, Feature.NETNS, Feature.VETH),
    *(Feature.XDP_NATIVE, Feature.LIVE_FRAMES),
)


@click.command(name="demo")
@click.option(
    "--seconds",
    type=click.FloatRange(1, 600),
    default=30.0,
    show_default=True,
    help="What the search may take.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("iridescent-demo"),
    show_default=True,
    help="Folder for demo.toml, demo.png, events.jsonl and summary.json.",
)
@click.option("--toolchain", type=click.Choice(["auto", "llvm", "bcc"]), default="auto")
@json_option
def command(seconds: float, output: Path, toolchain: str, as_json: bool) -> None:
    """A packet filter with 64 rules under full traffic, searched live.

    Makes two network namespaces and a veth pair, sends packets from inside the kernel, and
    removes everything again. Ctrl-C ends it early, with what was found until then.
    """
    from iridescent_xdp.demo import Demo

    require(*NEEDED)
    with Stopper() as stop:
        outcome = Demo(seconds=seconds, output=output, toolchain=toolchain, quiet=as_json).run(stop)
    if as_json:
        emit_json(outcome.to_json())
    click.get_current_context().exit(outcome.exit_code)
