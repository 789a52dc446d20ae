# SPDX-License-Identifier: GPL-2.0-only
"""Events into searches: where each begins and ends, its trials, what became of every variant."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from iridescent_xdp.report.figures import cost_of
from iridescent_xdp.report.kinds import (
    Arm,
    Because,
    Built,
    Decision,
    Event,
    Observed,
    Refused,
    SearchMark,
    SecondObserver,
    Space,
    Swap,
    Trial,
)
from iridescent_xdp.report.model import GENERIC, TWIN, Search, TrialSpan, VariantRow

AFTER = frozenset({"second_observer", "swap", "advice", "kept", "search_ends"})  # the decision
OF_A_SEARCH = AFTER | {
    *("search_begins", "observed", "space", "built", "refused", "trial", "decision"),
}


@dataclass(kw_only=True)
class _Open:
    """A search while its events come."""

    number: int
    begin_s: float
    end_s: float = 0.0
    told: bool = False  # search_begins was
    over: bool = False
    why_begun: str = ""
    outcome: str = "unfinished"
    reason: str = "before anything was decided"
    space_size: int | None = None
    observed: int | None = None
    decision: Decision | None = None
    observer: SecondObserver | None = None
    rows: dict[str, VariantRow] = field(default_factory=dict)
    trials: list[TrialSpan] = field(default_factory=list)


class Searches:
    """Feed it the events of one run in their order; ``close`` gives the searches."""

    def __init__(self) -> None:
        self._all: list[_Open] = []

    def add(self, kind: str, event: Event, at_s: float, before_s: float) -> None:
        """``before_s`` is when the event before was told: a trial began after it."""
        current = self._current(kind, event, at_s, before_s)
        if current is None:
            return
        current.end_s = at_s
        match event:
            case SearchMark():
                if kind == "search_begins":
                    current.told, current.why_begun = True, event.reason
                else:
                    current.over = True
            case Observed():
                current.observed = event.packets
            case Space():
                current.space_size = event.size
            case Built():
                self._built(current, event)
            case Refused():
                current.rows[event.variant] = VariantRow(
                    label=event.variant, key=event.key, status="refused", reason=event.reason
                )
            case Trial():
                self._trial(current, event, before_s, at_s)
            case _:
                self._ending(current, kind, event)

    def _current(self, kind: str, event: Event, at_s: float, before_s: float) -> _Open | None:
        last = self._all[-1] if self._all else None
        if kind in AFTER:
            if isinstance(event, Swap) and not _decided_for(last, event):
                return None  # of a recall, or of tables that changed
            return last
        fresh = (
            last is None
            or last.over
            or kind == "search_begins"
            or (last.outcome != "unfinished" and not last.told)
            or (kind == "observed" and last.observed is not None and not last.told)
        )
        if fresh:
            begin_s = before_s if kind in ("observed", "trial") else at_s
            last = _Open(number=len(self._all) + 1, begin_s=begin_s)
            self._all.append(last)
        return last

    def _built(self, current: _Open, event: Built) -> None:
        row = current.rows.get(event.variant, VariantRow(label=event.variant))
        current.rows[event.variant] = replace(
            row,
            key=event.key,
            instructions=event.instructions,
            build_ms=event.build_ms,
            preflight_ms=event.preflight_ms,
        )

    def _trial(self, current: _Open, event: Trial, begin_s: float, end_s: float) -> None:
        trial = TrialSpan(begin_s=begin_s, end_s=end_s, arms=event.arms)
        current.trials.append(trial)
        for arm in event.arms:
            if arm.variant not in (GENERIC, TWIN):
                row = current.rows.get(arm.variant, VariantRow(label=arm.variant))
                current.rows[arm.variant] = _measured(row, arm, trial.generic)

    def _ending(self, current: _Open, kind: str, event: Event) -> None:
        match event:
            case Decision():
                current.decision, current.reason = event, event.reason
                current.outcome = "kept" if event.winner == GENERIC else "decided"
            case SecondObserver():
                current.observer = event
            case Swap():
                current.outcome = "swapped"
            case Because():
                current.outcome = kind
                if kind == "kept" or not current.reason:
                    current.reason = event.reason

    def close(self) -> tuple[Search, ...]:
        """All searches, ranked variants first."""
        return tuple(_closed(search) for search in self._all)


def _decided_for(search: _Open | None, swap: Swap) -> bool:
    if search is None or search.decision is None or search.outcome != "decided":
        return False
    return swap.variant == search.decision.winner


def _measured(row: VariantRow, arm: Arm, generic: Arm | None) -> VariantRow:
    gain = arm.gain.value if arm.gain is not None else None
    if gain is None and generic is not None:
        gain = generic.time_ns - arm.time_ns
    return replace(
        row,
        status="measured",
        time_ns=arm.time_ns,
        gain=arm.gain,
        gain_ns=gain,
        gain_pct=_of(gain, generic.time_ns if generic is not None else None),
        samples=row.samples + arm.samples,
        packets=row.packets + arm.packets,
        trials=row.trials + 1,
        miss_share=arm.miss_share,
    )


def _of(gain: float | None, base: float | None) -> float | None:
    return 100 * gain / base if gain is not None and base else None


def _closed(search: _Open) -> Search:
    decision = search.decision
    winner = decision.winner if decision is not None and search.outcome != "kept" else GENERIC
    rows = [_decided(row, decision, winner) for row in search.rows.values()]
    rows.sort(key=lambda row: (row.status == "refused", -(row.gain_ns or -1e9)))
    return Search(
        number=search.number,
        begin_s=search.begin_s,
        end_s=search.end_s,
        outcome=search.outcome,
        reason=search.reason,
        why_begun=search.why_begun,
        winner=winner,
        space_size=search.space_size,
        observed_packets=search.observed,
        generic_ns=decision.generic_ns if decision is not None else _last_generic(search.trials),
        noise_floor_ns=decision.noise_floor_ns if decision is not None else None,
        needed_ns=decision.needed_ns if decision is not None else None,
        variants=tuple(rows),
        trials=tuple(search.trials),
        observer=search.observer,
        cost=cost_of(search.trials, None, ()),
    )


def _last_generic(trials: list[TrialSpan]) -> float | None:
    arms = (trial.generic for trial in reversed(trials))
    return next((arm.time_ns for arm in arms if arm is not None), None)


def _decided(row: VariantRow, decision: Decision | None, winner: str) -> VariantRow:
    """Finalists have the gain that was decided by, with its interval."""
    gain = decision.gains.get(row.label) if decision is not None else None
    if gain is None or decision is None:
        return row
    return replace(
        row,
        status="winner" if row.label == winner else "finalist",
        gain=gain,
        gain_ns=gain.value,
        gain_pct=_of(gain.value, decision.generic_ns),
    )
