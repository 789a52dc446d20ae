# SPDX-License-Identifier: GPL-2.0-only
"""Specialization points: inert value objects that a template declares in C.

A point has a domain of unsigned 32-bit values and a default; a template with all defaults
is its *generic* variant. The class of a point decides who may set it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum

from iridescent_xdp.errors import ConfigError, TemplateError

U32_MAX = 0xFFFF_FFFF


class PointClass(StrEnum):
    """Who may set a point."""

    TUNING = "tuning"  # every value is right for every packet; searched freely
    NARROWING = "narrowing"  # right only while the traffic fits; searched, and guarded
    POLICY = "policy"  # what the operator sees; set by configuration, never searched


class PointKind(StrEnum):
    """The declaration a point was made with."""

    BOOL = "bool"  # SPEC_BOOL
    RANGE = "range"  # SPEC_RANGE
    ENUM = "enum"  # SPEC_ENUM
    GENERIC = "generic"  # SPEC_GENERIC: values come from observation, 0 is "none"
    ASSUME = "assume"  # SPEC_ASSUME: a condition, not assumed by default


@dataclass(frozen=True, kw_only=True)
class Point:
    """One named place that can be specialized.

    ``domain`` lists every value in order; for an enum ``labels`` names them. ``where`` is
    ``file:line`` of the declaration. Raises TemplateError when the declaration breaks a rule.
    """

    name: str
    point_class: PointClass
    kind: PointKind
    default: int
    domain: tuple[int, ...]
    doc: str
    labels: tuple[str, ...] = ()
    where: str = "?"

    def __post_init__(self) -> None:
        if not self.doc.strip():
            raise TemplateError(f"{self.where}: point '{self.name}': the documentation is empty")
        if not self.domain:
            raise TemplateError(f"{self.where}: point '{self.name}': the domain is empty")
        if self.kind is not PointKind.GENERIC and self.default not in self.domain:
            raise TemplateError(
                f"{self.where}: point '{self.name}': the default must lie in the domain, "
                f"got default={self.default}, domain={self.show_domain()}"
            )
        if min(self.domain) < 0 or max(self.domain) > U32_MAX:
            raise TemplateError(
                f"{self.where}: point '{self.name}': values are unsigned 32-bit, "
                f"got {self.show_domain()}"
            )

    @property
    def searched(self) -> bool:
        """Whether the search may set this point."""
        return self.point_class is not PointClass.POLICY

    def show(self, value: int) -> str:
        """The value as an operator writes it."""
        if self.kind in (PointKind.BOOL, PointKind.ASSUME):
            return "true" if value else "false"
        if self.labels and 0 <= value < len(self.labels):
            return self.labels[value]
        return str(value)

    def show_domain(self) -> str:
        """The domain in one short line."""
        if self.kind is PointKind.RANGE and len(self.domain) > 4:
            return f"{self.domain[0]}..{self.domain[-1]}"
        shown = ", ".join(self.show(value) for value in self.domain)
        return f"{shown}, or observed" if self.kind is PointKind.GENERIC else shown

    def parse(self, value: object) -> int:
        """The number behind ``value`` (bool, int or an enum's label).

        Raises ConfigError with the domain, and a suggestion for a misspelt label.
        """
        number = self._number(value)
        inside = number is not None and (
            0 <= number <= U32_MAX if self.kind is PointKind.GENERIC else number in self.domain
        )
        if number is None or not inside:
            near = difflib.get_close_matches(str(value), self.labels, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ConfigError(
                f"point '{self.name}' takes {self.show_domain()}, got {value!r}{hint}"
            )
        return number

    def _number(self, value: object) -> int | None:
        truth = {"true": 1, "false": 0}
        if self.kind in (PointKind.BOOL, PointKind.ASSUME):
            if isinstance(value, bool):
                return int(value)
            return truth.get(value.lower()) if isinstance(value, str) else None
        if isinstance(value, bool):
            return None
        if isinstance(value, str):
            if value in self.labels:
                return self.labels.index(value)
            return int(value) if value.isdecimal() and not self.labels else None
        if isinstance(value, int) and self.labels:  # labels may be numbers: BATCH_16 is 16
            return self.labels.index(str(value)) if str(value) in self.labels else None
        return value if isinstance(value, int) else None
