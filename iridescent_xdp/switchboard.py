# SPDX-License-Identifier: GPL-2.0-only
"""Root program, slots, swap: the one place that changes what an interface runs.

While variants are tried a pinned link holds the root, the root calls slot 0 of a pinned program
array, and a swap is one update of that slot. Slot 1 always holds the generic code. In the steady
state the link holds the live variant itself, because the root's jump costs about a nanosecond.
Before a slot is written it is compared with what this controller put there, under the interface's
lock, and the link is replaced by naming what it should hold: two controllers never fight.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Container
from pathlib import Path
from typing import Self

from iridescent_xdp.builder import Builder, helper_template
from iridescent_xdp.errors import AttachError, StateError
from iridescent_xdp.kernel import bpf
from iridescent_xdp.kernel.known_programs import KnownPrograms
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import Interface, namespace_key
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.state import PINS, State
from iridescent_xdp.template import Template

ENTRY, FALLBACK, OBSERVER, FIRST_ARM = 0, 1, 2, 3
OBSERVING = 59  # the build that the observer hands packets to; arms have the slots below
HELPERS = ("root", "dispatcher", "observer", "sensor")


def helper_templates() -> tuple[Template, ...]:
    """The templates whose maps live beside a function's."""
    return tuple(helper_template(name) for name in HELPERS)


class Switchboard:
    """What runs on one interface; owns the link and the helper programs."""

    def __init__(self, link: Link, state: State, pins: Path | None, root: Program) -> None:
        self.link = link
        self.state = state
        self.pins = pins
        self.root = root
        self.held = root  # what the link holds
        self._known = KnownPrograms()  # what it held lately
        self.entry: Program | None = None  # what we put into slot 0 last
        self.expected: dict[int, int] = {}  # slot -> program id that we put there
        self.swaps = 0  # atomic changes of slot 0 and of the link, trials included

    # -- taking an interface ---------------------------------------------------------------

    @classmethod
    def attach(
        cls,
        interface: Interface,
        mode: str,
        state: State,
        generic: Program,
        root: Program,
        pins: Path | None,
    ) -> Self:
        """Fill the slots, attach the root, pin everything in ``pins`` if given.

        Raises AttachError; then nothing is attached and nothing is pinned.
        """
        board = cls(Link(-1, mode), state, pins, root)
        board._write(FALLBACK, generic)
        board._write(ENTRY, generic)
        if pins is not None:
            pins.mkdir(mode=0o700, parents=True, exist_ok=False)
        try:
            if pins is not None:
                state.pin(pins)
            board.link = Link.attach(root, interface, mode)
            if pins is not None:
                board.link.pin(pins / "link")
        except OSError:
            board.link.close()
            if pins is not None:
                remove_pins(pins)
            raise
        return board

    @classmethod
    def adopt(
        cls,
        interface: Interface,
        link: Link,
        state: State,
        root: Program,
        ours: Container[int] | None,
    ) -> Self:
        """Take over what is attached; it goes on running until ``through_root``.

        ``ours`` are the ids of programs that a controller of ours left, None when that is not
        known. Raises StateError for a link of another interface, AttachError when the link holds
        somebody else's program.
        """
        info = link.info
        if info.ifindex != interface.index:
            raise StateError(
                f"the pinned link belongs to interface {info.ifindex}, not to "
                f"'{interface.name}' ({interface.index})",
                cure="run 'iridescent detach' for it",
            )
        if ours is not None and info.prog_id not in ours:
            raise AttachError(
                f"somebody replaced the program on '{interface.name}' (id {info.prog_id})",
                cure=f"run 'iridescent detach {interface.name}' first",
            )
        board = cls(link, state, PINS / namespace_key(interface.name), root)
        board.held = Program(bpf.fd_by_id(bpf.PROG_GET_FD_BY_ID, info.prog_id), "left behind")
        for slot in range(state["slots"].spec.entries):
            board.expected[slot] = board.holds(slot)
        return board

    # -- slots -----------------------------------------------------------------------------

    def holds(self, slot: int) -> int:
        """The id of the program in a slot; 0 when it is empty."""
        value = self.state["slots"].read(slot)
        return int.from_bytes(value.tobytes()[:4], "little") if value is not None else 0

    def put(self, slot: int, program: Program) -> float:
        """Swap one slot; microseconds that the update took.

        Raises AttachError when the slot does not hold what this controller put there.
        """
        found, wanted = self.holds(slot), self.expected.get(slot, 0)
        if found != wanted:
            raise AttachError(
                f"slot {slot} holds program {found}, not {wanted}: somebody else changed it",
                cure="stop the other controller; see 'iridescent status'",
            )
        self.swaps += slot == ENTRY
        return self._write(slot, program)

    def _write(self, slot: int, program: Program) -> float:
        value = program.fd.to_bytes(4, "little")
        began = time.perf_counter_ns()
        self.state["slots"].write(slot, value)
        took = (time.perf_counter_ns() - began) / 1000
        self.expected[slot] = program.info.prog_id
        if slot == ENTRY:
            self.entry = program
        return took

    # -- link ------------------------------------------------------------------------------

    def through_root(self) -> None:
        """The link holds the root, so that slots decide. Raises AttachError."""
        self._hold(self.root)

    def direct(self, program: Program) -> None:
        """The link holds ``program`` itself; slot 0 is not asked. Raises AttachError."""
        self._hold(program)

    def _hold(self, program: Program) -> None:
        if program is not self.held:
            for one in (self.held, program):
                self._known.add(one)
            self.link.replace(program, self.held)
            self.held = program
            self.swaps += 1

    @property
    def known(self) -> list[int]:
        """Ids of the programs that the link changes to at once."""
        return self._known.numbers

    def clear(self, slot: int) -> None:
        """Empty a slot, so that the kernel can free its program; never slot 0 or 1."""
        self.state["slots"].delete(slot)
        self.expected.pop(slot, None)

    def check(self, interface: Interface) -> None:
        """Whether the interface still runs our root. Raises AttachError: stop, do not fight."""
        info = self.link.info
        if info.ifindex != interface.index:
            raise AttachError(
                f"'{interface.name}' is not attached any more: it was detached or removed",
                cure="see 'iridescent status'; run again to attach",
            )
        if info.prog_id != self.held.info.prog_id:
            raise AttachError(
                f"somebody replaced the program on '{interface.name}' (id {info.prog_id})",
                cure="see 'iridescent status'",
            )

    def release(self) -> None:
        """Detach from the interface and remove the pins."""
        with contextlib.suppress(OSError):
            self.link.detach()
        if self.pins is not None:
            remove_pins(self.pins)
        self.close()

    def close(self) -> None:
        """Give descriptors back; what is pinned stays attached."""
        self._known.close()
        self.link.close()
        self.root.close()


def load_root(builder: Builder, state: State) -> Program:
    """The root program on this state's slots."""
    template, insns = builder.helper("root")
    return state.load(insns, "iridescent_root", template=template)


def remove_pins(directory: Path) -> None:
    """Unpin everything of one interface; the kernel frees what nothing else holds."""
    if directory.is_dir():
        for pin in sorted(directory.iterdir()):
            pin.unlink()
        directory.rmdir()
