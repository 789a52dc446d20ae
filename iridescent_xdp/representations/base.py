# SPDX-License-Identifier: GPL-2.0-only
"""What a representation is: it turns a control-plane table into code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from iridescent_xdp.decision.ir_table import IrTable
from iridescent_xdp.decision.nodes import Decision, Field


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table to be compiled.

    ``function`` is the name of the C function that is generated; ``layout`` gives offset and size
    in bytes of its key's fields. ``entries`` and what a result means are the function's own
    (docs/representations.md lists them).
    """

    function: str
    layout: Mapping[Field, tuple[int, int]]
    entries: Any


class Representation(ABC):
    """One way to write tables as code: a value of the points that take it.

    ``name`` is what operators write; ``points`` are the SPEC_CUSTOM points that it is for, as
    ``template.point``. ``llvm_only`` says that ``build`` gives an IrTable, which bcc cannot
    compile.
    """

    name: ClassVar[str]
    points: ClassVar[frozenset[str]]
    llvm_only: ClassVar[bool] = False

    def infeasible(self, table: Table) -> str | None:  # noqa: ARG002 - for others to override
        """Why this table cannot be written so; None when it can. Must not take long."""
        return None

    @abstractmethod
    def build(self, table: Table) -> Decision | IrTable:
        """The code. It must give the same results as the template's own look-up, for every key:
        preflight compares both on packets, and refuses what differs."""
