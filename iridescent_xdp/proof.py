# SPDX-License-Identifier: GPL-2.0-only
"""Proving a known variant again on changed tables, in the time that a change leaves.

The sandboxes are kept, their tables change with those of the interface, and the corpus is smaller
than before a variant meets traffic for the first time: all crafted packets, packets at what was
changed, and every n-th of the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

from iridescent_xdp.journal import JournaledState
from iridescent_xdp.live import LiveCode, TablesChangedError
from iridescent_xdp.preflight import Packet, Preflight
from iridescent_xdp.state import State

OTHERS = 256  # packets beside the crafted ones and those at what was changed


class Proof:
    """The sandboxes of one interface, made when first needed or left by a search."""

    def __init__(self, live: LiveCode) -> None:
        self._live = live
        self._busy = threading.Lock()  # taken before any other
        self._preflight: Preflight | None = None
        self._packets: tuple[Packet, ...] = ()
        self._journal: JournaledState | None = None

    def keep(self, preflight: Preflight, version: int) -> None:
        """Take over what a search made for the tables of ``version``; useless ones are closed."""
        function = self._live.plan.function
        with self._busy, self._live.lock, function.lock:
            if version != function.version or preflight.generic != self._live.plan.generic:
                preflight.close()
                return
            self.close()
            self._preflight, self._packets = preflight, preflight.packets
            self._journal = JournaledState(self._live.state)

    def take(self) -> Preflight | None:
        """The sandboxes with the present tables, for a search, which gives them back (``keep``)."""
        with self._busy:
            if not self._usable(self._live.plan.function.version):
                return None
            taken, self._preflight, self._journal = self._preflight, None, None
            return taken

    def journaled(self, state: State) -> State:
        """What a change of tables is written to: ``state``, noted while there are sandboxes."""
        return state if self._journal is None else self._journal

    @contextmanager
    def prepared(
        self, changes: Sequence[object] | None, version: int
    ) -> Iterator[Callable[[], Preflight]]:
        """Run the generic code on the packets for ``changes``, None for all there are.

        That goes on beside what the caller does (a build, on another CPU); the preflight is had by
        calling what is yielded, which raises VerifierError and TablesChangedError.
        """
        with self._busy, ThreadPoolExecutor(1, "proof") as pool:
            yield pool.submit(self._prepare, changes, version).result

    def _prepare(self, changes: Sequence[object] | None, version: int) -> Preflight:
        packets = self._chosen(changes, version) if self._usable(version) else self._all(version)
        if self._preflight is None:
            self._preflight = self._make(packets, version)
        else:
            self._preflight.expect(packets)
        self._preflight.prepare()
        return self._preflight

    def _usable(self, version: int) -> bool:
        """Whether there are sandboxes for this generic code; they have the present tables then."""
        with self._live.plan.function.lock:
            self._expect_version(version)
            if self._preflight is None or self._journal is None:
                return False
            if self._preflight.generic == self._live.plan.generic:
                try:
                    if self._journal.replay(self._preflight.states):
                        self._preflight.forget()
                    return True
                except OSError as error:
                    self._live.events.tell("sandboxes_dropped", reason=str(error))
            self.close()
            return False

    def _chosen(self, changes: Sequence[object] | None, version: int) -> tuple[Packet, ...]:
        if changes is None:
            return self._all(version)
        function = self._live.plan.function
        with function.lock:
            probes = function.probes(changes, self._live.plan.config.search.seed)
        return (*probes, *thinned(self._packets))

    def _all(self, version: int) -> tuple[Packet, ...]:
        function = self._live.plan.function
        with function.lock:
            self._expect_version(version)
            packets = function.corpus((), self._live.plan.config.search.seed)
        self._packets = tuple(packets)
        return self._packets

    def _make(self, packets: tuple[Packet, ...], version: int) -> Preflight:
        live = self._live
        made = Preflight(live.builder, live.plan.function, live.plan.generic, packets)
        with live.plan.function.lock:
            try:
                self._expect_version(version)
            except TablesChangedError:
                made.close()
                raise
            self._journal = JournaledState(live.state)
        return made

    def _expect_version(self, version: int) -> None:
        if self._live.plan.function.version != version:
            raise TablesChangedError("the tables changed while a preflight was prepared")

    def close(self) -> None:
        """Give the sandboxes back."""
        if self._preflight is not None:
            self._preflight.close()
        self._preflight = self._journal = None


def thinned(packets: Sequence[Packet]) -> Iterator[Packet]:
    """The crafted packets, and OTHERS of the others, evenly spread."""
    crafted = crafted_frames()
    others = [packet for packet in packets if packet[1] not in crafted]
    yield from (packet for packet in packets if packet[1] in crafted)
    yield from others[:: max(1, -(-len(others) // OTHERS))]


@lru_cache(maxsize=1)
def crafted_frames() -> frozenset[bytes]:
    """The frames of the corpus that no rule and no traffic has to do with."""
    from traffic.corpus import crafted  # scapy is slow to import
    from traffic.corpus_crafted import stacks

    return frozenset(frame for _, frame in (*crafted(), *stacks()))
