# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's routes, neighbours and links over netlink, for a router that mirrors them.

``RouteFeed`` subscribes, reads the whole state and then gives what changes; ``Mirror`` does that in
a thread. Both belong to the network namespace of the thread that makes them. Netlink is spoken
with the standard library's socket: decoding each message as a whole (pyroute2) takes ten times as
long, and an overflow of the receive buffer must come out as an error.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from pyroute2.netlink import rtnl

from iridescent_xdp.errors import IridescentError, StateError
from iridescent_xdp.functions.router_dump import CHUNK_BYTES, dump_all, open_socket
from iridescent_xdp.functions.router_fib import Change, Fib
from iridescent_xdp.functions.router_messages import Transmit, messages
from iridescent_xdp.functions.router_tables import LeftToKernel, RouterTables, SetRoute
from iridescent_xdp.functions.router_verdicts import MirrorRules
from iridescent_xdp.kernel.netdev import Transmitters

QUIET_S = 0.005  # a burst is over when nothing came for so long
LONGEST_S = 0.05  # a burst that goes on is given in parts, each no longer than this
PAUSE_S = 0.2  # between two looks at the whole state, and PAUSE_SHARE times what the last one took
PAUSE_SHARE = 5
RECEIVE_BYTES = 32 << 20  # room for some 20,000 messages that wait
START_TRIES = 3
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_RTNLGRP_NEXTHOP = 32
_GROUPS = (
    rtnl.RTNLGRP_LINK,
    rtnl.RTNLGRP_NEIGH,
    rtnl.RTNLGRP_IPV4_IFADDR,
    rtnl.RTNLGRP_IPV4_ROUTE,
    rtnl.RTNLGRP_IPV4_RULE,
    rtnl.RTNLGRP_IPV6_ROUTE,
    rtnl.RTNLGRP_IPV6_RULE,
    rtnl.RTNLGRP_IPV6_IFINFO,
    _RTNLGRP_NEXTHOP,
)
News = Change | LeftToKernel
Deliver = Callable[[Sequence[News]], None]


@dataclass(kw_only=True)
class MirrorCounts:
    """What a mirror did so far; ``last_reason`` is why the whole state was last read again."""

    messages: int = 0
    changes: int = 0
    batches: int = 0
    overflows: int = 0
    whole_reads: int = 0
    last_reason: str = ""


def snapshot(rules: MirrorRules | None = None) -> RouterTables:
    """The routes of this thread's network namespace as they are now.

    Raises StateError when the kernel does not tell them.
    """
    with RouteFeed(rules) as feed:
        return feed.tables


