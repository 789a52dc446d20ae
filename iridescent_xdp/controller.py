# SPDX-License-Identifier: GPL-2.0-only
"""Ties one interface together: state, switchboard, the generic code, what is live now.

Order matters here. The generic code is loaded and in slot 1 before anything else happens, a
program's record is written before the program goes live, and every change is an event.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from iridescent_xdp.builder import Builder
from iridescent_xdp.changes import TableChanges
from iridescent_xdp.errors import IridescentError, StateError
from iridescent_xdp.events import EventLog
from iridescent_xdp.kept import KeptPrograms
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface, namespace_key
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.live import STEADY_ARM, LiveCode, Swap
from iridescent_xdp.plan import Plan
from iridescent_xdp.preflight import Preflight
from iridescent_xdp.respecialize import Respecializer
from iridescent_xdp.runtime import Lock, Record, forget
from iridescent_xdp.state import PINS, State, ensure_bpffs
from iridescent_xdp.switchboard import (
    ENTRY,
    FALLBACK,
    Switchboard,
    helper_templates,
    load_root,
    remove_pins,
)
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant

__all__ = ["STEADY_ARM", "Controller", "Swap"]


class Controller(LiveCode):
    """One interface under control; a context manager that leaves the live program attached."""

    def __init__(self, plan: Plan, builder: Builder, events: EventLog) -> None:
        super().__init__()
        self.plan = plan
        self.builder = builder
        self.events = events
        self.key = namespace_key(plan.config.name)
        self.interface = find_interface(plan.config.name)
        self.changes = TableChanges(self)
        self._respecializer = Respecializer(self, self.changes)
        self._lock = Lock(self.key)
        self.adopted = False
        try:
            ensure_bpffs()
            self._open()
        except (OSError, IridescentError):
            self._lock.close()
            if not self.pins.is_dir():
                forget(self.key)
            raise

    # -- opening ---------------------------------------------------------------------------

    @property
    def pins(self) -> Path:
        """Where this interface's objects are pinned."""
        return PINS / self.key

    def _open(self) -> None:
        config, template = self.plan.config, self.plan.template
        previous = Record.load(self.key)
        self.plan.function.inherit(self.pins)
        self.record = Record(
            interface=config.name,
            function=template.name,
            template=str(template.path),
            mode=config.mode,
            toolchain=self.builder.toolchain.name,
            pid=os.getpid(),
            events=str(self.events.path or ""),
            tables=self.plan.function.tables_digest(),
            programs=previous.programs if previous is not None else {},
            roots=previous.roots if previous is not None else [],
        )
        if self.pins.is_dir() and not self._stale():
            self._adopt(previous)
        else:
            self._attach()
        self.record.mode = self.board.link.mode
        self.arm_programs = KeptPrograms(self.state)
        self.phase("attached")
        self.tell_notes()

    def _stale(self) -> bool:
        """Pins without a link, or of an interface that is gone: removed, and told."""
        try:
            link = Link.adopt(self.pins / "link", self.plan.config.mode)
        except FileNotFoundError:
            reason = "they hold no link"
        else:
            gone = link.info.ifindex == 0
            link.close()
            if not gone:
                return False
            reason = "their interface is gone"
        remove_pins(self.pins)
        self.events.tell("stale_pins_removed", pins=str(self.pins), reason=reason)
        return True

    def _load_generic(self, state: State) -> Program:
        insns = self.builder.variant(self.plan.function, self.plan.generic, Role.STEADY)
        return state.load(insns, self._name(self.plan.generic), arm=STEADY_ARM)

    def _load_root(self, state: State) -> Program:
        """The root, known as ours before it can be on the link: this process may die any time."""
        root = load_root(self.builder, state)
        self.record.root_id = root.info.prog_id
        self.record.roots = [*self.record.roots, root.info.prog_id]
        return root

    def _attach(self) -> None:
        entries = self.plan.map_entries()
        state = State.create(self.plan.template, *helper_templates(), entries=entries)
        try:
            self.plan.function.fill(state)
            self.generic = self._load_generic(state)
            root = self._load_root(state)
            self.remember(self.generic, self.plan.generic)
            self.board = Switchboard.attach(
                self.interface, self.plan.config.mode, state, self.generic, root, self.pins
            )
        except (OSError, IridescentError):
            state.close()
            raise
        self.live, self.live_variant = self.generic, self.plan.generic
        self.events.tell(
            "attached",
            interface=self.interface.name,
            mode=self.board.link.mode,
            function=self.plan.template.name,
            toolchain=self.builder.toolchain.name,
            reason="the generic variant goes first",
        )

    def _adopt(self, previous: Record | None) -> None:
        """Take over: new code onto new tables beside the old, swapped in, then pinned."""
        if previous is not None and previous.function != self.plan.template.name:
            raise StateError(
                f"'{self.interface.name}' runs function '{previous.function}', not "
                f"'{self.plan.template.name}'",
                cure=f"run 'iridescent detach {self.interface.name}' first",
            )
        fresh = self.plan.fresh_maps
        mode = previous.mode if previous is not None else self.plan.config.mode
        state = State.adopt(
            self.pins,
            self.plan.template,
            *helper_templates(),
            fresh=fresh,
            entries=self.plan.map_entries(),
        )
        link = Link.adopt(self.pins / "link", mode)
        try:
            self.plan.function.fill(state)
            self.generic = self._load_generic(state)
            root = self._load_root(state)
            ours = _ids(previous) if previous is not None else None
            self.board = Switchboard.adopt(self.interface, link, state, root, ours)
        except (OSError, IridescentError):
            link.close()
            state.close()
            raise
        found = self.board.held.info.prog_id
        self.remember(self.generic, self.plan.generic)
        self.board.put(ENTRY, self.generic)
        self.board.put(FALLBACK, self.generic)
        self.board.through_root()
        self.record.roots = [self.record.root_id]
        state.pin(self.pins, fresh)
        self.live, self.live_variant = self.generic, self.plan.generic
        self.adopted = True
        if previous is not None and previous.tables != self.record.tables:
            self.events.tell(
                "tables_changed",
                reason="new rules on maps of their own; counters go on by place in the list",
            )
        self.events.tell(
            "adopted",
            interface=self.interface.name,
            found=found,
            reason="a program of ours is attached; its state is kept",
        )

    # -- while it runs ---------------------------------------------------------------------

    def change(self, changes: Sequence[object]) -> None:
        """Change the function's control-plane tables, all or nothing, from any thread.

        When it returns, every packet that comes from then on meets the changed tables. The
        specialized code is made anew in the background. ``changes`` are of the function's own
        types; the errors are those of TableChanges.apply.
        """
        try:
            self.changes.apply(changes)
        finally:
            self._respecializer.wake()

    def begin_search(self) -> Callable[[], bool]:
        """See LiveCode.begin_search; arms may read what changes leave for later."""
        with self.lock:
            if self.plan.function.compiled_from_tables(self.live_variant):
                self.give_up(self.live_variant, reason="a search learns hot keys anew")
            self.changes.settle()
            return super().begin_search()

    def give_up(self, variant: Variant, *, reason: str, **numbers: object) -> None:
        """The generic code decides; ``variant`` is made, proven and swapped in, in the background.

        Nothing happens during a search, which decides itself.
        """
        with self.lock:
            if self.searching:
                return
            was = self.live_variant
            swap_us, grace_ms = self.retreat()
            self.given_up = variant if variant != self.plan.generic else None
            self.events.tell(
                "retreat",
                variant=self.plan.label(was),
                swap_us=swap_us,
                grace_ms=grace_ms,
                reason=reason,
                **numbers,
            )
        self._respecializer.wake()

    def settle_later(self) -> None:
        """The link is to hold what is live when nothing changes for a while."""
        self._respecializer.wake()

    def end_search(self) -> None:
        """See LiveCode.end_search."""
        super().end_search()
        if self.given_up is not None or self.changes.unsettled:
            self._respecializer.wake()

    def keep(self, preflight: Preflight, version: int) -> None:
        """A search is done with its sandboxes, which were made for the tables of ``version``."""
        self.changes.proof.keep(preflight, version)

    def phase(self, phase: str) -> None:
        """Tell `status` what is going on."""
        with self.lock:
            self.record.phase = phase
            self.record.save(self.key)

    # -- leaving ---------------------------------------------------------------------------

    def close(self) -> None:
        """Leave: what is live stays attached, the next controller may come."""
        self._respecializer.close()
        self.changes.proof.close()
        self.record.pid = 0
        self.phase("left running")
        self.board.close()
        self.arm_programs.close()
        self.generic.close()
        self.close_retired()
        self.state.close()
        self._lock.close()

    def release(self) -> None:
        """Detach: take the program off the interface, remove pins and what is in /run."""
        self._respecializer.close()
        self.board.release()
        self.close()
        forget(self.key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ids(record: Record) -> set[int]:
    """Programs that a controller of ours may have left on the link."""
    return {record.root_id, *record.roots, *(int(number) for number in record.programs)}
