# SPDX-License-Identifier: GPL-2.0-only
"""Histograms of sampled times, differences between arms, and the decision to swap.

An arm's *windows* are an array of bucket counts, one row of HISTOGRAM_BUCKETS per window
(about 20 ms). All arms of a trial are interleaved in the same windows, so two arms are compared
window by window and what moves both (clock speed, neighbours, traffic) cancels out.

The statistic is the mean below a limit, not the plain mean: an interrupt of 10 us in one sample
of a hundred moves a mean by 100 ns, more than a whole fast path. The limit is OUTLIER_REACH times
the 95 % quantile of the slower arm, the same for both. A share of the slowest samples is *not*
cut off: a variant whose guard misses for 3 % of the packets has to pay for them, and a missed
guard costs about one generic packet, which is far below the limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iridescent_xdp.errors import MeasurementError

FINE_NS = 512  # one bucket per nanosecond below; bpf/include/iridescent_run.h says the same
SUBBUCKETS = 32  # per power of two above
OCTAVES = 11  # up to 2^20 ns
HISTOGRAM_BUCKETS = FINE_NS + OCTAVES * SUBBUCKETS

_Floats = NDArray[np.float64]
Windows = NDArray[np.integer]

_WIDTHS_NS = np.concatenate(
    [np.ones(FINE_NS), np.repeat(FINE_NS / SUBBUCKETS * 2.0 ** np.arange(OCTAVES), SUBBUCKETS)]
)
UPPER_NS: _Floats = np.cumsum(_WIDTHS_NS)  # exclusive; the last has no real end
LOWER_NS: _Floats = UPPER_NS - _WIDTHS_NS  # inclusive
_MIDDLE_NS = (LOWER_NS + UPPER_NS - 1) / 2  # times are whole nanoseconds

CONFIDENCE = 0.99
RELIABLE_N = 9  # with fewer windows or repetitions a result is marked unreliable
OUTLIER_REACH = 4.0
TIED = 0.02  # of the best one's time: who is no slower than that ties with it
MINIMAL_GAIN = 0.03  # of the generic time: the same code at two addresses differs by up to this
_BOOTSTRAPS = 4000
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
# Student's t, 0.995 quantile, for 1 to 8 degrees of freedom (any statistics table).
_T = (63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A result with its 99 % interval; ``n`` counts windows or repetitions."""

    value: float
    low: float
    high: float
    n: int
    unit: str

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise MeasurementError(
                f"low <= value <= high must hold, got {self.low}, {self.value}, {self.high}"
            )

    @property
    def reliable(self) -> bool:
        """Whether there are enough windows or repetitions to trust the interval."""
        return self.n >= RELIABLE_N

    @property
    def half_width(self) -> float:
        """Half of the interval, in the unit of the value."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        doubt = "" if self.reliable else ", unreliable"
        interval = f"{self.low:.2f} to {self.high:.2f}, n={self.n}{doubt}"
        return f"{self.value:.2f} {self.unit} ({interval})"


def bucket_of(ns: int) -> int:
    """The bucket that the C side (spec_bucket) counts a time in; raises ValueError below 0."""
    if ns < 0:
        raise ValueError(f"a time is not negative, got {ns} ns")
    if ns < FINE_NS:
        return ns
    octave = min(ns.bit_length() - FINE_NS.bit_length(), OCTAVES)
    if octave == OCTAVES:
        return HISTOGRAM_BUCKETS - 1
    step = FINE_NS // SUBBUCKETS << octave
    return FINE_NS + octave * SUBBUCKETS + (ns - (FINE_NS << octave)) // step


def quantile(counts: ArrayLike, q: float) -> float:
    """The time in ns that a share ``q`` of the samples does not exceed (inverse of the CDF).

    Exact below 512 ns, interpolated inside the wider buckets above; from 2^20 ns on it is only
    a lower bound. Rows (windows) are added up. Raises MeasurementError without samples.
    """
    if not 0 <= q <= 1:
        raise ValueError(f"0 <= q <= 1 must hold, got {q}")
    total = np.asarray(counts).reshape(-1, HISTOGRAM_BUCKETS).sum(axis=0, dtype=np.int64)
    below = np.cumsum(total)
    if not below[-1]:
        raise MeasurementError("a quantile of no samples", cure="measure longer or more traffic")
    rank = max(1, math.ceil(q * below[-1] - 1e-9))
    bucket = int(np.searchsorted(below, rank))
    inside = (rank - (below[bucket] - total[bucket]) - 0.5) / total[bucket]
    return float(LOWER_NS[bucket] + inside * (_WIDTHS_NS[bucket] - 1))


def outlier_limit_ns(*arms: ArrayLike) -> float:
    """Above this a sample was interrupted: OUTLIER_REACH x the slowest arm's 95 % quantile."""
    return OUTLIER_REACH * max(quantile(counts, 0.95) for counts in arms)