class RouteFeed:
    """The routes as of now (``tables``), then their changes (``wait``); a context manager.

    Raises StateError when the kernel refuses to tell.
    """

    def __init__(
        self, rules: MirrorRules | None = None, *, receive_bytes: int = RECEIVE_BYTES
    ) -> None:
        self.fib = Fib(rules)
        self.counts = MirrorCounts()
        self._lost = self._reason = ""
        self._next_whole_s = 0.0
        with contextlib.ExitStack() as opened:
            try:
                self._open(opened, receive_bytes)
            except OSError as error:
                raise StateError(
                    f"the kernel's routes cannot be read over netlink: {error.strerror or error}",
                    cure="give the routes in the operator file",
                ) from error
            self._opened = opened.pop_all()
        first = (change.route for change in self.fib.changes() if isinstance(change, SetRoute))
        left = tuple(self.fib.left_to_kernel())
        self.tables = RouterTables(routes=tuple(first), left=left)

    def _open(self, opened: contextlib.ExitStack, receive_bytes: int) -> None:
        self._events = opened.enter_context(open_socket(receive_bytes))
        self._asking = opened.enter_context(open_socket(RECEIVE_BYTES))
        self._transmitters = opened.enter_context(contextlib.closing(Transmitters()))
        self._sources = [self._events.fileno(), self._transmitters.fileno()]
        for group in _GROUPS:
            self._events.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._events.setblocking(False)
        for _ in range(START_TRIES):
            self._read_whole("start")
            if not self._lost:
                break

    def wait(self, timeout_s: float, *, also: int | None = None) -> list[Change]:
        """What changed, when it has been quiet for a moment; empty after ``timeout_s`` without.

        Returns early when the descriptor ``also`` is readable. Raises OSError when netlink fails.
        """
        sources = self._sources
        watched = sources if also is None else [*sources, also]
        if self._lost or self.fib.doubt:
            timeout_s = min(timeout_s, max(0.0, self._next_whole_s - time.monotonic()))
        ready = select.select(watched, [], [], timeout_s)[0]
        end_s = time.monotonic() + LONGEST_S
        while not set(ready).isdisjoint(sources):
            self._take_waiting(end_s)
            left_s = end_s - time.monotonic()
            ready = select.select(sources, [], [], min(QUIET_S, left_s))[0] if left_s > 0 else []
        return self._changes()

    def _changes(self) -> list[Change]:
        reason = self._lost or self.fib.doubt
        now_s = time.monotonic()
        if reason and not self._reason and not self._lost:  # what is known comes out first
            self._next_whole_s = max(self._next_whole_s, now_s + PAUSE_S)
        self._reason = reason
        if reason and now_s >= self._next_whole_s:
            self._read_whole(reason)
        changes = self.fib.changes()
        if changes:
            self.counts.batches += 1
            self.counts.changes += len(changes)
        return changes

    def _take_waiting(self, end_s: float = float("inf")) -> None:
        """Follow all messages that wait, or those until ``end_s``."""
        for index, able in self._transmitters.waiting():
            self.fib.take(Transmit(index, able))
        while time.monotonic() < end_s:
            datagram = self._receive()
            if datagram is None:
                return
            for message in messages(datagram):
                self.fib.take(message)
                self.counts.messages += 1

    def _receive(self) -> bytes | None:
        try:
            return self._events.recv(CHUNK_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            self._lost = "more messages came than the socket holds"
            self.counts.overflows += 1
            return b""

    def _read_whole(self, reason: str) -> None:
        """The whole state anew. Messages from before are in it; those that come meanwhile are
        followed afterwards, in their order."""
        began_s = time.monotonic()
        while self._receive() is not None:
            pass
        self._lost = ""
        found, whole = dump_all(self._asking)
        if not whole:
            self._lost = "the tables changed while they were read"
        able = [Transmit(*told) for told in self._transmitters.all()]
        self.fib.start_over([*found, *able])
        self._take_waiting()
        took_s = time.monotonic() - began_s
        self._next_whole_s = time.monotonic() + PAUSE_S + PAUSE_SHARE * took_s
        self._reason = ""
        self.counts.whole_reads += 1
        self.counts.last_reason = reason

    def close(self) -> None:
        """Unsubscribe."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Mirror:
    """A thread that calls ``deliver`` with batches of changes, in their order; what is left to the
    kernel comes last in one, when it has changed.

    ``tables`` is what they start from. When ``deliver`` raises an IridescentError or OSError, the
    thread ends: the tables of the router are not those of the kernel any more; ``check`` raises
    it. Raises StateError when the kernel refuses to tell its routes.
    """

    def __init__(self, rules: MirrorRules | None = None) -> None:
        self._feed = RouteFeed(rules)
        self.tables = self._feed.tables
        self._left = self.tables.left
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._stopping = False
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def follow(self, deliver: Deliver) -> None:
        """Start. ``deliver`` is called in the mirror's thread."""
        self._thread = threading.Thread(
            target=self._run, args=(deliver,), name="route-mirror", daemon=True
        )
        self._thread.start()

    def _run(self, deliver: Deliver) -> None:
        try:
            while not self._stopping:
                changes: list[News] = [*self._feed.wait(60, also=self._stop)]
                left = tuple(self._feed.fib.left_to_kernel())
                if left != self._left:
                    changes.append(LeftToKernel(reasons=left))
                if changes and not self._stopping:
                    deliver(changes)
                self._left = left
        except (IridescentError, OSError) as error:
            self._error = error

    def check(self) -> MirrorCounts:
        """What it did so far. Raises StateError when it does not follow the kernel any more."""
        running = self._thread is None or self._thread.is_alive()
        if self._error is not None or not running:
            raise StateError(
                f"the kernel's routes are not followed any more: {self._error or 'it was closed'}",
                cure="run 'iridescent run' again",
            ) from self._error
        return self._feed.counts

    def left_to_kernel(self) -> list[str]:
        """What the kernel forwards and the mirror leaves to it, and why; for people."""
        return list(self._left)

    def close(self) -> None:
        """End the thread."""
        self._stopping = True
        os.eventfd_write(self._stop, 1)
        if self._thread is not None:
            self._thread.join()
        os.close(self._stop)
        self._feed.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
