# SPDX-License-Identifier: GPL-2.0-only
"""What a variant and the generic one became: instructions, and with root the kernel's own sizes."""

from __future__ import annotations

import contextlib
from typing import Any

from iridescent_xdp.builder import Builder
from iridescent_xdp.kernel.features import Feature, has
from iridescent_xdp.plan import Plan
from iridescent_xdp.state import State
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant

Sizes = dict[str, int]


def code_sizes(builder: Builder, plan: Plan, variant: Variant) -> dict[str, Any]:
    """Sizes of the steady builds. Raises ToolchainError and VerifierError.

    ``instructions`` are those of the object, ``xlated_bytes`` after the verifier rewrote them,
    ``jited_bytes`` as machine code.
    """
    programs = {
        "generic": builder.variant(plan.function, plan.generic, Role.STEADY),
        "variant": builder.variant(plan.function, variant, Role.STEADY),
    }
    sizes = {
        name: {"instructions": len(insns) // 8, "bytes": len(insns)}
        for name, insns in programs.items()
    }
    if has(Feature.PRIVILEGE):
        for name, loaded in _loaded(plan, programs).items():
            sizes[name] |= loaded
    return {"toolchain": builder.toolchain.name, **sizes}


def _loaded(plan: Plan, programs: dict[str, bytes]) -> dict[str, Sizes]:
    """Load both on maps that are given back at once."""
    found: dict[str, Sizes] = {}
    with contextlib.closing(State.create(plan.template)) as state:
        plan.function.fill(state)
        for name, insns in programs.items():
            with state.load(insns, f"explain_{name}") as program:
                found[name] = {
                    "xlated_bytes": program.info.xlated_bytes,
                    "jited_bytes": program.info.jited_bytes,
                    "verified_instructions": program.info.verified_insns,
                }
    return found
