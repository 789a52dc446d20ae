# SPDX-License-Identifier: GPL-2.0-only
"""Guesses which unmeasured variants are good, from those that were measured.

An additive model (each point's value adds its gain) with the few pairs of values that explain
most of the rest, picked one after the other (orthogonal matching pursuit). It only suggests what
to measure; nothing is decided by it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.search.space import Space
from iridescent_xdp.variant import Variant

PAIRS = 3  # interactions looked for
ENUMERABLE = 20_000  # of a larger space so many variants are drawn
_RIDGE = 1e-3

_Floats = NDArray[np.float64]


def promising(
    space: Space, known: Mapping[Variant, float], count: int, seed: int = 0
) -> list[Variant]:
    """The ``count`` unmeasured variants with the largest predicted gain, best first.

    ``known`` are measured gains; fewer than two give no suggestion.
    """
    open_variants = [v for v in _pool(space, seed) if v not in known]
    if len(known) <= 1 or not open_variants:
        return []
    seen, wanted = _columns(space, known), _columns(space, open_variants)
    gains = np.array(list(known.values()))
    pairs: list[tuple[int, int]] = []
    for _ in range(PAIRS):
        weights = _fit(_with(seen, pairs), gains)
        rest = gains - _with(seen, pairs) @ weights
        pairs.append(_best_pair(seen, rest))
    guesses = _with(wanted, pairs) @ _fit(_with(seen, pairs), gains)
    order = np.argsort(-guesses, kind="stable")[:count]
    return [open_variants[int(i)] for i in order]


def _pool(space: Space, seed: int) -> Iterable[Variant]:
    if space.size <= ENUMERABLE:
        return space
    return space.sample(ENUMERABLE, np.random.default_rng(seed))


def _columns(space: Space, variants: Iterable[Variant]) -> _Floats:
    """A row per variant: 1, then for each value of each point whether the variant has it."""
    values = np.array([[value for _, value in variant.values] for variant in variants])
    columns = [np.ones(len(values))]
    for place, (name, axis) in enumerate(space.axes.items()):
        others = [value for value in axis if value != space.generic[name]]
        columns.extend((values[:, place] == value).astype(np.float64) for value in others)
    return np.stack(columns, axis=1)


def _with(columns: _Floats, pairs: Iterable[tuple[int, int]]) -> _Floats:
    products = [columns[:, i] * columns[:, j] for i, j in pairs]
    return np.column_stack([columns, *products])


def _fit(columns: _Floats, gains: _Floats) -> _Floats:
    square = columns.T @ columns + _RIDGE * np.eye(columns.shape[1])
    weights: _Floats = np.linalg.solve(square, columns.T @ gains).astype(np.float64)
    return weights


def _best_pair(columns: _Floats, rest: _Floats) -> tuple[int, int]:
    """The two values whose coming together explains most of what is left."""
    best, score = (0, 0), 0.0
    for i, j in itertools.combinations(range(1, columns.shape[1]), 2):
        product = columns[:, i] * columns[:, j]
        explained = (product @ rest) ** 2 / max(1.0, product.sum())
        if explained > score:
            best, score = (i, j), float(explained)
    return best
