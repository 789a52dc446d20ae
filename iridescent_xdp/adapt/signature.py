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
# What depends on the code that is live, or on the traffic just before, and not on the workload.
PASSING = ("kept",)


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

    def array(self) -> NDArray[np.float64]:
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


def hellinger(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Hellinger distance of two vectors of counts or shares, each with a sum above 0."""
    difference = np.sqrt(p / p.sum()) - np.sqrt(q / q.sum())
    return math.sqrt(float(difference @ difference) / 2)


def group_distance(a: Group, b: Group, dispersion: float = 1.0) -> tuple[float, float, float]:
    """(H, the part of H that noise explains, normal score) of two groups with packets.

    ``dispersion`` is the variance of counts relative to that of independent packets. Categories
    that neither has do not count.
    """
    p, q = a.array(), b.array()
    distance = hellinger(p, q)
    degrees = degrees_of(a, b)
    size = a.total * b.total / (a.total + b.total) / dispersion
    noise = math.sqrt(degrees / (8 * size))
    return distance, noise, normal_score(8 * size * distance**2, degrees)


def degrees_of(a: Group, b: Group) -> int:
    """Degrees of freedom of a comparison: categories that either has, less one."""
    return max(1, int(np.count_nonzero(a.array() + b.array())) - 1)


def normal_score(chi_square: float, degrees: int) -> float:
    """The normal deviate of a chi-square value (Wilson and Hilferty 1931)."""
    spread = 2 / (9 * degrees)
    return float((np.cbrt(chi_square / degrees) - (1 - spread)) / math.sqrt(spread))


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
        if a.groups[name].names != b.groups[name].names:
            return Distance(hellinger=1.0, noise_units=math.inf, group=name)
        apart, noise, score = group_distance(a.groups[name], b.groups[name])
        found = Distance(
            hellinger=math.sqrt(max(0.0, apart**2 - noise**2)), noise_units=score, group=name
        )
        if worst is None or found.hellinger > worst.hellinger:
            worst = found
    return worst
