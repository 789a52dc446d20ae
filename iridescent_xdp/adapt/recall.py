# SPDX-License-Identifier: GPL-2.0-only
"""Winners of before: found by the workload, built from the cache, proven again, swapped in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from iridescent_xdp.adapt.memory import Context, Memory, Remembered
from iridescent_xdp.adapt.signature import Signature
from iridescent_xdp.candidates import look_and_learn
from iridescent_xdp.controller import Controller
from iridescent_xdp.errors import PreflightError, StateError, ToolchainError, VerifierError
from iridescent_xdp.limits import Limits
from iridescent_xdp.live import TablesChangedError
from iridescent_xdp.preflight import Packet, Preflight
from iridescent_xdp.statistics import Effect
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant


class Winners:
    """A controller's memory, and the way from there to the interface. Without a file, or where it
    cannot be used (that is told), nothing is known and nothing is remembered."""

    def __init__(self, controller: Controller, limits: Limits, path: Path | None) -> None:
        self._controller = controller
        self._limits = limits
        self._tell = controller.events.tell
        self.memory: Memory | None = None
        if path is not None:
            try:
                self.memory = Memory(path, tell=self._tell)
            except StateError as error:
                self._tell("not_remembered", reason=str(error))

    @property
    def _context(self) -> Context:
        return Context.of(self._controller.plan)

    @property
    def any(self) -> bool:
        """Whether something is known for this code and these tables."""
        return self.memory is not None and self.memory.knows(self._context)

    def find(self, signature: Signature) -> Remembered | None:
        """The winner on this workload."""
        return self.memory.recall(signature, self._context) if self.memory is not None else None

    def remember(self, signature: Signature, variant: Variant, gain: Effect | None) -> None:
        """``variant`` won on this workload."""
        if self.memory is None:
            return
        try:
            self.memory.remember(signature, variant, gain, self._context)
        except StateError as error:
            self._tell("not_remembered", reason=str(error))
            return
        label = self._controller.plan.label(variant)
        self._tell("remembered", variant=label, packets=signature.packets)

    def forget(self, signature: Signature, variant: Variant) -> None:
        """It is not the best on this workload after all."""
        found = self.find(signature) if signature.packets else None
        if self.memory is not None and found is not None and found.variant == variant:
            self.memory.forget(found.number)

    def again(self, found: Remembered) -> float | None:
        """Make a winner live; milliseconds it took, None where that may not or cannot be.

        What cannot be made any more is forgotten.
        """
        held = self._held_back()
        if held is not None:
            label = self._controller.plan.label(found.variant)
            self._tell("held_back", variant=label, reason=held)
            return None
        took_ms = self.make_live(found.variant, "this workload was seen before")
        if took_ms is None and self.memory is not None:
            self.memory.forget(found.number)
        return took_ms

    def _held_back(self) -> str | None:
        if self._controller.plan.config.apply == "advice":
            return "advice only: nothing is swapped"
        return self._limits.allow_swap(time.time())

    def make_live(self, variant: Variant, reason: str) -> float | None:
        """Milliseconds it took; None when it cannot be made live, which is told."""
        try:
            took_ms = make_live(self._controller, variant, reason=reason)
        except (ToolchainError, VerifierError, PreflightError, TablesChangedError) as error:
            label = self._controller.plan.label(variant)
            self._tell("not_recalled", variant=label, reason=str(error))
            return None
        self._limits.note_swap(time.time())
        return took_ms

    def close(self) -> None:
        """Close the file."""
        if self.memory is not None:
            self.memory.close()


def has_hot_keys(controller: Controller, variant: Variant) -> bool:
    """Whether it compares packets with keys that were hot at some time."""
    generic = controller.plan.generic
    return any(name.startswith("hot_") and value != generic[name] for name, value in variant.values)


def make_live(controller: Controller, variant: Variant, *, reason: str) -> float:
    """Swap ``variant`` in after it was compared with generic; returns milliseconds that it took.

    Hot keys are learned anew first, which takes 0.3 s more. Raises ToolchainError, VerifierError,
    PreflightError, AttachError, and TablesChangedError when the tables changed meanwhile; what was
    live, or the generic code, stays then.
    """
    began = time.perf_counter()
    learnt = has_hot_keys(controller, variant)
    if learnt:
        controller.begin_search()
        try:
            look_and_learn(controller)
        finally:
            controller.end_search()
    version = controller.plan.function.version
    if variant == controller.plan.generic:
        controller.swap(variant, b"", reason=reason, version=version, direct=False)
        controller.settle_later()
        return (time.perf_counter() - began) * 1000
    insns = controller.builder.variant(controller.plan.function, variant, Role.STEADY)
    preflight = controller.changes.proof.take() or _preflight(controller)
    try:
        if learnt:  # what the generic code did there began with the flows that were hot before
            preflight.forget()
            preflight.expect(_packets(controller))
        preflight.check(insns, f"pf_{variant.key}")
    finally:
        controller.keep(preflight, version)
    controller.swap(variant, insns, reason=reason, version=version, direct=False)
    controller.settle_later()
    return (time.perf_counter() - began) * 1000


def _packets(controller: Controller) -> Sequence[Packet]:
    """What variants are compared on; those that are hot now are among them."""
    return controller.plan.function.corpus((), controller.plan.config.search.seed)


def _preflight(controller: Controller) -> Preflight:
    plan = controller.plan
    return Preflight(controller.builder, plan.function, plan.generic, _packets(controller))
