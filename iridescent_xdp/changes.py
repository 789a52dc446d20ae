# SPDX-License-Identifier: GPL-2.0-only
"""Changes of control-plane tables while specialized code is live.

The order is what makes them safe: first the code goes back to the generic one, then a grace period
passes until no CPU runs what was there before, then the tables change, and a new specialization
comes in the background. While the generic code is live anyway, changes are applied at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from iridescent_xdp.live import LiveCode
from iridescent_xdp.proof import Proof
from iridescent_xdp.variant import Variant

PROBED = 1024  # different changes that the next preflight looks at one by one


@dataclass(kw_only=True)
class Burst:
    """Changes that were not told about yet."""

    calls: int = 0
    changes: int = 0
    refused: int = 0
    longest_us: float = 0.0
    total_us: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def add(self, changes: int, took_us: float) -> None:
        """One batch that was applied."""
        if not self.calls:
            self.began = time.monotonic() - took_us / 1e6
        self.calls += 1
        self.changes += changes
        self.longest_us = max(self.longest_us, took_us)
        self.total_us += took_us


class TableChanges:
    """Applies changes to one controller's tables, from any thread, also during a search."""

    def __init__(self, live: LiveCode) -> None:
        self._live = live
        self.proof = Proof(live)
        self.last = time.monotonic()  # when a batch was applied
        self.count = 0  # batches applied so far
        self.unsettled = False  # what only specialized variants read is out of date
        self.since: dict[object, None] | None = {}  # the last specialization; None: too many
        self._burst = Burst()

    def apply(self, changes: Sequence[object]) -> None:
        """Returns when every packet that comes from now on meets the changed tables.

        Raises ConfigError when one of ``changes`` is wrong: nothing is changed then. Raises
        ToolchainError and VerifierError when the generic code has to be another one and cannot be
        made, AttachError when somebody else has changed the interface.
        """
        if not changes:
            return
        began = time.perf_counter()
        live, function = self._live, self._live.plan.function
        with live.lock:
            self._burst.refused += 1  # until it is done
            with function.lock:
                policy = function.policy_for(changes)
            self._make_way(policy)
            live.wait_for_others()
            with function.lock:
                function.version += 1
                self.unsettled = True
                function.apply(self.proof.journaled(live.state), changes)
            self._burst.refused -= 1
            self._burst.add(len(changes), (time.perf_counter() - began) * 1e6)
            self._note(changes)

    def _make_way(self, policy: dict[str, int]) -> None:
        """The generic code live, and one that works before and after the change."""
        live, was = self._live, self._live.live_variant
        generic = live.plan.generic
        renewed = any(generic[name] != value for name, value in policy.items())
        if renewed:
            live.renew_generic(policy)
        with live.plan.function.lock:
            compiled = live.plan.function.compiled_from_tables(was)
        if live.retreated or not (renewed or compiled or live.searching):
            return
        if was != generic:
            live.given_up = was
        reason = "its tables change" if compiled else "a search is on"
        self._retreat(was, reason if compiled or live.searching else "the policy changes")

    def _retreat(self, was: Variant, reason: str) -> None:
        live = self._live
        swap_us, grace_ms = live.retreat()
        live.events.tell(
            "retreat",
            variant=live.plan.label(was),
            swap_us=swap_us,
            grace_ms=grace_ms,
            searching=live.searching,
            reason=reason,
        )

    def _note(self, changes: Sequence[object]) -> None:
        self.last = time.monotonic()
        self.count += 1
        if self.since is not None:
            self.since.update(dict.fromkeys(changes))
            if len(self.since) > PROBED:
                self.since = None

    def settle(self) -> None:
        """What only specialized variants read is up to date. Only while none of them is live."""
        live, function = self._live, self._live.plan.function
        with live.lock:
            if not self.unsettled:
                return
            live.wait_for_others()
            with function.lock:
                function.settle_tables(self.proof.journaled(live.state))
                self.unsettled = False

    def tell(self) -> None:
        """One event for all changes since the last one, and what the function says about them."""
        self._live.tell_notes()
        with self._live.lock:
            burst, self._burst = self._burst, Burst()
            if not burst.calls and not burst.refused:
                return
            self._live.events.tell(
                "tables_changed",
                changes=burst.changes,
                batches=burst.calls,
                refused=burst.refused,
                seconds=time.monotonic() - burst.began,
                mean_us=burst.total_us / max(1, burst.calls),
                longest_us=burst.longest_us,
                live=self._live.plan.label(self._live.live_variant),
                reason="the control plane changed them",
            )
