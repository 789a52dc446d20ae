# SPDX-License-Identifier: GPL-2.0-only
"""How a table is written as code: one Python file for each way. See docs/representations.md.

What a file needs stands here; everything else in this package is the package's own business.
"""

from __future__ import annotations

from iridescent_xdp.decision.clauses import Clause, all_of, chain_of
from iridescent_xdp.decision.ir_table import IrTable, KeyReader, ir_table
from iridescent_xdp.decision.nodes import Field, If, InRange, Least, Masked, Node, Result
from iridescent_xdp.decision.prefixes import exact_keys, longest_prefix
from iridescent_xdp.representations.base import Representation, Table

__all__ = [
    "Clause",
    "Field",
    "If",
    "InRange",
    "IrTable",
    "KeyReader",
    "Least",
    "Masked",
    "Node",
    "Representation",
    "Result",
    "Table",
    "all_of",
    "chain_of",
    "exact_keys",
    "ir_table",
    "longest_prefix",
]