def trimmed_mean(counts: ArrayLike, limit_ns: float | None = None) -> float:
    """Mean time in ns of all samples up to ``limit_ns`` (default: outlier_limit_ns of these).

    Rows (windows) are added up. Raises MeasurementError without samples.
    """
    limit_ns = outlier_limit_ns(counts) if limit_ns is None else limit_ns
    total = np.asarray(counts).reshape(-1, HISTOGRAM_BUCKETS).sum(axis=0, keepdims=True)
    means, samples = window_means(total, limit_ns)
    if not samples[0]:
        raise MeasurementError("a mean of no samples", cure="measure longer or more traffic")
    return float(means[0])


def window_means(windows: ArrayLike, limit_ns: float) -> tuple[_Floats, _Floats]:
    """Mean (ns, NaN without samples) and number of samples of each window, up to the limit."""
    kept = np.asarray(windows, dtype=np.float64) * (limit_ns >= LOWER_NS)
    samples = kept.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return (kept @ _MIDDLE_NS) / samples, samples


def t_quantile(degrees: int) -> float:
    """Student's t for the 99 % interval; Cornish-Fisher expansion (Abramowitz-Stegun 26.7.5)."""
    if degrees <= len(_T):
        return _T[degrees - 1]
    z, v = _Z, float(degrees)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / v + second / v**2 + third / v**3


def paired_difference(a: Windows, b: Windows) -> Effect:
    """Mean of ``a - b`` in ns over the windows that have samples of both, with a t-interval.

    A window weighs as its samples let it (n_a n_b / (n_a + n_b)); degrees of freedom are the
    effective number of windows less one. Raises MeasurementError for arms that were not measured
    in the same windows, and when fewer than two windows can be compared.
    """
    if np.shape(a) != np.shape(b):
        raise MeasurementError(
            f"two arms share their windows, got {np.shape(a)} and {np.shape(b)} counts",
            cure="measure both in one trial",
        )
    limit_ns = outlier_limit_ns(a, b)
    (mean_a, n_a), (mean_b, n_b) = window_means(a, limit_ns), window_means(b, limit_ns)
    both = (n_a > 0) & (n_b > 0)
    if both.sum() < 2:
        raise MeasurementError(
            f"2 windows with samples of both arms are needed, got {both.sum()}",
            cure="measure longer or more traffic",
        )
    weight = (n_a * n_b)[both] / (n_a + n_b)[both]
    return t_interval((mean_a - mean_b)[both], weight / weight.sum())


def t_interval(values: _Floats, weight: _Floats, unit: str = "ns") -> Effect:
    """Weighted mean with its t-interval; the weights add up to 1."""
    mean = float(values @ weight)
    effective = max(2.0, 1 / float(weight @ weight))
    variance = float(weight**2 @ (values - mean) ** 2) * effective / (effective - 1)
    half = t_quantile(int(effective) - 1) * math.sqrt(variance)
    return Effect(value=mean, low=mean - half, high=mean + half, n=len(values), unit=unit)


def pooled(effects: Sequence[Effect]) -> Effect:
    """One effect out of several measurements of the same thing, weighted by their precision.

    Where they contradict each other the interval grows by the Birge ratio.
    """
    if not effects:
        raise MeasurementError("nothing was measured", cure="measure at least once")
    if len(effects) == 1:
        return effects[0]
    values = np.array([effect.value for effect in effects])
    weight = np.array([max(effect.half_width, 1e-9) ** -2 for effect in effects])
    mean = float(values @ weight / weight.sum())
    disagreement = float(weight @ (values - mean) ** 2) * _Z**2 / (len(effects) - 1)
    half = math.sqrt(max(1.0, disagreement) / float(weight.sum()))
    n = sum(effect.n for effect in effects)
    return Effect(value=mean, low=mean - half, high=mean + half, n=n, unit=effects[0].unit)


