# SPDX-License-Identifier: GPL-2.0-only
"""Making a variant live that won before: built from the cache, proven again, swapped in."""

from __future__ import annotations

import time

from iridescent_xdp.candidates import look_and_learn
from iridescent_xdp.controller import Controller
from iridescent_xdp.preflight import Preflight
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant


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
    if has_hot_keys(controller, variant):
        controller.begin_search()
        try:
            look_and_learn(controller)
        finally:
            controller.end_search()
    version = controller.plan.function.version
    if variant == controller.plan.generic:
        controller.swap(variant, b"", reason=reason, version=version, direct=False)
        return (time.perf_counter() - began) * 1000
    insns = controller.builder.variant(controller.plan.function, variant, Role.STEADY)
    preflight = controller.changes.proof.take() or _preflight(controller)
    try:
        preflight.check(insns, f"pf_{variant.key}")
    finally:
        controller.keep(preflight, version)
    controller.swap(variant, insns, reason=reason, version=version, direct=False)
    return (time.perf_counter() - began) * 1000


def _preflight(controller: Controller) -> Preflight:
    plan = controller.plan
    packets = plan.function.corpus((), plan.config.search.seed)
    return Preflight(controller.builder, plan.function, plan.generic, packets)
