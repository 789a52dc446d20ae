# SPDX-License-Identifier: GPL-2.0-only
"""What runs on one interface, and every way in which that changes.

A search swaps from one thread, tables change in another, and a third one specializes again. Each
holds ``lock``. A link update to a new program waits for grace periods in the kernel (8 to 16 ms,
even on an idle veth), a slot update takes a fraction of a millisecond. So the link holds the
variant itself only when nothing changed for a while; before, it holds the root, and slot 0 decides.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import StateError
from iridescent_xdp.events import EventLog
from iridescent_xdp.kernel.grace import grace_period
from iridescent_xdp.kernel.netlink import Interface
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.plan import Plan
from iridescent_xdp.runtime import Record
from iridescent_xdp.state import State
from iridescent_xdp.switchboard import ENTRY, FALLBACK, Switchboard
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant

STEADY_ARM = 31  # where steady programs count their guards' misses
REMEMBERED = 64  # programs in the record


class TablesChangedError(StateError):
    """Code was made for tables that are not there any more; it was not made live."""


@dataclass(frozen=True, kw_only=True)
class Swap:
    """One change of what is live."""

    label: str
    key: str
    took_us: float


class LiveCode:
    """The part of a controller that says what packets meet."""

    plan: Plan
    builder: Builder
    events: EventLog
    interface: Interface
    key: str
    board: Switchboard
    record: Record
    generic: Program
    live: Program
    live_variant: Variant

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.given_up: Variant | None = None  # for a change of tables; to be made anew
        self.searching = False
        self._search_version = 0
        self._lingering = True  # what was there before a swap may still decide about a packet
        self._retired: list[Program] = []

    @property
    def state(self) -> State:
        """The interface's maps."""
        return self.board.state

    def _name(self, variant: Variant) -> str:
        return f"{self.plan.template.name[:6]}_{variant.key}"

    def remember(self, program: Program, variant: Variant) -> None:
        """Write down what a program id stands for, before it can be live."""
        self.record.programs[str(program.info.prog_id)] = {
            "variant": self.plan.label(variant),
            "key": variant.key,
            "values": dict(variant.values),
        }
        self.record.save(self.key)

    def tell_notes(self) -> None:
        """What the function says about its tables, into the record and the log when it is new."""
        with self.lock:
            notes = [*self.plan.function.notes()]
            if notes != self.record.notes:
                self.record.notes = notes
                self.record.save(self.key)
                self.events.tell("notes", notes=notes, reason="what the tables leave out")

    def _forget_old_programs(self) -> None:
        """Of programs that stand nowhere, the record keeps the last ones."""
        programs = self.record.programs
        standing = {str(number) for number in self.board.expected.values()}
        standing |= {str(p.info.prog_id) for p in (self.generic, self.board.held)}
        old = [number for number in programs if number not in standing]
        for number in old[: max(0, len(old) - REMEMBERED)]:
            del programs[number]

    # -- swapping --------------------------------------------------------------------------

    def swap(
        self,
        variant: Variant,
        insns: bytes,
        *,
        reason: str,
        version: int | None = None,
        direct: bool = True,
        **numbers: object,
    ) -> Swap:
        """Make a variant live in its steady build, atomically, and say why.

        ``version`` is that of the tables (Function.version) that the code was made for; a search
        knows its own. With ``direct`` the link holds it, else slot 0 does. Raises VerifierError,
        AttachError and TablesChangedError; what ran goes on running then.
        """
        with self.lock:
            self._refuse_stale(version)
            self.board.check(self.interface)
            program = self.generic
            if variant != self.plan.generic:
                program = self.state.load_kept(insns, self._name(variant), arm=STEADY_ARM)
            self._forget_old_programs()
            self.remember(program, variant)
            took_us = self.board.put(ENTRY, program)
            if direct:
                self.board.direct(program)
            else:
                self.board.through_root()
            self.live, self.live_variant, self.given_up = program, variant, None
            self._lingering = True
            swap = Swap(label=self.plan.label(variant), key=variant.key, took_us=took_us)
            self.events.tell(
                "swap",
                variant=swap.label,
                key=swap.key,
                took_us=took_us,
                instructions=program.info.xlated_bytes // 8,
                reason=reason,
                **numbers,
            )
            return swap

    def _refuse_stale(self, version: int | None) -> None:
        wanted = self._search_version if self.searching and version is None else version
        now = self.plan.function.version
        if wanted is not None and wanted != now:
            raise TablesChangedError(f"the tables changed while code was made ({wanted} to {now})")

    def settle(self) -> None:
        """The link holds what is live, nothing stands in front of it."""
        with self.lock:
            if not self.searching:
                self.board.direct(self.live)

    # -- back to the generic code ----------------------------------------------------------

    def retreat(self) -> tuple[float, float]:
        """The generic code decides about every packet from now on, and nothing else still runs.

        Returns microseconds that the swap took and milliseconds of the grace period. During a
        search the slots are left to it; the link holds the generic code, and they are not reached.
        """
        with self.lock:
            began = time.perf_counter()
            if self.searching:
                self.board.direct(self.generic)
            else:
                self._put_if_other(FALLBACK, self.generic)
                self._put_if_other(ENTRY, self.generic)
                self.board.through_root()
            swap_us = (time.perf_counter() - began) * 1e6
            self.live, self.live_variant = self.generic, self.plan.generic
            self._lingering = True
            return swap_us, self.wait_for_others()

    def wait_for_others(self) -> float:
        """Nothing runs any more that was there before the last swap, or in a search.

        Returns milliseconds of the grace period; 0 when one has passed since.
        """
        with self.lock:
            waited_ms = grace_period() if self._lingering else 0.0
            self._lingering = False
            return waited_ms

    @property
    def retreated(self) -> bool:
        """Whether packets can meet nothing but the generic code."""
        return (self.board.held if self.searching else self.live) is self.generic

    def _put_if_other(self, slot: int, program: Program) -> None:
        if self.board.expected.get(slot) != program.info.prog_id:
            self.board.put(slot, program)

    def renew_generic(self, policy: dict[str, int]) -> None:
        """Another generic program, of another policy, for the next ``retreat`` to put in place.

        Raises ToolchainError and VerifierError; then the old one stays.
        """
        with self.lock:
            variant = self.plan.generic.with_values(**policy)
            insns = self.builder.variant(self.plan.function, variant, Role.STEADY)
            program = self.state.load(insns, self._name(variant), arm=STEADY_ARM)
            if not self.searching:
                self.close_retired()
            self.remember(program, variant)
            self._retired.append(self.generic)
            self.plan = replace(self.plan, generic=variant)
            self.generic = program

    def close_retired(self) -> None:
        """Give back generic programs that were replaced, when no search may hold one."""
        for program in self._retired:
            if program is not self.board.held:
                program.close()
        self._retired = [p for p in self._retired if p is self.board.held]

    # -- searching -------------------------------------------------------------------------

    def begin_search(self) -> Callable[[], bool]:
        """Slots decide from now on. Returns whether the search has to end: the tables changed."""
        with self.lock:
            function = self.plan.function
            self.searching, self._search_version = True, function.version
            self._put_if_other(ENTRY, self.live)
            self._put_if_other(FALLBACK, self.generic)
            self.board.through_root()
            version = function.version
        return lambda: function.version != version

    @contextmanager
    def held_by(self, program: Program) -> Iterator[None]:
        """During a search: the link holds ``program``, which sends packets on, not the root.

        Should tables change meanwhile, the generic code takes the link, and keeps it.
        """
        with self.lock:
            self.remember(program, self.live_variant)
            if self.board.held is self.board.root:
                self.board.direct(program)
        try:
            yield
        finally:
            with self.lock:
                if self.board.held is program:
                    self.board.through_root()

    def end_search(self) -> None:
        """What is live is on the link and in the slots, whatever the search left there."""
        with self.lock:
            if not self.searching:
                return
            self.searching = False
            self._lingering = True
            self._put_if_other(ENTRY, self.live)
            self._put_if_other(FALLBACK, self.generic)
            self.board.direct(self.live)
            if self.plan.function.version == self._search_version:
                self.given_up = None  # the search decided about it
