# SPDX-License-Identifier: GPL-2.0-only
"""What a policy asks for and what it is told: trials, outcomes, rounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.statistics import Effect
from iridescent_xdp.variant import Variant


class Status(StrEnum):
    """What became of a trial."""

    MEASURED = "measured"
    REFUSED = "refused"  # by the compiler, the verifier or the preflight; never tried again
    FAILED = "failed"  # the measurement failed, the variant may be good


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A variant to be measured with ``budget`` timed samples; ``final``: the measurement may be
    the one that decides."""

    variant: Variant
    budget: int
    final: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a trial; ``effect`` is the gain over generic (larger is better), which took
    ``generic_ns`` then (0: not known).

    ``stopped``: it was so much worse that its measurement was cut short (``search.early``). It
    counts as measured, with the effect seen until then, and is not proposed again.
    """

    variant: Variant
    status: Status
    effect: Effect | None = None
    reason: str = ""
    stopped: bool = False
    generic_ns: float = 0.0

    def __post_init__(self) -> None:
        if (self.status is Status.MEASURED) != (self.effect is not None):
            raise MeasurementError(
                f"an outcome has an effect exactly when it was measured, got {self.status} "
                f"with effect {self.effect}"
            )
        if self.stopped and self.status is not Status.MEASURED:
            raise MeasurementError(f"only a measured arm can be stopped, got {self.status}")


@dataclass(frozen=True, kw_only=True)
class Round:
    """Variants to be measured with the same budget before the policy thinks again."""

    variants: Iterable[Variant]
    samples: int
    final: bool = False
