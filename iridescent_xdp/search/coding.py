# SPDX-License-Identifier: GPL-2.0-only
"""Variants as rows of numbers, for the model of gains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.search.space import Space
from iridescent_xdp.variant import Variant

ENUMERABLE = 20_000  # of a larger space
DRAWN = 4000  # variants are drawn

_Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class Coding:
    """Variants of a space as rows of small integers, a column per point; 0 is generic's value."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.names = tuple(space.axes)
        self.values = tuple(
            (space.generic[name], *(v for v in axis if v != space.generic[name]))
            for name, axis in space.axes.items()
        )
        self._allowed = tuple(
            np.array([code for code, value in enumerate(values) if value in space.axes[name]])
            for name, values in zip(self.names, self.values, strict=True)
        )

        self.owners = np.repeat(np.arange(len(self.values)), [len(v) - 1 for v in self.values])

    def encode(self, variants: Sequence[Variant]) -> Codes:
        """One row per variant of the space."""
        rows = [
            [values.index(value) for (_, value), values in zip(v.values, self.values, strict=True)]
            for v in variants
        ]
        return np.array(rows, dtype=np.int64).reshape(len(variants), len(self.names))

    def decode(self, row: Codes) -> Variant:
        """The variant of a row."""
        values = [values[int(code)] for code, values in zip(row, self.values, strict=True)]
        return Variant(tuple(zip(self.names, values, strict=True)))

    def indicator(self, rows: Codes) -> _Floats:
        """A column per deviation (point and value): 1 where the row has it."""
        columns = [
            rows[:, column] == code
            for column, values in enumerate(self.values)
            for code in range(1, len(values))
        ]
        return np.stack(columns, axis=1).astype(np.float64) if columns else np.zeros((len(rows), 0))

    def pool(self, rng: np.random.Generator) -> Codes:
        """The whole space, or DRAWN of its variants."""
        if self.space.size <= ENUMERABLE:
            grid = np.meshgrid(*self._allowed, indexing="ij")
            return np.stack([axis.ravel() for axis in grid], axis=1)
        drawn = [rng.choice(codes, DRAWN) for codes in self._allowed]
        return np.unique(np.stack(drawn, axis=1), axis=0)

    def neighbours(self, row: Codes) -> Codes:
        """Rows that differ from ``row`` in one column."""
        changed = []
        for column, codes in enumerate(self._allowed):
            for code in codes[codes != row[column]]:
                other = row.copy()
                other[column] = code
                changed.append(other)
        return np.array(changed, dtype=np.int64).reshape(len(changed), len(row))
