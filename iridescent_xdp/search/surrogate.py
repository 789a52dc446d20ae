# SPDX-License-Identifier: GPL-2.0-only
"""A model of all gains measured so far, that says where a better variant may be.

A Gaussian process (Rasmussen & Williams 2006, chapter 2) over deviations from the generic variant,
whose gain is 0 by definition. The gain of a variant is the sum of what each deviation gives, what
each pair of them gives besides, and a rest that only this variant has (the same code at another
address is not equally fast). How large these three are is chosen by the likelihood of what was
measured, so that a space without interactions is learnt from few trials.

Candidates are chosen by expected improvement, a batch at a time: after each choice the model
believes its own prediction (Ginsbourger, Le Riche & Carraro 2010). It only suggests what to
measure; nothing is decided by it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.search.space import Space
from iridescent_xdp.statistics import CONFIDENCE, Effect
from iridescent_xdp.variant import Variant

ENUMERABLE = 20_000  # of a larger space
DRAWN = 4000  # variants are drawn
MODELLED = 160  # measured variants at most: half of them are the best, half the latest
HOPEFUL = 500  # of a pool remain after the first look at all of it
CLIMBERS = 3  # so many of the drawn climb on
CLIMBS = 40  # steps at most
_SCALES = (0.1, 0.3, 1.0, 3.0)  # variance of a deviation's gain, of that expected at first
_PAIRS = (0.01, 0.05, 0.2, 0.6)  # variance of a pair's gain, of a deviation's
_RESTS = (0.002, 0.02)  # variance of a variant's own rest, of a deviation's gain
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

_Floats = NDArray[np.float64]
_Codes = NDArray[np.int64]


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

    def encode(self, variants: Sequence[Variant]) -> _Codes:
        """One row per variant of the space."""
        rows = [
            [values.index(value) for (_, value), values in zip(v.values, self.values, strict=True)]
            for v in variants
        ]
        return np.array(rows, dtype=np.int64).reshape(len(variants), len(self.names))

    def decode(self, row: _Codes) -> Variant:
        """The variant of a row."""
        values = [values[int(code)] for code, values in zip(row, self.values, strict=True)]
        return Variant(tuple(zip(self.names, values, strict=True)))

    def indicator(self, rows: _Codes) -> _Floats:
        """A column per deviation (point and value): 1 where the row has it."""
        columns = [
            rows[:, column] == code
            for column, values in enumerate(self.values)
            for code in range(1, len(values))
        ]
        return np.stack(columns, axis=1).astype(np.float64) if columns else np.zeros((len(rows), 0))

    def pool(self, rng: np.random.Generator) -> _Codes:
        """The whole space, or DRAWN of its variants."""
        if self.space.size <= ENUMERABLE:
            grid = np.meshgrid(*self._allowed, indexing="ij")
            return np.stack([axis.ravel() for axis in grid], axis=1)
        drawn = [rng.choice(codes, DRAWN) for codes in self._allowed]
        return np.unique(np.stack(drawn, axis=1), axis=0)

    def neighbours(self, row: _Codes) -> _Codes:
        """Rows that differ from ``row`` in one column."""
        changed = []
        for column, codes in enumerate(self._allowed):
            for code in codes[codes != row[column]]:
                other = row.copy()
                other[column] = code
                changed.append(other)
        return np.array(changed, dtype=np.int64).reshape(len(changed), len(row))


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Variances in ns²: of one deviation's gain, of a pair's, of a variant's own rest."""

    single: float
    pair: float
    rest: float


def _covariance(one: _Floats, other: _Floats, scales: Scales) -> _Floats:
    """Prior covariance of the gains of variants that are given by their indicators."""
    shared = one @ other.T
    mine, theirs = one.sum(axis=1)[:, None], other.sum(axis=1)[None, :]
    same = (shared == mine) & (shared == theirs) & (mine > 0)
    covariance: _Floats = scales.single * shared + scales.pair * shared * (shared - 1) / 2
    covariance += scales.rest * same
    return covariance


