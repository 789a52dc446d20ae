# SPDX-License-Identifier: GPL-2.0-only
"""What a search found, kept as JSON beside the interface's record so that `explain` can tell.

``/run/iridescent/KEY/search.json`` holds the last search of an interface. The demo writes the same
document into its folder. Numbers are those of the campaign's summary, none is computed anew.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from iridescent_xdp import runtime
from iridescent_xdp.errors import StateError
from iridescent_xdp.plan import Plan
from iridescent_xdp.saturation import Saturation
from iridescent_xdp.statistics import Effect
from iridescent_xdp.summary import Row, Summary

FILE_NAME = "search.json"
GENERIC = "generic"


@dataclass(frozen=True, kw_only=True)
class VariantReport:
    """One variant of a search: ``status`` is built, measured, refused or winner."""

    key: str
    label: str
    values: Mapping[str, int]
    status: str
    reason: str = ""
    time_ns: float | None = None
    gain: Effect | None = None
    samples: int = 0
    miss_share: float = 0.0
    instructions: int = 0

    @classmethod
    def of(cls, row: Row, *, won: bool) -> Self:
        """From a campaign's row."""
        return cls(
            key=row.variant.key,
            label=row.label,
            values=dict(row.variant.values),
            status="winner" if won else row.status,
            reason=row.reason,
            time_ns=row.time_ns,
            gain=row.gain,
            samples=row.samples,
            miss_share=row.miss_share,
            instructions=row.instructions,
        )


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """How a search ended. Times in ``variants`` contain the cost of reading the clock twice.

    ``sentence`` is the decision in words; ``gains`` are those of the final trial, by label.
    """

    interface: str
    function: str
    template: str
    toolchain: str
    config: str
    events: str
    sentence: str
    generic_key: str
    generic_ns: float | None = None
    needed_ns: float | None = None
    noise_floor_ns: float | None = None
    gains: Mapping[str, Effect] = field(default_factory=dict)
    winner: str = GENERIC
    winner_key: str = ""
    applied: bool = False
    throughput_ratio: Effect | None = None
    kernel_time_ratio: Effect | None = None
    generic_pps: float | None = None
    winner_pps: float | None = None
    space_size: int = 0
    trials: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    finished: str = ""
    variants: tuple[VariantReport, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain values; intervals are {value, low, high, n, unit}."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Raises KeyError, TypeError or ValueError for another kind of document."""
        known = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        for name in ("throughput_ratio", "kernel_time_ratio"):
            known[name] = _effect(known.get(name))
        known["gains"] = {name: Effect(**e) for name, e in known.get("gains", {}).items()}
        known["variants"] = tuple(
            VariantReport(**{**row, "gain": _effect(row["gain"])}) for row in known["variants"]
        )
        return cls(**known)

    def variant(self, key: str) -> VariantReport | None:
        """The variant with this key, if the search met it."""
        return next((v for v in self.variants if v.key == key), None)


def _effect(value: Mapping[str, Any] | None) -> Effect | None:
    return None if value is None else Effect(**value)


def summarize(
    plan: Plan, summary: Summary, *, sentence: str, toolchain: str, config: Path, events: str
) -> SearchReport:
    """The report of a search that is over; ``sentence`` is what the event log said last."""
    decision, saturation = summary.decision, summary.saturation
    winner = summary.winner
    return SearchReport(
        interface=plan.config.name,
        function=plan.template.name,
        template=str(plan.template.path),
        toolchain=toolchain,
        config=str(config.resolve()),
        events=events,
        sentence=sentence,
        generic_key=plan.generic.key,
        generic_ns=decision.generic_ns if decision else None,
        needed_ns=decision.needed_ns if decision else None,
        noise_floor_ns=decision.noise_floor_ns if decision else None,
        gains=dict(decision.gains) if decision else {},
        winner=summary.winner_label,
        winner_key=winner.key if winner else "",
        applied=winner is not None and plan.config.apply == "winner",
        **_throughput(saturation),
        space_size=summary.space_size,
        trials=summary.trials,
        seconds=summary.seconds,
        interrupted=summary.interrupted,
        finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        variants=tuple(VariantReport.of(r, won=r.variant == winner) for r in summary.rows),
    )


def _throughput(saturation: Saturation | None) -> dict[str, Any]:
    if saturation is None:
        return {}
    return {
        "throughput_ratio": saturation.throughput,
        "kernel_time_ratio": saturation.kernel_time,
        "generic_pps": saturation.generic_pps,
        "winner_pps": saturation.winner_pps,
    }


# -- on disk -------------------------------------------------------------------------------


def report_path(key: str) -> Path:
    """Where the last search of an interface is kept."""
    return runtime.RUN / key / FILE_NAME


def save_report(report: SearchReport, path: Path) -> None:
    """Write atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(report.to_json(), indent=1))
    temporary.replace(path)


def read_report(path: Path) -> SearchReport:
    """Raises StateError when it is no search report."""
    try:
        return SearchReport.from_json(json.loads(path.read_text()))
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StateError(
            f"{path} is not the report of a search", cure="name a search.json or summary.json"
        ) from error


def known_reports() -> list[SearchReport]:
    """The last search of every interface, the newest first; damaged files are left out."""
    found: list[tuple[float, SearchReport]] = []
    for path in runtime.RUN.glob(f"*/{FILE_NAME}"):
        try:
            found.append((path.stat().st_mtime, read_report(path)))
        except (StateError, OSError):
            continue
    return [report for _, report in sorted(found, key=lambda pair: pair[0], reverse=True)]
