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
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.search.coding import ENUMERABLE, Codes, Coding
from iridescent_xdp.search.space import Space
from iridescent_xdp.statistics import CONFIDENCE, Effect
from iridescent_xdp.variant import Variant

MODELLED = 160  # measured variants at most: half of them are the best, half the latest
HOPEFUL = 500  # of a pool remain after the first look at all of it
CLIMBERS = 3  # so many of the drawn climb on
CLIMBS = 40  # steps at most
_SCALES = (0.1, 0.3, 1.0, 3.0)  # variance of a deviation's gain, of that expected at first
_PAIRS = (0.01, 0.05, 0.2, 0.6)  # variance of a pair's gain, of a deviation's
_RESTS = (0.002, 0.02)  # variance of a variant's own rest, of a deviation's gain
REWEIGHTS = 2
_WEIGHTS = (0.05, 20.0)
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Variances in ns²: of one deviation's gain, of a pair's, of a variant's own rest.

    ``weights`` (one per deviation, 1 on average) say which matter: a deviation's variance grows
    with its weight, a pair's with both weights, because what is strong interacts strongly.
    """

    single: float
    pair: float
    rest: float
    weights: _Floats

    def covariance(self, one: _Floats, other: _Floats) -> _Floats:
        """Prior covariance of the gains of variants that are given by their indicators."""
        common = one @ other.T
        mine, theirs = one.sum(axis=1)[:, None], other.sum(axis=1)[None, :]
        same = (common == mine) & (common == theirs) & (mine > 0)
        shared = (one * self.weights) @ other.T
        squares = (one * self.weights**2) @ other.T
        covariance: _Floats = self.single * shared + self.pair * (shared**2 - squares) / 2
        covariance += self.rest * same
        return covariance

    def variance(self, rows: _Floats) -> _Floats:
        """Prior variance of each row's gain."""
        shared, squares = rows @ self.weights, rows @ self.weights**2
        variance: _Floats = self.single * shared + self.pair * (shared**2 - squares) / 2
        variance += self.rest * (rows.sum(axis=1) > 0)
        return variance


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
        self._spread = max(spread, 1e-9)
        self._jitter = max(1e-12, 1e-6 * spread)
        self.errors = (halves / _Z) ** 2 + self._jitter
        self.scales = self._likeliest(np.ones(self._seen.shape[1]))
        self._refit()
        for _ in range(REWEIGHTS if measured else 0):
            self._reweight()

    def _likeliest(self, weights: _Floats) -> Scales:
        grid = [
            Scales(
                single=s * self._spread,
                pair=p * s * self._spread,
                rest=r * s * self._spread,
                weights=weights,
            )
            for s, p, r in itertools.product(_SCALES, _PAIRS, _RESTS)
        ]
        if not len(self._seen):
            return grid[0]
        parts = [
            Scales(single=s, pair=p, rest=r, weights=weights).covariance(self._seen, self._seen)
            for s, p, r in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
        ]
        return max(
            grid,
            key=lambda g: self._log_likelihood(
                g.single * parts[0] + g.pair * parts[1] + g.rest * parts[2]
            ),
        )

    def _reweight(self) -> None:
        """A point's deviations weigh as much as its gains are large, if that is likelier."""
        mean, deviation = self._predicted(np.eye(self._seen.shape[1]))
        power = (mean**2 + deviation**2) / self.scales.single
        owners = self.coding.owners
        strength = np.array([power[owners == owner].mean() for owner in owners])
        weights = np.clip(strength / strength.mean(), *_WEIGHTS)
        scales = self._likeliest(weights / weights.mean())
        before, after = (
            self._log_likelihood(found.covariance(self._seen, self._seen))
            for found in (self.scales, scales)
        )
        if after > before:
            self.scales = scales
            self._refit()

    def _log_likelihood(self, prior: _Floats) -> float:
        lower = np.linalg.cholesky(prior + np.diag(self.errors))
        scaled = np.linalg.solve(lower, self.gains)
        return float(-0.5 * scaled @ scaled - np.log(np.diag(lower)).sum())

    def _refit(self) -> None:
        covariance = self.scales.covariance(self._seen, self._seen) + np.diag(self.errors)
        self._inverse = np.linalg.inv(covariance)
        self._weights = self._inverse @ self.gains

    def predict(self, rows: Codes) -> tuple[_Floats, _Floats]:
        """Expected gain and its standard deviation, in ns, of each row."""
        return self._predicted(self.coding.indicator(rows))

    def lasting(self, rows: Codes) -> _Floats:
        """Expected gain in ns of each row without its own rest: what it should gain once it is
        loaded again, at another address."""
        lasting = replace(self.scales, rest=0.0)
        covariance = lasting.covariance(self.coding.indicator(rows), self._seen)
        gains: _Floats = covariance @ self._weights
        return gains

    def _predicted(self, wanted: _Floats) -> tuple[_Floats, _Floats]:
        shared = self.scales.covariance(wanted, self._seen)
        variance = self.scales.variance(wanted) - ((shared @ self._inverse) * shared).sum(axis=1)
        return shared @ self._weights, np.sqrt(np.maximum(variance, 0.0))

    def believe(self, row: Codes) -> None:
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

    def improvement(self, rows: Codes, best: float) -> _Floats:
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


def lasting_gains(
    space: Space, known: Mapping[Variant, Effect], arms: Sequence[Variant]
) -> dict[Variant, float]:
    """Expected gain in ns of each of ``arms`` once it is loaded again."""
    coding = Coding(space)
    gains = Surrogate(coding, _most_telling(known)).lasting(coding.encode(arms))
    return {arm: float(gain) for arm, gain in zip(arms, gains, strict=True)}


def most_lasting(
    space: Space, known: Mapping[Variant, Effect], count: int, *, seed: int = 0
) -> list[Variant]:
    """Variants, measured or not, with the largest expected gains once they are loaded again."""
    coding = Coding(space)
    model = Surrogate(coding, _most_telling(known))
    pool = coding.pool(np.random.default_rng(seed))
    pool = np.unique(np.concatenate([pool, coding.encode(list(known))]), axis=0)
    gains = model.lasting(pool)
    return [coding.decode(pool[i]) for i in np.argsort(-gains, kind="stable")[:count]]


def _most_telling(known: Mapping[Variant, Effect]) -> dict[Variant, Effect]:
    """At most MODELLED of what is known, so that a long search does not think longer and longer."""
    best = sorted(known, key=lambda variant: -known[variant].value)[: MODELLED // 2]
    others = [variant for variant in known if variant not in set(best)]
    kept = {*best, *others[max(0, len(others) - MODELLED // 2) :]}
    return {variant: effect for variant, effect in known.items() if variant in kept}


def _most_promising(
    model: Surrogate, pool: Codes, best: float, taken: set[Variant]
) -> tuple[Codes, float] | None:
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
    model: Surrogate, row: Codes, value: float, best: float, taken: set[Variant]
) -> tuple[Codes, float]:
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