class Surrogate:
    """The model of ``known`` gains. Where an interval is narrow, what was measured is believed."""

    def __init__(self, coding: Coding, known: Mapping[Variant, Effect]) -> None:
        measured = {v: e for v, e in known.items() if v != coding.space.generic}
        self.coding = coding
        self._seen = coding.indicator(coding.encode(list(measured)))
        self.gains = np.array([effect.value for effect in measured.values()])
        halves = np.array([effect.half_width for effect in measured.values()])
        deviations = np.maximum(1, self._seen.sum(axis=1))
        spread = float(np.mean(self.gains**2 / deviations)) if measured else 1.0
        self._jitter = max(1e-12, 1e-6 * spread)
        self.errors = (halves / _Z) ** 2 + self._jitter
        self.scales = self._likeliest(max(spread, 1e-9))
        self._refit()

    def _likeliest(self, spread: float) -> Scales:
        grid = [
            Scales(single=s * spread, pair=p * s * spread, rest=r * s * spread)
            for s, p, r in itertools.product(_SCALES, _PAIRS, _RESTS)
        ]
        return max(grid, key=self._log_likelihood) if len(self._seen) else grid[0]

    def _log_likelihood(self, scales: Scales) -> float:
        covariance = _covariance(self._seen, self._seen, scales) + np.diag(self.errors)
        lower = np.linalg.cholesky(covariance)
        scaled = np.linalg.solve(lower, self.gains)
        return float(-0.5 * scaled @ scaled - np.log(np.diag(lower)).sum())

    def _refit(self) -> None:
        covariance = _covariance(self._seen, self._seen, self.scales) + np.diag(self.errors)
        self._inverse = np.linalg.inv(covariance)
        self._weights = self._inverse @ self.gains

    def predict(self, rows: _Codes) -> tuple[_Floats, _Floats]:
        """Expected gain and its standard deviation, in ns, of each row."""
        return self._predicted(self.coding.indicator(rows))

    def _predicted(self, wanted: _Floats) -> tuple[_Floats, _Floats]:
        shared = _covariance(wanted, self._seen, self.scales)
        count = wanted.sum(axis=1)
        prior = self.scales.single * count + self.scales.pair * count * (count - 1) / 2
        prior = prior + self.scales.rest * (count > 0)
        variance = prior - ((shared @ self._inverse) * shared).sum(axis=1)
        return shared @ self._weights, np.sqrt(np.maximum(variance, 0.0))

    def believe(self, row: _Codes) -> None:
        """Take the prediction of ``row`` as if it had been measured."""
        wanted = self.coding.indicator(row[None, :])
        mean, _ = self._predicted(wanted)
        self._seen = np.vstack([self._seen, wanted])
        self.gains = np.append(self.gains, mean)
        self.errors = np.append(self.errors, self._jitter)
        self._refit()

    def best(self) -> float:
        """The largest gain in ns that it believes among what was measured, generic included."""
        if not len(self._seen):
            return 0.0
        return max(0.0, float(self._predicted(self._seen)[0].max()))

    def improvement(self, rows: _Codes, best: float) -> _Floats:
        """How much better than ``best`` each row is expected to be, in ns (0 where it is not)."""
        from scipy.special import ndtr  # slow to import

        mean, deviation = self.predict(rows)
        safe = np.maximum(deviation, 1e-12)
        z = (mean - best) / safe
        density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        improved: _Floats = safe * (z * ndtr(z) + density)
        return improved


def suggest(
    space: Space,
    known: Mapping[Variant, Effect],
    count: int,
    *,
    seed: int | Sequence[int] = 0,
    least_ns: float = 0.0,
    barred: Sequence[Variant] = (),
) -> list[Variant]:
    """At most ``count`` unmeasured variants that may be better than all of ``known``, best first.

    Those whose expected improvement is below ``least_ns`` are left out, and so are ``barred``.
    Nothing known gives no suggestion.
    """
    if not known:
        return []
    coding = Coding(space)
    model = Surrogate(coding, _most_telling(known))
    pool = coding.pool(np.random.default_rng(seed))
    taken = {*known, *barred, space.generic}
    chosen: list[Variant] = []
    best = model.best()
    pool = pool[np.argsort(-model.improvement(pool, best), kind="stable")[:HOPEFUL]]
    while len(chosen) < count:
        found = _most_promising(model, pool, best, taken)
        if found is None or found[1] < least_ns:
            break
        variant = coding.decode(found[0])
        chosen.append(variant)
        taken.add(variant)
        model.believe(found[0])
    return chosen


def _most_telling(known: Mapping[Variant, Effect]) -> dict[Variant, Effect]:
    """At most MODELLED of what is known, so that a long search does not think longer and longer."""
    best = sorted(known, key=lambda variant: -known[variant].value)[: MODELLED // 2]
    others = [variant for variant in known if variant not in set(best)]
    kept = {*best, *others[max(0, len(others) - MODELLED // 2) :]}
    return {variant: effect for variant, effect in known.items() if variant in kept}


def _most_promising(
    model: Surrogate, pool: _Codes, best: float, taken: set[Variant]
) -> tuple[_Codes, float] | None:
    """The open row with the largest expected improvement; from a drawn pool it climbs on."""
    coding = model.coding
    values = model.improvement(pool, best)
    order = np.argsort(-values, kind="stable")
    fresh = (i for i in order if coding.decode(pool[i]) not in taken)
    starts = [(pool[i], float(values[i])) for i in itertools.islice(fresh, CLIMBERS)]
    if coding.space.size > ENUMERABLE:
        starts = [_climb(model, row, value, best, taken) for row, value in starts]
    return max(starts, key=lambda found: found[1], default=None)


def _climb(
    model: Surrogate, row: _Codes, value: float, best: float, taken: set[Variant]
) -> tuple[_Codes, float]:
    """Steps of one point from ``row`` while the expected improvement grows."""
    for _ in range(CLIMBS):
        around = model.coding.neighbours(row)
        values = model.improvement(around, best)
        order = np.argsort(-values, kind="stable")
        up = (i for i in order if model.coding.decode(around[i]) not in taken)
        step = next(up, None)
        if step is None or values[step] <= value:
            break
        row, value = around[step], float(values[step])
    return row, value
