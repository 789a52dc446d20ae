# SPDX-License-Identifier: GPL-2.0-only
"""What stands on an interface, told from the kernel's objects; the record only names them.

Whatever is damaged or missing becomes a line in ``problems``: status must work best when things
are worst.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from iridescent_xdp.commands.holder import holder
from iridescent_xdp.controller import STEADY_ARM
from iridescent_xdp.errors import IridescentError
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.kernel import bpf
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface, program_name
from iridescent_xdp.runtime import Record
from iridescent_xdp.state import PINS, State, pinned_entries
from iridescent_xdp.switchboard import ENTRY, FALLBACK, HELPERS, helper_templates
from iridescent_xdp.template import Template, read_template

Facts = dict[str, Any]
ROOT = "iridescent_root"  # the kernel keeps 15 characters, as many as this has
INTERRUPTED = {
    "dispatcher": "search interrupted: traffic goes through proven arms",
    "observer": "search interrupted while observing: the generic code decides",
}


def take_stock(key: str) -> Facts:
    """Everything known of one interface; ``attached`` and ``stale`` come from its pinned link."""
    record = Record.load(key)
    pid = holder(key)
    problems: list[str] = []
    link, stale = _link(key, problems)
    facts: Facts = {
        "key": key,
        "interface": record.interface if record else key.split("@", maxsplit=1)[0],
        "attached": link is not None and not stale,
        "stale": stale,
        "mode": _mode(key, record),
        "function": record.function if record else "unknown",
        "toolchain": record.toolchain if record else "unknown",
        "controller": {"alive": pid > 0, "pid": pid},
        "link": asdict(link) if link else None,
        "programs": {},
        "guard_misses": {},
        "counters": [],
        "events": record.events if record else "",
        "notes": record.notes if record else [],
        "problems": problems,
    }
    if record is None:
        problems.append("there is no record of what the programs stand for")
    with _told(problems):
        _add_state(facts, record)
    facts["phase"] = _phase(facts, record)
    return facts


@contextlib.contextmanager
def _told(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except (IridescentError, OSError) as error:
        problems.append(str(error))


def _link(key: str, problems: list[str]) -> tuple[bpf.LinkInfo | None, str]:
    """The pinned link, and why it is stale if it is."""
    if not (PINS / key).is_dir():
        return None, "nothing is pinned"
    if not (PINS / key / "link").exists():
        return None, "no link is pinned"
    with _told(problems):
        link = Link.adopt(PINS / key / "link", "unknown")
        info = link.info
        link.close()
        return info, "" if info.ifindex else "its interface is gone, or it was detached"
    return None, "the link cannot be read"


def _mode(key: str, record: Record | None) -> str:
    """As the interface itself says, if it is in this namespace."""
    if record is None:
        return "unknown"
    if "@" not in key or key.endswith(f"@{os.stat('/proc/thread-self/ns/net').st_ino}"):
        with contextlib.suppress(IridescentError, OSError):
            return find_interface(record.interface).xdp_mode
    return record.mode


def _add_state(facts: Facts, record: Record | None) -> None:
    if not (PINS / facts["key"]).is_dir() or record is None:
        return
    template = read_template(Path(record.template))
    pins, templates = PINS / facts["key"], (template, *helper_templates())
    state = State.adopt(pins, *templates, entries=pinned_entries(pins, *templates))
    try:
        facts["programs"] = {
            "live": _program(_live(state, facts["link"], record), record),
            "fallback": _program(_slot(state, FALLBACK), record),
        }
        facts["counters"] = [asdict(row) for row in function_for(template).counters(state)]
        facts["guard_misses"] = _misses(state, template)
    finally:
        state.close()


def _slot(state: State, slot: int) -> int:
    """The id of the program in a slot; 0 when it is empty."""
    value = state["slots"].read(slot)
    return int.from_bytes(value.tobytes()[:4], "little") if value is not None else 0


def _live(state: State, link: Facts | None, record: Record) -> int:
    """What decides about packets: the link holds it, or the root, which calls slot 0."""
    if link is None or not link["ifindex"]:
        return 0
    held = int(link["prog_id"])
    is_root = held == record.root_id or program_name(held) == ROOT
    return _slot(state, ENTRY) if is_root and str(held) not in record.programs else held


def _program(prog_id: int, record: Record) -> Facts:
    """A program and what it stands for."""
    known = record.programs.get(str(prog_id), {})
    name = program_name(prog_id) if prog_id else ""
    label = known.get("variant") or (name if name in HELPERS else f"a program '{name}' of others")
    return {
        "prog_id": prog_id,
        "program": name,
        "variant": label if prog_id else "",
        "key": known.get("key", ""),
        "values": known.get("values", {}),
    }


def _misses(state: State, template: Template) -> dict[str, int]:
    """Guard misses of the steady programs, by point."""
    rows = state["arm_stats"].read(STEADY_ARM)
    if rows is None:
        return {}
    totals = rows["misses"].sum(axis=0)
    return {p.name: int(totals[i]) for i, p in enumerate(template.points) if totals[i]}


def _phase(facts: Facts, record: Record | None) -> str:
    if not facts["attached"]:
        return "not attached"
    live = facts["programs"].get("live", {}).get("program", "")
    if facts["controller"]["alive"]:
        return record.phase if record else "unknown"
    if live in INTERRUPTED:
        return INTERRUPTED[live]
    if record is None or record.pid == 0:
        return "left running"
    return f"the controller is gone (it was {record.phase}); the live program stays"


def foreign(name: str) -> Facts | None:
    """What runs on an interface that is not ours; None when nothing does.

    Raises AttachError when there is no such interface.
    """
    interface = find_interface(name)
    if not interface.xdp_prog_id:
        return None
    return {
        "interface": name,
        "mode": interface.xdp_mode,
        "prog_id": interface.xdp_prog_id,
        "program": program_name(interface.xdp_prog_id),
    }
