# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent status`: what is attached, what runs, who controls it."""

from __future__ import annotations

import click

from iridescent_xdp import render
from iridescent_xdp.commands.inventory import Facts, foreign, take_stock
from iridescent_xdp.commands.output import emit_json, json_option, show
from iridescent_xdp.kernel.features import Feature, require
from iridescent_xdp.kernel.netlink import namespace_key
from iridescent_xdp.runtime import known_keys


@click.command(name="status")
@click.argument("interface", required=False)
@json_option
def command(interface: str | None, as_json: bool) -> None:
    """What runs on INTERFACE, or on all that are known, as the kernel tells it.

    INTERFACE is a name, or NAME@INODE as status shows it for another network namespace.
    """
    require(Feature.PRIVILEGE)
    keys = known_keys()
    if interface is not None:
        wanted = interface if interface in keys else namespace_key(interface)
        keys = [key for key in keys if key == wanted]
    found = [take_stock(key) for key in keys]
    other = foreign(interface) if interface is not None and not found else None
    if as_json:
        emit_json({"interfaces": found, "foreign": other})
        return
    for facts in found:
        show(*render.status_view(facts))
    if not found:
        click.echo(_nothing(interface, other))


def _nothing(interface: str | None, other: Facts | None) -> str:
    if interface is None:
        return "nothing of ours is attached"
    if other is None:
        return f"nothing is attached to '{interface}'"
    return (
        f"nothing of ours is attached to '{interface}'; it runs XDP program '{other['program']}' "
        f"(id {other['prog_id']}, {other['mode']} mode)"
    )
