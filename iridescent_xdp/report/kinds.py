# SPDX-License-Identifier: GPL-2.0-only
"""The events that the report reads, with the fields it needs; others may be there and are kept.

Each is checked when it is read: an event that lacks a field or holds another type is told as a
problem of the log, never guessed.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _finite_text(value: object) -> str:
    return "" if value is None else str(value)


Text = Annotated[str, BeforeValidator(_finite_text)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(ge=0)]


class Event(BaseModel):
    """Base: frozen; numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)
    kind: ClassVar[str] = ""


class Interval(Event):
    """A figure with its 99 % interval; a log of another maker may lack count and unit."""

    value: float
    low: float
    high: float
    n: Count = 0
    unit: str = ""


class Opened(Event):
    """``attached`` and ``adopted``."""

    mode: str = ""
    function: str = ""
    toolchain: str = ""
    reason: Text = ""


class Observed(Event):
    """Packets that the observing build saw before a search."""

    packets: Count


class Space(Event):
    """How many variants there are to choose from."""

    size: Count


class Built(Event):
    """A variant that was built and proven."""

    variant: str
    key: str = ""
    build_ms: Positive | None = None
    preflight_ms: Positive | None = None
    instructions: Count | None = None


class Refused(Event):
    """A variant that may not meet traffic."""

    variant: str
    key: str = ""
    reason: Text


class Arm(Event):
    """One variant in one trial; ``gain`` is over generic in the same trial, where it is told."""

    variant: str
    time_ns: Positive
    packets: Count
    samples: Count = 0
    miss_share: Positive = 0.0
    gain: Interval | None = None


class Trial(Event):
    """Arms that shared the same traffic, generic among them; windows that were left out."""

    arms: tuple[Arm, ...] = Field(min_length=1)
    disturbed_windows: Count = 0


class Decision(Event):
    """How a search ended; ``gains`` are those of the final trial."""

    winner: str
    reason: Text
    generic_ns: Positive | None = None
    noise_floor_ns: Positive | None = None
    needed_ns: Positive | None = None
    gains: dict[str, Interval] = {}


class SecondObserver(Event):
    """Winner over generic, each alone on the interface by turns."""

    variant: str = ""
    throughput_ratio: Interval | None = None
    kernel_time_ratio: Interval | None = None
    generic_pps: Positive | None = None
    winner_pps: Positive | None = None
    agrees: bool = True


class Because(Event):
    """Any event of which only the reason is read."""

    variant: str = ""
    reason: Text = ""


class Swap(Event):
    """Another variant is live."""

    variant: str
    key: str = ""
    took_us: Positive | None = None
    instructions: Count | None = None
    reason: Text = ""


class Retreat(Event):
    """Back to the generic code."""

    variant: str = ""
    swap_us: Positive | None = None
    link_us: Positive | None = None
    grace_ms: Positive | None = None
    reason: Text = ""


class TablesChanged(Event):
    """A burst of changes of the control plane's tables."""

    changes: Count | None = None
    batches: Count | None = None
    refused: Count = 0
    mean_us: Positive | None = None
    longest_us: Positive | None = None
    reason: Text = ""


class Again(Event):
    """The variant that was given up is live again, made for the changed tables."""

    variant: str
    after_ms: Positive | None = None
    build_ms: Positive | None = None
    preflight_ms: Positive | None = None


class Reading(Event):
    """One look of the watching controller at the traffic; ``reference_ns`` is generic's time."""

    pps: Positive | None = None
    time_ns: Positive | None = None
    reference_ns: Positive | None = None
    packets: Count | None = None
    live: str = ""
    signature: dict[str, Any] | None = None
    share_explored: Positive | None = None


class Phase(Event):
    """A scenario's phase begins."""

    name: str


class Shift(Event):
    """The traffic is another one; ``before`` and ``after`` are shares in the group that moved."""

    reason: Text = ""
    statistic: float | None = None
    threshold: float | None = None
    group: Text = ""
    before: dict[str, float] = {}
    after: dict[str, float] = {}


class Recalled(Event):
    """A variant that was best for similar traffic is live again."""

    variant: str
    distance: float | None = None


class SearchMark(Event):
    """``search_begins`` and ``search_ends``."""

    reason: Text = ""


class Regret(Event):
    """The controller's own account of what exploring cost."""

    regret_pct: float
    explored_share: Positive | None = None


KINDS: dict[str, type[Event]] = {
    "attached": Opened,
    "adopted": Opened,
    "observed": Observed,
    "space": Space,
    "built": Built,
    "refused": Refused,
    "trial": Trial,
    "decision": Decision,
    "second_observer": SecondObserver,
    "kept": Because,
    "advice": Because,
    "swap": Swap,
    "retreat": Retreat,
    "tables_changed": TablesChanged,
    "specialized_again": Again,
    "reading": Reading,
    "phase": Phase,
    "shift": Shift,
    "recalled": Recalled,
    "search_begins": SearchMark,
    "search_ends": SearchMark,
    "regret": Regret,
}
# told as problems, with their reasons
TROUBLES: dict[str, str] = {
    "trial_failed": "a trial failed",
    "drift": "an arm decided otherwise than generic on the same traffic",
    "not_specialized": "not specialized again",
    "not_settled": "the link could not be given to the variant itself",
    "sandboxes_dropped": "proofs have to be made anew",
    "sensor_untimed": "the sensor cannot time packets",
    "reload_refused": "the operator file was not taken",
    "stale_pins_removed": "stale pins were removed",
}
