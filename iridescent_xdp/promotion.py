# SPDX-License-Identifier: GPL-2.0-only
"""The best so far goes live while a search goes on.

Between two trials packets meet what is live; without this that would be the generic code for most
of a search. What is promoted is ahead beyond doubt, and the search's end confirms it, replaces it,
or takes it back.
"""

from __future__ import annotations

from iridescent_xdp.arms import Workshop
from iridescent_xdp.controller import Controller
from iridescent_xdp.errors import PreflightError, ToolchainError, VerifierError
from iridescent_xdp.live import TablesChangedError
from iridescent_xdp.search.policy import Policy
from iridescent_xdp.statistics import MINIMAL_GAIN


class Promotion:
    """Of one search; nothing is promoted in advice mode, under a limit of swaps, or when something
    else than time per packet is to be made better."""

    def __init__(self, controller: Controller, workshop: Workshop) -> None:
        config = controller.plan.config
        self._controller = controller
        self._workshop = workshop
        self._allowed = (
            config.objective.kind == "time_per_packet"
            and config.apply == "winner"
            and config.limits.swaps_per_minute is None
            and not config.limits.quiet_hours
        )
        self.done = False

    def consider(self, policy: Policy, generic_ns: float) -> None:
        """Make the best variant live if it gains so much more than what is live."""
        ranking = policy.ranking()
        if not self._allowed or not ranking:
            return
        (best, gain), controller = ranking[0], self._controller
        live = policy.effect(controller.live_variant)
        ahead_ns = gain.low - (live.value if live is not None else 0.0)
        if best == controller.live_variant or ahead_ns <= MINIMAL_GAIN * generic_ns:
            return
        try:
            insns = self._workshop.steady(best)
            controller.swap(best, insns, reason="best so far", gain=gain, direct=False)
        except (TablesChangedError, ToolchainError, VerifierError, PreflightError) as error:
            controller.events.tell("not_promoted", reason=str(error))
        else:
            self.done = True

    def undo(self, reason: str) -> None:
        """Nothing is better than generic after all. Raises AttachError and TablesChangedError."""
        if self.done:
            generic = self._controller.plan.generic
            self._controller.swap(generic, b"", reason=reason, direct=False)
