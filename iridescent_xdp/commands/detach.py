# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent detach`: take our program off an interface and remove what it left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time

import click

from iridescent_xdp import runtime
from iridescent_xdp.commands.holder import holder
from iridescent_xdp.commands.output import emit_json, json_option, tell
from iridescent_xdp.errors import ConfigError, IridescentError, StateError
from iridescent_xdp.kernel.features import Feature, require
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import namespace_key
from iridescent_xdp.runtime import Lock, Record, known_keys
from iridescent_xdp.state import PINS
from iridescent_xdp.switchboard import remove_pins

GRACE_S = 15.0  # a controller may be compiling when it is told to go
_LOOK_S = 0.05


@click.command(name="detach")
@click.argument("interface", required=False)
@click.option("--all", "everything", is_flag=True, help="Every interface that status shows.")
@click.option("--force", is_flag=True, help="Send a living controller SIGTERM first, and wait.")
@json_option
def command(interface: str | None, everything: bool, force: bool, as_json: bool) -> None:
    """Detach our program from INTERFACE; remove its pins, its maps and its files in /run.

    Counters and state are gone afterwards. Works too when the interface itself is gone.
    Exit code 6 when nothing of ours is there, or when a controller is alive.
    """
    if (interface is None) != everything:
        raise ConfigError("name an interface, or give --all", cure="see 'iridescent status'")
    require(Feature.PRIVILEGE)
    keys = known_keys() if everything else [_key(interface or "")]
    code, done = 0, []
    for key in keys:
        try:
            detach(key, force=force)
        except (IridescentError, OSError) as error:
            code = max(code, tell(error))
            continue
        done.append(key)
    if as_json:
        emit_json({"detached": done, "exit_code": code})
    else:
        for key in done:
            click.echo(f"detached from {key}; pins and runtime files are removed")
        if not keys:
            click.echo("nothing of ours is attached")
    click.get_current_context().exit(code)


def _key(interface: str) -> str:
    """The key of an interface. Raises StateError when nothing of ours is known by it."""
    known = known_keys()
    for key in (interface, namespace_key(interface)):
        if key in known:
            return key
    cure = f"known: {', '.join(known)}" if known else ""
    raise StateError(f"nothing of ours is attached to '{interface}'", cure=cure)


def detach(key: str, *, force: bool = False) -> None:
    """Take everything of one interface away.

    Raises StateError while a controller is alive, unless ``force`` and it goes when told to.
    """
    pid = holder(key)
    if pid and not force:
        raise StateError(
            f"a controller (process {pid}) runs on '{key}'",
            cure="stop it with Ctrl-C or SIGTERM, or give --force",
        )
    if pid:
        _end(key, pid)
    lock = Lock(key)
    try:
        _unlink(key)
        remove_pins(PINS / key)
        shutil.rmtree(runtime.RUN / key, ignore_errors=True)
    finally:
        lock.close()


def _end(key: str, pid: int) -> None:
    record = Record.load(key)
    if record is None or record.pid != pid:
        raise StateError(f"process {pid} holds the lock of '{key}', but did not write its record")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + GRACE_S
    while holder(key):
        if time.monotonic() > until:
            raise StateError(
                f"process {pid} did not go within {GRACE_S:.0f} s", cure=f"kill -9 {pid}"
            )
        time.sleep(_LOOK_S)


def _unlink(key: str) -> None:
    """Detach the pinned link, if there is one; its interface may be gone."""
    try:
        link = Link.adopt(PINS / key / "link", "unknown")
    except FileNotFoundError:
        return
    try:
        if link.info.ifindex:
            link.detach()
    finally:
        link.close()
