# SPDX-License-Identifier: GPL-2.0-only
"""The variants that a search may propose."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.points import U32_MAX, Point, PointKind
from iridescent_xdp.variant import Variant


@dataclass(frozen=True, kw_only=True)
class Space:
    """Every combination of the searched points' values, and the generic variant.

    ``restrict`` holds the operator's [search.points]: the values that may be tried, one value
    fixes the point. ``observed`` gives the values of GENERIC points that the traffic showed;
    they are tried besides 0, or instead of them what the operator names (a wrong one is slow,
    never harmful: the point is guarded). Policy points keep the value they have in ``generic``.

    The generic variant belongs to the space even where ``restrict`` excludes its values: it is
    the baseline. Raises ConfigError for an unknown name, a value outside a domain, and an attempt
    to search a policy point.
    """

    points: Sequence[Point]
    generic: Variant
    restrict: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    observed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    axes: Mapping[str, tuple[int, ...]] = field(init=False)  # values per point, in order

    def __post_init__(self) -> None:
        known = {point.name: point for point in self.points}
        if tuple(known) != tuple(name for name, _ in self.generic.values):
            raise ConfigError("the generic variant has other points than the template")
        for name in (*self.restrict, *self.observed):
            _require_known(name, known)
        for name in self.observed:
            if known[name].kind is not PointKind.GENERIC:
                raise ConfigError(f"only GENERIC points have observed values, '{name}' is none")
        axes = {point.name: self._axis(point) for point in self.points}
        object.__setattr__(self, "axes", axes)

    def _axis(self, point: Point) -> tuple[int, ...]:
        if not point.searched:
            if point.name in self.restrict:
                raise ConfigError(
                    f"'{point.name}' is a policy point, it is never searched",
                    cure="set it in the [policy] section",
                )
            return (self.generic[point.name],)
        domain = point.domain
        if point.kind is PointKind.GENERIC:
            domain = _distinct((0, *self.observed.get(point.name, ())))
            _require_u32(point, domain)
        if point.name not in self.restrict:
            return domain
        return _restricted(point, domain, self.restrict[point.name])

    @property
    def base(self) -> Variant:
        """The generic variant, or the nearest to it where ``restrict`` excludes its values."""
        kept = {
            name: self.generic[name] if self.generic[name] in axis else axis[0]
            for name, axis in self.axes.items()
        }
        return self.generic.with_values(**kept)

    @property
    def size(self) -> int:
        """How many variants there are, the generic one included."""
        return math.prod(map(len, self.axes.values())) + (not self._in_grid(self.generic))

    def _in_grid(self, variant: Variant) -> bool:
        return len(variant.values) == len(self.axes) and all(
            name == axis and value in self.axes[axis]
            for (name, value), axis in zip(variant.values, self.axes, strict=True)
        )

    def __contains__(self, variant: object) -> bool:
        return isinstance(variant, Variant) and (variant == self.generic or self._in_grid(variant))

    def __iter__(self) -> Iterator[Variant]:
        yield self.generic
        for values in itertools.product(*self.axes.values()):
            variant = self._variant(values)
            if variant != self.generic:
                yield variant

    def _variant(self, values: Sequence[int]) -> Variant:
        return Variant(tuple(zip(self.axes, values, strict=True)))

    def deviations(self, variant: Variant) -> int:
        """In how many points ``variant`` differs from the generic one."""
        pairs = zip(variant.values, self.generic.values, strict=True)
        return sum(mine != generic for mine, generic in pairs)

    def neighbours(self, variant: Variant) -> list[Variant]:
        """All variants of the space that differ from ``variant`` in exactly one point.

        Raises ConfigError when ``variant`` is not in the space.
        """
        if variant not in self:
            raise ConfigError(f"variant {variant.key} is not in the space of the search")
        changed = (
            variant.with_values(**{name: value})
            for name, axis in self.axes.items()
            for value in _distinct((*axis, self.generic[name]))
            if value != variant[name]
        )
        return [other for other in changed if other in self]

    def sample(self, n: int, rng: np.random.Generator) -> list[Variant]:
        """``n`` different variants at random (all, if there are fewer).

        If ``n`` is at least the longest domain, each value of each point occurs.
        """
        if n >= self.size:
            return list(self)
        columns = [self._column(axis, n, rng) for axis in self.axes.values()]
        chosen = dict.fromkeys(self._variant(row) for row in zip(*columns, strict=True))
        while len(chosen) < n:
            row = [axis[int(rng.integers(len(axis)))] for axis in self.axes.values()]
            chosen.setdefault(self._variant(row))
        return list(chosen)

    @staticmethod
    def _column(axis: tuple[int, ...], n: int, rng: np.random.Generator) -> list[int]:
        """A point's values, each as often as any other (+-1), in random order."""
        order = rng.permutation(len(axis))
        places = rng.permutation(n)
        return [axis[int(order[int(place) % len(axis)])] for place in places]


def _distinct(values: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(values))


def _require_known(name: str, known: Mapping[str, Point]) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    cure = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
    raise ConfigError(f"no point named '{name}'", cure=cure)


def _require_u32(point: Point, values: Sequence[int]) -> None:
    for value in values:
        if not 0 <= value <= U32_MAX:
            raise ConfigError(f"point '{point.name}' takes 0 to {U32_MAX}, got {value}")


def _restricted(point: Point, domain: tuple[int, ...], wanted: Sequence[int]) -> tuple[int, ...]:
    if not wanted:
        raise ConfigError(
            f"point '{point.name}' is restricted to no value",
            cure=f"give one or more of {point.show_domain()}",
        )
    if point.kind is PointKind.GENERIC:
        _require_u32(point, wanted)
        return _distinct(wanted)
    for value in wanted:
        if value not in domain:
            near = min(domain, key=lambda known: abs(known - value))
            raise ConfigError(
                f"point '{point.name}' takes {point.show_domain()}, got {value}",
                cure=f"did you mean {point.show(near)}?",
            )
    return _distinct(wanted)
