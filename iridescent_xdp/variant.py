# SPDX-License-Identifier: GPL-2.0-only
"""A variant: a template with a value for each point. Inert and hashable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.points import Point


@dataclass(frozen=True)
class Variant:
    """Point values in the order of the template's declarations."""

    values: tuple[tuple[str, int], ...]

    @classmethod
    def generic(cls, points: Iterable[Point], policy: Mapping[str, int] | None = None) -> Variant:
        """All defaults; ``policy`` overrides the values that the operator's file sets."""
        policy = policy or {}
        return cls(tuple((p.name, policy.get(p.name, p.default)) for p in points))

    def __getitem__(self, name: str) -> int:
        for key, value in self.values:
            if key == name:
                return value
        raise ConfigError(f"no point named '{name}'")

    def with_values(self, **changes: int) -> Variant:
        """This variant with some values replaced. Raises ConfigError for an unknown name."""
        known = {name for name, _ in self.values}
        for name in changes:
            if name not in known:
                raise ConfigError(f"no point named '{name}'")
        return Variant(tuple((n, changes.get(n, v)) for n, v in self.values))

    @property
    def key(self) -> str:
        """Eight hexadecimal digits that name these values; stable across runs."""
        text = ",".join(f"{name}={value}" for name, value in self.values)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def label(self, points: Iterable[Point], generic: Variant) -> str:
        """What differs from ``generic``, as ``vlan_depth=0 rule_layout=tree``; else ``generic``."""
        shown = [
            f"{p.name}={p.show(self[p.name])}" for p in points if self[p.name] != generic[p.name]
        ]
        return " ".join(shown) or "generic"
