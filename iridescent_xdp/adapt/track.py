# SPDX-License-Identifier: GPL-2.0-only
"""One group of a signature, look after look: its baseline, its noise, and when it moved.

A window of batches is compared with the baseline. The statistic of independent packets is divided
by the *dispersion*: the mean of that statistic over windows of the same length while nothing moved,
in units of its expectation. Packets come in trains and flows come and go, so it is above 1.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from iridescent_xdp.adapt.signature import Group, degrees_of, group_distance

WINDOWS = (1, 2, 4, 8, 16)  # batches
EARLY = 1.5  # times the limit, while the baseline and its noise are hardly known
USUAL = 3.0  # what is beyond so many standard deviations does not teach what is usual


@dataclass(frozen=True, kw_only=True)
class Moved:
    """Something that is not as it was, and by how much: ``statistic`` exceeds ``threshold``."""

    group: str
    before: dict[str, float]
    after: dict[str, float]
    statistic: float
    threshold: float
    reason: str


class _Dispersion:
    """Mean of a chi-square statistic per degree of freedom; begins with one look's worth of 1."""

    def __init__(self) -> None:
        self._sum = self._degrees = 0.0

    def learn(self, statistic: float, degrees: int) -> None:
        if not self._degrees:
            self._sum = self._degrees = float(degrees)
        self._sum += statistic
        self._degrees += degrees

    @property
    def value(self) -> float:
        return max(1.0, self._sum / self._degrees) if self._degrees else 1.0


class Track:
    """Follows the group ``name``; ``baseline`` is what is known of it beforehand, if anything."""

    def __init__(
        self,
        name: str,
        *,
        noise_limit: float,
        least_change: float,
        batch: int,
        learning: int,
        baseline: Group | None = None,
    ) -> None:
        self._name = name
        self._limits = noise_limit, least_change
        self._batch = batch
        self._to_learn = learning
        self._baseline = baseline if baseline is not None and baseline.total >= batch else None
        self._waiting: Group | None = None
        self._recent: deque[Group] = deque(maxlen=WINDOWS[-1])
        self._noise = {length: _Dispersion() for length in WINDOWS}
        self._batches = 0

    @property
    def learning(self) -> bool:
        """Whether the baseline still grows."""
        return self._to_learn > 0

    def add(self, group: Group) -> Moved | None:
        """Count one look; what it shows, if anything."""
        whole = group if self._waiting is None else self._waiting + group
        if whole.total < self._batch:
            self._waiting = whole
            return None
        self._waiting = None
        if self._baseline is None:
            self._baseline = whole
            self._to_learn -= 1
            return None
        if self.learning:
            return self._learn(whole, self._baseline)
        self._recent.append(whole)
        self._batches += 1
        return self._test(self._baseline)

    def _learn(self, batch: Group, baseline: Group) -> Moved | None:
        """The baseline grows by a batch, unless that is quite different."""
        limit = self._limits[0] * EARLY
        moved = self._compare(batch, baseline, self._noise[1].value, limit)
        if moved is None:
            self._noise[1].learn(*_statistic(baseline, batch))
            self._baseline = baseline + batch
            self._to_learn -= 1
        return moved

    def _test(self, baseline: Group) -> Moved | None:
        usual = self._noise[1].value
        for length in WINDOWS:
            if length > len(self._recent):
                break
            window = self._recent[-1]
            for batch in list(self._recent)[-length:-1]:
                window += batch
            dispersion = max(usual, self._noise[length].value)
            moved = self._compare(window, baseline, dispersion, self._limits[0])
            if moved is not None:
                return moved
            if self._batches % length == 0:
                statistic, degrees = _statistic(baseline, window)
                most = dispersion * degrees * _usual_most(degrees)
                self._noise[length].learn(min(statistic, most), degrees)
        return None

    def _compare(
        self, window: Group, baseline: Group, dispersion: float, limit: float
    ) -> Moved | None:
        before, after = baseline.shares, window.shares
        category = max(before, key=lambda name: abs(after[name] - before[name]))
        change = after[category] - before[category]
        if abs(change) < self._limits[1]:
            return None
        _, _, score = group_distance(baseline, window, dispersion)
        if score < limit:
            return None
        return Moved(
            group=self._name,
            before=before,
            after=after,
            statistic=score,
            threshold=limit,
            reason=(
                f"{self._name}: '{category}' from {before[category]:.1%} to {after[category]:.1%} "
                f"of the packets ({score:.1f} standard deviations of noise, limit {limit:.1f}; "
                f"{window.total} packets against {baseline.total})"
            ),
        )


def _statistic(a: Group, b: Group) -> tuple[float, int]:
    """Chi-square of two groups as if packets were independent, and its degrees of freedom."""
    distance, _, _ = group_distance(a, b)
    return 8 * distance**2 * a.total * b.total / (a.total + b.total), degrees_of(a, b)


def _usual_most(degrees: int) -> float:
    """Chi-square per degree of freedom at USUAL standard deviations (Wilson and Hilferty)."""
    spread = 2 / (9 * degrees)
    return float((1 - spread + USUAL * spread**0.5) ** 3)
