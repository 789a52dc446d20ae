# SPDX-License-Identifier: GPL-2.0-only
"""What stands on the timeline and in the tables of changes: events in words, with their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from iridescent_xdp.report import figures, words
from iridescent_xdp.report.kinds import (
    Again,
    Event,
    Recalled,
    Retreat,
    SearchMark,
    Shift,
    Swap,
    TablesChanged,
)
from iridescent_xdp.report.model import Look, ShiftRow, Span

# read by their reason only
PLAIN = {
    "settled": "the link holds the variant itself",
    "reloaded": "the operator file was read again",
    "reload_refused": "the operator file was not taken",
    "not_specialized": "not specialized again",
    "notes": "notes of the function",
}


def known(kind: str) -> bool:
    """Whether the report says something about this kind, though it reads no numbers of it."""
    return kind in PLAIN


def title(kind: str, event: Event | None, fields: Mapping[str, Any]) -> str:
    """The words of a mark; empty for what is no moment of the timeline."""
    match event:
        case Swap():
            took = f" in {words.us(event.took_us)}" if event.took_us is not None else ""
            return f"swap to {event.variant}{took}"
        case Retreat():
            return f"back to generic from {event.variant or 'what was live'}"
        case TablesChanged():
            return "tables changed" + (f": {event.changes:,} changes" if event.changes else "")
        case Again():
            after = f" {words.ms(event.after_ms)} after the change" if event.after_ms else ""
            return f"specialized again{after}: {event.variant}"
        case Shift():
            return f"shift detected{f' in {event.group}' if event.group else ''}"
        case Recalled():
            return f"recalled {event.variant}"
        case SearchMark() if kind == "search_begins":
            return "search begins"
    if kind in ("kept", "advice"):
        return "generic stays" if kind == "kept" else f"advice only: {fields.get('variant', '')}"
    return PLAIN.get(kind, "")


def change(kind: str, event: Event | None, fields: Mapping[str, Any]) -> tuple[str, str] | None:
    """What happened to tables and to the code made from them, and its numbers; else None."""
    reason = str(fields.get("reason") or "")
    match event:
        case TablesChanged():
            parts = [
                f"{words.count(event.batches)} batches" if event.batches is not None else "",
                f"mean {words.us(event.mean_us)}" if event.mean_us is not None else "",
                f"longest {words.us(event.longest_us)}" if event.longest_us is not None else "",
                f"{event.refused} refused" if event.refused else "",
                reason,
            ]
            number = f"{event.changes:,} changes" if event.changes is not None else "tables changed"
            return number, _joined(parts)
        case Retreat():
            took = event.swap_us if event.swap_us is not None else event.link_us
            parts = [
                f"took {words.us(took)}" if took is not None else "",
                f"grace period {words.ms(event.grace_ms)}" if event.grace_ms is not None else "",
                reason,
            ]
            return f"back to generic from {event.variant or 'what was live'}", _joined(parts)
        case Again():
            parts = [
                f"{words.ms(event.after_ms)} after the last change" if event.after_ms else "",
                f"built in {words.ms(event.build_ms)}" if event.build_ms is not None else "",
                f"proven in {words.ms(event.preflight_ms)}"
                if event.preflight_ms is not None
                else "",
            ]
            return f"specialized again: {event.variant}", _joined(parts)
    return (PLAIN[kind], reason) if kind in PLAIN else None


def _joined(parts: Sequence[str]) -> str:
    return ", ".join(part for part in parts if part)


def shift_row(
    at_s: float,
    shift: Shift,
    *,
    phase: Span | None,
    recalled: tuple[float, Recalled] | None,
    looks: Sequence[Look],
) -> ShiftRow:
    """A shift with what came before and after it."""
    before = next((x.seen for x in reversed(looks) if x.at_s <= at_s and x.seen.signature), None)
    if phase is not None:
        ahead = (x.seen for x in reversed(looks) if x.at_s < phase.begin_s and x.seen.signature)
        before = next(ahead, before)
    after = next((x.seen for x in looks if x.at_s > at_s and x.seen.signature), None)
    told = figures.changed(shift.before, shift.after)
    if not told and before is not None and after is not None:
        told = figures.changed(before.signature, after.signature)
    return ShiftRow(
        at_s=at_s,
        reason=shift.reason,
        group=shift.group,
        statistic=shift.statistic,
        threshold=shift.threshold,
        phase=phase.name if phase is not None else "",
        after_phase_ms=(at_s - phase.begin_s) * 1000 if phase is not None else None,
        recalled=recalled[1].variant if recalled is not None else "",
        distance=recalled[1].distance if recalled is not None else None,
        recall_ms=(recalled[0] - at_s) * 1000 if recalled is not None else None,
        changed=told,
    )
