# SPDX-License-Identifier: GPL-2.0-only
"""After tables changed: the variant that was given up is made anew, in the background.

A thread of its own waits until no change came for a moment, builds the same variant with the new
tables, proves it, and swaps it in. Whatever fails leaves the generic code live, and an event.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from iridescent_xdp.changes import TableChanges
from iridescent_xdp.errors import IridescentError
from iridescent_xdp.live import LiveCode, TablesChangedError
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant

DEBOUNCE_S = 0.008  # without a change, before a build is worth while
DEBOUNCE_AGAIN_S = 0.025  # and after one that was in vain, because another change came
REST_S = 5.0  # without a change, before the link is to hold the variant itself
TELL_S = 1.0  # while changes keep coming, they are told about this often


class Respecializer:
    """The thread; it starts with the first change."""

    def __init__(self, live: LiveCode, changes: TableChanges) -> None:
        self._live = live
        self._changes = changes
        self._woken, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._debounce_s = DEBOUNCE_S

    def wake(self) -> None:
        """Tables changed, or a search is over."""
        if self._thread is None and not self._stopped.is_set():
            self._thread = threading.Thread(target=self._run, name="respecialize", daemon=True)
            self._thread.start()
        self._woken.set()

    def close(self) -> None:
        """What is under way ends, nothing new begins."""
        self._stopped.set()
        self._woken.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            if not self._woken.wait(REST_S if self._through_root() else None):
                self._rest_directly()
                continue
            self._woken.clear()
            self._wait_for_quiet()
            self._changes.tell()
            if self._stopped.is_set():
                return
            self._attempt()

    def _through_root(self) -> bool:
        board = self._live.board
        return board.held is board.root

    def _rest_directly(self) -> None:
        """Nothing changed for a while: what the root costs is saved."""
        live = self._live
        with live.lock:
            if live.searching or self._woken.is_set() or not self._through_root():
                return
            try:
                live.settle()
            except (IridescentError, OSError) as error:
                live.events.tell("not_settled", reason=str(error))
                return
            live.events.tell(
                "settled",
                variant=live.plan.label(live.live_variant),
                reason=f"no change for {REST_S:.0f} s: the link holds it without the root",
            )

    def _wait_for_quiet(self) -> None:
        told = time.monotonic()
        while (left := self._changes.last + self._debounce_s - time.monotonic()) > 0:
            if self._stopped.wait(left):
                return
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                self._changes.tell()

    def _attempt(self) -> None:
        live, changes = self._live, self._changes
        with live.lock:
            variant, version = live.given_up, live.plan.function.version
            since = tuple(changes.since) if changes.since is not None else None
        if live.searching:
            return  # its end wakes this thread again
        try:
            self._fit_policy(version)
            if variant is None:
                self._rest(version)
            else:
                self._specialize(variant, version, since)
            self._debounce_s = DEBOUNCE_S
        except TablesChangedError:
            self._debounce_s = DEBOUNCE_AGAIN_S  # the change that came has woken this thread
        except (IridescentError, OSError) as error:
            if live.plan.function.version != version:
                self._debounce_s = DEBOUNCE_AGAIN_S
            else:
                label = live.plan.label(variant) if variant is not None else "generic"
                live.events.tell("not_specialized", variant=label, reason=str(error))

    def _fit_policy(self, version: int) -> None:
        """A generic program that has no more than the tables need; what runs is left alone."""
        live = self._live
        with live.lock:
            self._expect(version)
            wanted = live.plan.function.policy()
            if live.live_variant != live.plan.generic or all(
                live.plan.generic[name] == value for name, value in wanted.items()
            ):
                return
            live.renew_generic(wanted)
            live.retreat()

    def _expect(self, version: int) -> None:
        if self._live.searching or self._live.plan.function.version != version:
            raise TablesChangedError("the tables changed again")

    def _rest(self, version: int) -> None:
        """Nothing is to be specialized: only the record is brought up to date."""
        with self._live.lock:
            self._expect(version)
            self._changes.settle()
            self._done()

    def _done(self) -> None:
        self._changes.since = {}
        record = self._live.record
        record.tables = self._live.plan.function.tables_digest()
        record.save(self._live.key)

    def _specialize(self, given_up: Variant, version: int, since: Sequence[object] | None) -> None:
        live, changes = self._live, self._changes
        function, generic = live.plan.function, live.plan.generic
        variant = given_up.with_values(**{name: generic[name] for name in function.policy()})
        with live.lock:
            self._expect(version)
            changes.settle()
        began = time.perf_counter()
        with changes.proof.prepared(since, version) as prepared:
            insns = live.builder.variant(function, variant, Role.STEADY)
            built = time.perf_counter()
            preflight = prepared()
            preflight.check(insns, f"pf_{variant.key}")
        proven = time.perf_counter()
        with live.lock:
            self._expect(version)
            if live.given_up != given_up:
                return  # something else was made live meanwhile
            live.swap(variant, insns, version=version, direct=False, reason="its tables changed")
            live.events.tell(
                "specialized_again",
                variant=live.plan.label(variant),
                after_ms=(time.monotonic() - changes.last) * 1000,
                build_ms=(built - began) * 1000,
                preflight_ms=(proven - built) * 1000,
                packets=len(preflight.packets),
                load_and_swap_ms=(time.perf_counter() - proven) * 1000,
                reason="no change for a moment",
            )
            self._done()
