# SPDX-License-Identifier: GPL-2.0-only
"""The router where its routes are the kernel's: mirrored, followed, and the kernel itself asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from iridescent_xdp.functions.router_asking import (
    forwarding_families,
    ingress_index,
    namespace,
    why_not,
)
from iridescent_xdp.functions.router_live import LiveRoutes, changes_between
from iridescent_xdp.functions.router_mirror import Mirror, snapshot
from iridescent_xdp.functions.router_tables import LeftToKernel, Route
from iridescent_xdp.functions.router_verdicts import MirrorRules
from iridescent_xdp.kernel.features import Feature, has
from iridescent_xdp.state import State
from iridescent_xdp.template import Template

Apply = Callable[[Sequence[object]], None]


class MirroredRoutes(LiveRoutes):
    """With routes of the operator file it does nothing beside LiveRoutes."""

    def __init__(self, template: Template, tables: object = None) -> None:
        super().__init__(template, tables)
        self._left: tuple[str, ...] = ()  # what the kernel forwards and the mirror does not
        self._inode = 0  # of the network namespace that the routes are of
        self._families: tuple[str, frozenset[int]] = "", frozenset()  # by digest of the routes

    def _first_routes(self) -> Sequence[Route]:
        if not self._given.from_kernel:
            return super()._first_routes()
        tables = snapshot(self._rules())
        self._left, self._inode = tables.left, namespace()
        return tables.routes

    def _rules(self) -> MirrorRules:
        return MirrorRules(ingress=self._given.ingress)

    # -- changes ---------------------------------------------------------------------------

    def apply(self, state: State, changes: Sequence[object]) -> None:
        """SetRoute, DeleteRoute and LeftToKernel; see LiveRoutes."""
        super().apply(state, changes)
        for change in changes:
            if isinstance(change, LeftToKernel):
                self._left = change.reasons

    def follow(self, apply: Apply) -> AbstractContextManager[object] | None:
        """The kernel's routes, when that is where they come from."""
        return self._mirrored(apply) if self._given.from_kernel else None

    @contextlib.contextmanager
    def _mirrored(self, apply: Apply) -> Iterator[Mirror]:
        with Mirror(self._rules()) as mirror:
            missed: list[object] = [*changes_between(self._known(), mirror.tables.routes)]
            if mirror.tables.left != self._left:
                missed.append(LeftToKernel(reasons=mirror.tables.left))
            if missed:
                apply(missed)
            mirror.follow(apply)
            yield mirror

    def notes(self) -> Sequence[str]:
        """What the kernel forwards and its mirror leaves to it."""
        return self._left

    # -- the kernel's own look-up ------------------------------------------------------------

    def fill(self, state: State) -> None:
        """See LiveRoutes; and the hops of the kernel's answers."""
        super().fill(state)
        self._write_answers(state)

    def settle_tables(self, state: State) -> None:
        """See LiveRoutes; and the hops of the kernel's answers."""
        super().settle_tables(state)
        self._write_answers(state)

    def _write_answers(self, state: State) -> None:
        """Which hop is meant by what the kernel's look-up says; none while that may be another
        than that of the routes."""
        sure = self._given.from_kernel and not self._left
        held, answers = state["fib_hops"], self._hops.answers() if sure else {}
        for key in set(held.keys()) - answers.keys():
            held.delete(key)
        for key, number in answers.items():
            held.write(key, number)

    def ingress(self) -> int:
        """The interface that the kernel is asked by, when its routes are followed."""
        if not self._given.from_kernel or not has(Feature.FIB_LOOKUP):
            return 0
        self._known()
        return ingress_index(self._given.ingress, self._inode)

    def _why_not_asked(self) -> str | None:
        """Why the kernel's look-up is not what the routes say; None when it is."""
        if not self._given.from_kernel:
            return 'the kernel does not have these routes; routes = "kernel" follows its own'
        known = self._known()
        if self._families[0] != self._digest:
            self._families = self._digest, forwarding_families(known.values())
        return why_not(self._given.ingress, self._inode, self._left, self._families[1])