def ratio(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Effect:
    """median(a) / median(b) with a bootstrap interval; for benches.

    Repetition i of both ran side by side, so the bootstrap draws them together. Raises
    MeasurementError when the counts differ, below 2 repetitions, or for a value <= 0.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if len(first) != len(second) or len(first) < 2:
        raise MeasurementError(
            f"equally many repetitions, 2 or more, are needed, got {len(first)} and {len(second)}",
            cure="interleave the repetitions",
        )
    if not (np.all(first > 0) and np.all(second > 0)):
        raise MeasurementError("a ratio needs values above 0", cure="drop failed repetitions")
    picks = np.random.default_rng(seed).integers(len(first), size=(_BOOTSTRAPS, len(first)))
    ratios = np.median(first[picks], axis=1) / np.median(second[picks], axis=1)
    value = float(np.median(first) / np.median(second))
    tails = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    low, high = min(value, float(tails[0])), max(value, float(tails[1]))
    return Effect(value=value, low=low, high=high, n=len(first), unit="ratio")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A variant that may replace the generic one; ``deviations`` counts its differing points."""

    name: str
    windows: Windows
    deviations: int


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a trial says; ``winner`` is None when the generic variant stays.

    ``gains`` are generic - candidate; a winner's lower bound exceeds ``needed_ns``.
    """

    winner: str | None
    gains: dict[str, Effect]
    generic_ns: float
    noise_floor_ns: float
    needed_ns: float
    reason: str


def noise_floor(generic: Windows, twin: Windows) -> float:
    """How much generic differs from itself in this trial, in ns: |mean| + half-width."""
    effect = paired_difference(generic, twin)
    return abs(effect.value) + effect.half_width


def decide(generic: Windows, twin: Windows, candidates: Sequence[Candidate]) -> Decision:
    """Whether a candidate replaces the generic variant, and which.

    It must gain more than the noise floor and than MINIMAL_GAIN with its *lower* bound. Among
    those that tie with the best the one with the fewest deviations wins: what does not pay is not
    assumed. Raises MeasurementError as paired_difference does.
    """
    floor_ns = noise_floor(generic, twin)
    generic_ns = trimmed_mean(generic)
    needed_ns = max(floor_ns, MINIMAL_GAIN * generic_ns)
    gains = {c.name: paired_difference(generic, c.windows) for c in candidates}
    better = [c for c in candidates if gains[c.name].reliable and gains[c.name].low > needed_ns]
    better.sort(key=lambda c: -gains[c.name].value)
    tied = better[:1] + [c for c in better[1:] if not _slower(c, better[0], floor_ns)]
    winner = min(tied, key=lambda c: c.deviations, default=None)
    if winner is None:
        reason = _kept_because(gains, needed_ns)
    else:
        reason = f"{winner.name} saves {gains[winner.name]} of {generic_ns:.1f} ns per packet"
        if winner is not better[0]:
            reason += f", ties with {better[0].name} and deviates less from generic"
    return Decision(
        winner=winner.name if winner else None,
        gains=gains,
        generic_ns=generic_ns,
        noise_floor_ns=floor_ns,
        needed_ns=needed_ns,
        reason=f"{reason}; needed: {needed_ns:.2f} ns, noise floor: {floor_ns:.2f} ns",
    )


def _slower(candidate: Candidate, best: Candidate, floor_ns: float) -> bool:
    """Beyond doubt, and by more than a variant differs from itself, or than is worth a word."""
    lag = paired_difference(candidate.windows, best.windows)
    return lag.low > 0 and lag.value > min(floor_ns, TIED * trimmed_mean(best.windows))


def _kept_because(gains: dict[str, Effect], needed_ns: float) -> str:
    if not gains:
        return "generic stays: there is no candidate"
    name = max(gains, key=lambda name: gains[name].value)
    gain = gains[name]
    if gain.low > needed_ns:
        return f"generic stays: {name} saves {gain}, but {RELIABLE_N} windows are needed"
    return f"generic stays: the best candidate, {name}, saves {gain}, not surely enough"
