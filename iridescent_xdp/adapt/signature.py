# SPDX-License-Identifier: GPL-2.0-only
"""Numbers that describe a workload, and how far two workloads are apart.

A signature is a few *groups*. Each group divides the packets it was computed from among a few
categories (IPv4, IPv6, ARP, other), so it carries its own count and its sampling noise is known.
No group depends on the rate of packets.

Two groups are compared by the Hellinger distance H of their shares, with
``H^2 = 1/2 sum (sqrt(p) - sqrt(q))^2``. It is 0 for equal shares and 1 for disjoint ones. Square
roots of shares all have the variance 1/4n, whatever the share (Freeman and Tukey 1950), so
``8 H^2 n m / (n + m)`` follows a chi-square law when both were drawn from the same traffic.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.errors import ConfigError

FORMAT = 1  # of the JSON; raised when groups or categories get another meaning
MISSES = "misses of "  # groups that a point's guard or hot keys count, by the point's name
# groups that depend on the traffic just before, or say who talks to whom: not what kind it is
PASSING = ("kept", "targets")

Counts = NDArray[np.float64]  # of one group, shape (categories,), or of several, a row each


@dataclass(frozen=True, kw_only=True)
class Group:
    """How many of the packets looked at were of each category."""

    names: tuple[str, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.counts) or len(self.names) < 2:
            raise ConfigError(
                "a group has two categories or more, and a count for each, "
                f"got {len(self.names)} names and {len(self.counts)} counts"
            )
        if min(self.counts) < 0:
            raise ConfigError(f"counts >= 0 must hold, got {self.counts}")

    @property
    def total(self) -> int:
        """Packets that the shares were computed from."""
        return sum(self.counts)

    @property
    def shares(self) -> dict[str, float]:
        """Share of each category, 0 to 1; all 0 for a group of no packets."""
        total = self.total
        return {
            n: c / total if total else 0.0 for n, c in zip(self.names, self.counts, strict=True)
        }

    def array(self) -> Counts:
        """The counts, shape (categories,)."""
        return np.array(self.counts, dtype=np.float64)

    def __add__(self, other: Group) -> Group:
        """Both together. Raises ConfigError when they have other categories."""
        if self.names != other.names:
            raise ConfigError(f"groups have other categories: {self.names}, {other.names}")
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Group(names=self.names, counts=counts)


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One workload, by group. Groups of no packets may be left out."""

    groups: Mapping[str, Group] = field(default_factory=dict)

    @property
    def packets(self) -> int:
        """Packets whose headers were looked at."""
        return self.groups["family"].total if "family" in self.groups else 0

    @property
    def missed(self) -> dict[str, tuple[int, int]]:
        """By point: packets that missed its guard or hot keys, packets that were counted."""
        return {
            name.removeprefix(MISSES): (group.counts[0], group.total)
            for name, group in self.groups.items()
            if name.startswith(MISSES)
        }

    def __add__(self, other: Signature) -> Signature:
        """What was computed from the packets of both."""
        groups = dict(self.groups)
        for name, group in other.groups.items():
            groups[name] = groups[name] + group if name in groups else group
        return Signature(groups=groups)

    def workload(self) -> Signature:
        """Without the groups that depend on what is live: for finding a workload again."""
        kept = {
            name: group
            for name, group in self.groups.items()
            if name not in PASSING and not name.startswith(MISSES)
        }
        return Signature(groups=kept)

    def shares(self) -> dict[str, dict[str, float]]:
        """For people and events: shares by group and category."""
        return {name: group.shares for name, group in self.groups.items()}

    def to_json(self) -> dict[str, Any]:
        """As ``from_json`` reads it."""
        groups = {
            name: dict(zip(group.names, group.counts, strict=True))
            for name, group in self.groups.items()
        }
        return {"format": FORMAT, "groups": groups}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """What ``to_json`` gave, parsed or as text. Raises ConfigError for anything else."""
        try:
            read = json.loads(data) if isinstance(data, str) else data
            if read["format"] != FORMAT:
                raise ConfigError(f"signatures have format {FORMAT}, got {read['format']!r}")
            groups = {
                str(name): Group(
                    names=tuple(str(n) for n in counts),
                    counts=tuple(int(c) for c in counts.values()),
                )
                for name, counts in read["groups"].items()
            }
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ConfigError(f"this is no signature: {error}") from error
        return cls(groups=groups)


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far two workloads are apart, by the group in which they differ most.

    ``hellinger`` is 0 to 1 and what sampling explains is taken off it; ``noise_units`` says how
    many standard deviations of sampling noise the difference is, as a normal score.
    """

    hellinger: float
    noise_units: float
    group: str

    def within(self, floor: float, noise_units: float) -> bool:
        """Whether this may be the same workload: below either limit."""
        return self.hellinger <= floor or self.noise_units <= noise_units


def hellinger(p: Counts, q: Counts) -> Counts:
    """Hellinger distances of counts ``p``, shape (categories,), from each row of ``q``, shape
    (rows, categories); every sum is above 0. Shape (rows,)."""
    difference = np.sqrt(p / p.sum()) - np.sqrt(q / q.sum(axis=1, keepdims=True))
    squares: Counts = np.square(difference).sum(axis=1)
    return np.sqrt(squares / 2)


def chi_squares(p: Counts, q: Counts) -> tuple[Counts, Counts]:
    """As ``hellinger``: the statistics, as if packets were independent, and their degrees of
    freedom: categories that either has, less one.

    A category counts by its term of ``8 H^2 n m / (n + m)`` or of Pearson's statistic, whichever
    is less: of a rare category the first makes much of a count of 0, the second of a count of 5.
    """
    n, m = p.sum(), q.sum(axis=1, keepdims=True)
    roots = 4 * n * m / (n + m) * np.square(np.sqrt(p / n) - np.sqrt(q / m))
    both = p + q
    some = both > 0
    pearson = np.square(np.sqrt(m / n) * p - np.sqrt(n / m) * q) / np.where(some, both, 1.0)
    degrees = np.maximum(1.0, np.count_nonzero(some, axis=1) - 1)
    return np.minimum(roots, pearson).sum(axis=1), degrees


def normal_scores(statistics: Counts, degrees: Counts) -> Counts:
    """The normal deviates of chi-square values (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * degrees)
    return (np.cbrt(statistics / degrees) - (1 - spread)) / np.sqrt(spread)


def distance(a: Signature, b: Signature, groups: Iterable[str] | None = None) -> Distance | None:
    """The distance in the worst of ``groups`` (default: of those that both have).

    None when they share no group with packets.
    """
    names = [
        name
        for name in (groups if groups is not None else a.groups)
        if all(name in s.groups and s.groups[name].total for s in (a, b))
    ]
    worst: Distance | None = None
    for name in names:
        found = _apart(name, a.groups[name], b.groups[name])
        if worst is None or found.hellinger > worst.hellinger:
            worst = found
    return worst


def _apart(name: str, a: Group, b: Group) -> Distance:
    if a.names != b.names:
        return Distance(hellinger=1.0, noise_units=math.inf, group=name)
    p, q = a.array(), b.array()[np.newaxis]
    square = float(hellinger(p, q)[0]) ** 2
    statistics, degrees = chi_squares(p, q)
    noise = float(degrees[0]) * (a.total + b.total) / (8 * a.total * b.total)  # expected of H^2
    return Distance(
        hellinger=math.sqrt(max(0.0, square - noise)),
        noise_units=float(normal_scores(statistics, degrees)[0]),
        group=name,
    )
