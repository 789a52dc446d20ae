# SPDX-License-Identifier: GPL-2.0-only
"""One group of a signature, look after look: its baseline, its noise, and when it moved.

A window of batches is compared with the baseline. The statistic of independent packets is divided
by the *dispersion*: the mean of that statistic over windows of the same length while nothing moved,
in units of its expectation. Packets come in trains and flows come and go, so it is above 1.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.adapt.signature import Counts, Group, chi_squares, normal_scores

WINDOWS = np.array([1, 2, 4, 8, 16, 32])  # batches
LONGEST = int(WINDOWS[-1])
PRIOR = 4.0  # longer windows' dispersion begins as that of single batches, as if seen so often
EARLY, EARLIEST = 2.0, 3  # times the limit, while a baseline of EARLIEST batches or more grows
JUDGED = 4  # batches are tested so often before they join a baseline, where noise is known
HASTY = 16  # batches; a shift that is told sooner may be noise that is greater than usual
KEPT, LEAST, MOST = 5, 10.0, 40.0  # tracks that tell the usual noise; degrees of freedom it takes
ALONE = 1.5  # times the limit, for one batch: trains of packets are shorter than that
UNSURE = 8.0  # a dispersion from n degrees of freedom is taken 1 + UNSURE / n times as large
USUAL = 2.0  # what is beyond so many standard deviations counts as that

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Something that is not as it was, and by how much: ``statistic`` exceeds ``threshold``."""

    group: str
    before: dict[str, float]
    after: dict[str, float]
    statistic: float
    threshold: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The dispersion of single batches is ``chi_square`` / ``degrees``, from so many of freedom."""

    chi_square: float
    degrees: float


class _Dispersion:
    """Mean of a chi-square statistic per degree of freedom, for each length of window.

    A value is learned LONGEST batches after it was seen: had it been the beginning of a shift,
    that would have been told by then.
    """

    def __init__(self, usual: Noise | None = None) -> None:
        self._sums = np.zeros(len(WINDOWS))
        self._degrees = np.zeros(len(WINDOWS))
        if usual is not None:
            self._sums[0], self._degrees[0] = usual.chi_square, usual.degrees
        self._later: deque[tuple[_Floats, _Floats]] = deque()

    def learn(self, statistics: _Floats, degrees: _Floats) -> None:
        """Zero degrees: nothing to learn for that length."""
        self._sums += statistics
        self._degrees += degrees

    def learn_later(self, statistics: _Floats, degrees: _Floats) -> None:
        self._later.append((statistics, degrees))
        if len(self._later) > LONGEST:
            self.learn(*self._later.popleft())

    @property
    def found(self) -> Noise:
        """Of single batches, what was known beforehand included."""
        return Noise(chi_square=float(self._sums[0]), degrees=float(self._degrees[0]))

    def values(self, degrees: _Floats, unsure: float = UNSURE) -> _Floats:
        """Never below 1; for a statistic of so many ``degrees`` of freedom."""
        seen = degrees[0] + self._degrees[0]
        single = (degrees[0] + self._sums[0]) / seen * (1 + unsure / seen)
        known = PRIOR * degrees
        longer: _Floats = (single * known + self._sums) / (known + self._degrees)
        return np.maximum(max(1.0, single), longer)


class UsualNoise:
    """What the last tracks of each group found. Traffic that is another one is mostly as bursty as
    before, so a new track need not learn that in the packets that it should judge."""

    def __init__(self) -> None:
        self._found: dict[str, deque[Noise]] = {}

    def of(self, name: str) -> Noise | None:
        """None of a group that was not followed for long."""
        found = self._found.get(name, ())
        degrees = sum(noise.degrees for noise in found)
        if degrees < LEAST:
            return None
        known = min(degrees, MOST)
        chi_square = sum(noise.chi_square for noise in found) * known / degrees
        return Noise(chi_square=chi_square, degrees=known)

    def learn(self, tracks: Collection[Track]) -> None:
        """What ``tracks`` found, which are at their end. Where one soon told a shift, the noise may
        be another one now: the next ones learn it anew."""
        if any(track.hasty for track in tracks):
            self._found.clear()
            return
        for track in tracks:
            self._found.setdefault(track.name, deque(maxlen=KEPT)).append(track.noise)


class Track:
    """Follows the group ``name``; ``baseline`` and ``usual``, its noise, are what is known of it
    beforehand, if anything."""

    def __init__(
        self,
        name: str,
        *,
        noise_limit: float,
        least_change: float,
        batch: int,
        learning: int,
        baseline: Group | None = None,
        usual: Noise | None = None,
    ) -> None:
        self.name = name
        self._limits = noise_limit, least_change
        self._batch = batch
        self._to_learn = learning
        self._known_noise = usual is not None
        self._names = baseline.names if baseline is not None else ()
        known = baseline is not None and baseline.total >= batch
        self._baseline = baseline.array() if baseline is not None and known else None
        self._waiting: Counts | None = None
        self._recent = np.zeros((LONGEST, 0))  # batches after the baseline, the newest first
        self._noise = _Dispersion(usual)
        self._batches = 0
        self._told = False

    @property
    def learning(self) -> bool:
        """Whether the baseline still grows."""
        return self._to_learn > 0

    @property
    def hasty(self) -> bool:
        """Whether it soon told a shift by a noise that it had not seen itself."""
        return self._known_noise and self._told and self._batches <= HASTY

    @property
    def noise(self) -> Noise:
        """What it knows of the noise by now."""
        return self._noise.found

    def add(self, group: Group) -> Moved | None:
        """Count one look; what it shows, if anything."""
        self._names = group.names
        batch = group.array() if self._waiting is None else self._waiting + group.array()
        if batch.sum() < self._batch:
            self._waiting = batch
            return None
        self._waiting = None
        if self._baseline is None:
            self._baseline = batch
            self._to_learn -= 1
            return None
        if self.learning and not self._known_noise:
            return self._learn(batch, self._baseline)
        if not self._batches:
            self._recent = np.zeros((LONGEST, len(batch)))
        self._recent[1:] = self._recent[:-1].copy()
        self._recent[0] = batch
        self._batches += 1
        moved = self._test(self._baseline)
        self._told = moved is not None
        if moved is None and self.learning and self._batches > JUDGED:
            self._baseline = self._baseline + self._recent[JUDGED]
            self._to_learn -= 1
        return moved

    def _learn(self, batch: Counts, baseline: Counts) -> Moved | None:
        """The baseline grows by a batch, unless that is quite different."""
        statistics, degrees = chi_squares(baseline, batch[np.newaxis])
        scores = normal_scores(statistics / self._noise.values(degrees, 0.0)[:1], degrees)
        moved = None
        if baseline.sum() >= EARLIEST * self._batch:
            moved = self._judge(batch, baseline, float(scores[0]), self._limits[0] * EARLY)
        if moved is None:
            only = WINDOWS == 1
            self._noise.learn(statistics * only, degrees * only)
            self._baseline = baseline + batch
            self._to_learn -= 1
        return moved

    def _test(self, baseline: Counts) -> Moved | None:
        windows = np.cumsum(self._recent, axis=0)[WINDOWS - 1]
        statistics, degrees = chi_squares(baseline, windows)
        noise = self._noise.values(degrees)
        scores = normal_scores(statistics / noise, degrees)
        held = np.minimum(WINDOWS, self._batches)
        for window, score, length in zip(windows, scores, held, strict=True):
            limit = self._limits[0] * (ALONE if length == 1 else 1.0)
            moved = self._judge(window, baseline, float(score), limit)
            if moved is not None:
                return moved
        whole = self._batches % WINDOWS == 0
        most = noise * degrees * _usual_most(degrees)
        self._noise.learn_later(np.minimum(statistics, most) * whole, degrees * whole)
        return None

    def _judge(self, window: Counts, baseline: Counts, score: float, limit: float) -> Moved | None:
        if score < limit:
            return None
        change = window / window.sum() - baseline / baseline.sum()
        most = int(np.argmax(np.abs(change)))
        if abs(change[most]) < self._limits[1]:
            return None
        before, after = self._shares(baseline), self._shares(window)
        category = self._names[most]
        return Moved(
            group=self.name,
            before=before,
            after=after,
            statistic=score,
            threshold=limit,
            reason=(
                f"{self.name}: '{category}' from {before[category]:.1%} to {after[category]:.1%} "
                f"of the packets ({score:.1f} standard deviations of noise, limit {limit:.1f}; "
                f"{window.sum():.0f} packets against {baseline.sum():.0f})"
            ),
        )

    def _shares(self, counts: Counts) -> dict[str, float]:
        shares = counts / counts.sum()
        return {name: float(share) for name, share in zip(self._names, shares, strict=True)}


def _usual_most(degrees: _Floats) -> _Floats:
    """Chi-square per degree of freedom at USUAL standard deviations (Wilson and Hilferty)."""
    spread = 2 / (9 * degrees)
    return (1 - spread + USUAL * np.sqrt(spread)) ** 3
