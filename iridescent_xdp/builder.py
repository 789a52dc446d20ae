# SPDX-License-Identifier: GPL-2.0-only
"""Builds what a function needs: chooses the toolchain, compiles tables, uses the cache."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Literal

from iridescent_xdp.errors import MissingFeatureError, ToolchainError
from iridescent_xdp.functions.base import Function, Later
from iridescent_xdp.representations.registry import only_llvm
from iridescent_xdp.template import Template, find_template, read_template
from iridescent_xdp.toolchain import prebuilt
from iridescent_xdp.toolchain.base import Code, Request, Role, Toolchain
from iridescent_xdp.toolchain.cache import CachedToolchain
from iridescent_xdp.variant import Variant

ToolchainName = Literal["auto", "bcc", "llvm"]


def make_toolchain(name: str) -> Toolchain:
    """The toolchain called ``name``; "auto" prefers LLVM and says why when neither is there.

    LLVM needs clang, or a package that carries the bitcode of its templates; a template of one's
    own needs clang then, and is told so when it is built. Raises MissingFeatureError with the cure.
    """
    if name == "bcc":
        from iridescent_xdp.toolchain.bcc import BccToolchain

        return BccToolchain()
    from iridescent_xdp.toolchain.llvm import LlvmToolchain, find_clang

    try:
        find_clang()
        return LlvmToolchain()
    except MissingFeatureError:
        if prebuilt.inventory().fresh:
            return LlvmToolchain()
        if name == "llvm":
            raise
    return make_toolchain("bcc")


class Builder:
    """Compiles variants of functions and the small programs around them.

    From any thread, one after the other: bcc crashes when two threads compile.
    """

    _compiling = threading.Lock()  # of all builders of this process

    def __init__(self, toolchain: str = "auto", *, cached: bool = True) -> None:
        inner = make_toolchain(toolchain)
        self.toolchain: Toolchain = CachedToolchain(inner) if cached else inner

    def variant(self, function: Function, variant: Variant, role: Role) -> bytes:
        """Instructions of a variant.

        Raises ToolchainError, also when it is infeasible or its tables change meanwhile.
        """
        with function.lock:
            reason = self.infeasible(function, variant)
            if reason is not None:
                raise ToolchainError(f"not built: {reason}")
            compiled = function.compile_tables(variant)
            nodes = partial(_nodes, function, compiled.nodes, function.version)
        request = Request(
            template=function.template,
            variant=variant,
            role=role,
            tables=Later(nodes),
            tables_digest=compiled.digest,
        )
        with self._compiling:
            return self.toolchain.compile(request)

    def infeasible(self, function: Function, variant: Variant) -> str | None:
        """Why a variant cannot be built for these tables, or with this toolchain."""
        reason = function.infeasible(variant)
        if reason is None and self.toolchain.name != "llvm":
            reason = only_llvm(function.template, variant)
        return reason

    def helper(self, name: str, **points: int) -> tuple[Template, bytes]:
        """One of the programs around a function: root, dispatcher, observer, sensor, generator."""
        template = helper_template(name)
        variant = Variant.generic(template.points, points)
        request = Request(template=template, variant=variant, role=Role.STEADY)
        with self._compiling:
            return template, self.toolchain.compile(request)


def _nodes(function: Function, made: Mapping[str, Code], version: int) -> Mapping[str, Code]:
    """What is compiled in, if it was made of tables that did not change meanwhile: an object is
    kept under the digest that the tables had before."""
    try:
        nodes = dict(made)
    except RuntimeError:  # a dictionary that changed under the iteration
        if function.version == version:
            raise
        nodes = {}
    with function.lock:
        if function.version != version:
            raise ToolchainError("not built: the tables changed while they were compiled")
    return nodes


@lru_cache(maxsize=16)
def helper_template(name: str) -> Template:
    """The declarations of root, dispatcher, observer, sensor, generator or empty."""
    return read_template(find_template(name))
