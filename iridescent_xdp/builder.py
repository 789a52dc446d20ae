# SPDX-License-Identifier: GPL-2.0-only
"""Builds what a function needs: chooses the toolchain, compiles tables, uses the cache."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from iridescent_xdp.errors import MissingFeatureError, ToolchainError
from iridescent_xdp.functions.base import Function
from iridescent_xdp.template import Template, find_template, read_template
from iridescent_xdp.toolchain.base import Request, Role, Toolchain
from iridescent_xdp.toolchain.cache import CachedToolchain
from iridescent_xdp.variant import Variant

ToolchainName = Literal["auto", "bcc", "llvm"]


def make_toolchain(name: str) -> Toolchain:
    """The toolchain called ``name``; "auto" prefers LLVM and says why when neither is there.

    Raises MissingFeatureError with the cure.
    """
    if name == "bcc":
        from iridescent_xdp.toolchain.bcc import BccToolchain

        return BccToolchain()
    from iridescent_xdp.toolchain.llvm import LlvmToolchain, find_clang

    try:
        find_clang()
        return LlvmToolchain()
    except MissingFeatureError:
        if name == "llvm":
            raise
    return make_toolchain("bcc")


class Builder:
    """Compiles variants of functions and the small programs around them."""

    def __init__(self, toolchain: str = "auto", *, cached: bool = True) -> None:
        inner = make_toolchain(toolchain)
        self.toolchain: Toolchain = CachedToolchain(inner) if cached else inner

    def variant(self, function: Function, variant: Variant, role: Role) -> bytes:
        """Instructions of a variant. Raises ToolchainError, also when it is infeasible."""
        reason = function.infeasible(variant)
        if reason is not None:
            raise ToolchainError(f"not built: {reason}")
        compiled = function.compile_tables(variant)
        request = Request(
            template=function.template,
            variant=variant,
            role=role,
            tables=compiled.nodes,
            tables_digest=compiled.digest,
        )
        return self.toolchain.compile(request)

    def helper(self, name: str, **points: int) -> tuple[Template, bytes]:
        """One of the programs around a function: root, dispatcher, observer, generator."""
        template = helper_template(name)
        variant = Variant.generic(template.points, points)
        request = Request(template=template, variant=variant, role=Role.STEADY)
        return template, self.toolchain.compile(request)


@lru_cache(maxsize=16)
def helper_template(name: str) -> Template:
    """The declarations of root, dispatcher, observer, generator or empty."""
    return read_template(find_template(name))
