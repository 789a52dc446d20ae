# SPDX-License-Identifier: GPL-2.0-only
"""A search that was killed goes on: what a policy was told, as events and back.

The campaign writes one event ``told`` per batch, right after the policy was told. After a kill -9
the log holds all batches but perhaps the last, whose trials are then measured again. Since the same
results lead to the same proposals, asking and telling them once more (``Policy.resume``) brings a
new policy to where the old one was.

Effects are written as decimal texts, not as numbers: the event log rounds numbers to four digits,
and a rounded effect could turn a tie.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.search.policy import ResumeError
from iridescent_xdp.search.space import Space
from iridescent_xdp.search.trial import Outcome, Status
from iridescent_xdp.statistics import Effect
from iridescent_xdp.variant import Variant

TOLD = "told"  # the event's name
SPACE = "space"  # begins a search; what was told before belongs to another one
RESUMED = "resumed"  # the search that SPACE began goes on with what was told before it
# After the last batch. A search that told one of these was not killed.
ENDS = frozenset({"decision", "kept", "advice", "held_back", "regret"})
_ANEW = "start the search anew"
_EVENT_BEGINS = '{"time"'


def told_event(outcomes: Sequence[Outcome], *, budget: int = 0) -> dict[str, Any]:
    """The numbers of the event TOLD: ``events.tell(TOLD, **told_event(outcomes))``.

    ``budget`` (timed samples per arm) is for readers; it is not needed to resume.
    """
    return {"budget": budget, "outcomes": [_plain(outcome) for outcome in outcomes]}


def _plain(outcome: Outcome) -> dict[str, Any]:
    effect = outcome.effect
    told: dict[str, Any] = {"variant": dict(outcome.variant.values), "status": str(outcome.status)}
    if effect is not None:
        ends = {"value": effect.value, "low": effect.low, "high": effect.high}
        told["effect"] = {name: repr(float(value)) for name, value in ends.items()}
        told["effect"] |= {"n": effect.n, "unit": effect.unit}
    if outcome.generic_ns:
        told["generic_ns"] = repr(float(outcome.generic_ns))
    if outcome.reason:
        told["reason"] = outcome.reason
    if outcome.stopped:
        told["stopped"] = True
    return told


def outcomes_from(events: Iterable[Mapping[str, Any]], space: Space) -> list[list[Outcome]]:
    """What the last search among ``events`` was told, batch by batch.

    A search begins with the event SPACE (or with the log); earlier ones are left out, unless the
    event RESUMED says that it goes on where they were. ``events`` are those of one interface, in
    order. Raises ResumeError when that search had another space, or an event TOLD is damaged.
    """
    told: list[Mapping[str, Any]] = []
    earlier: list[Mapping[str, Any]] = []
    foreign = ""
    for event in events:
        kind = event.get("event")
        if kind == SPACE:
            told, earlier, foreign = [], told, _difference(event, space)
        elif kind == RESUMED:
            told = [*earlier, *told]
        elif kind == TOLD:
            told.append(event)
    if told and foreign:
        raise ResumeError(f"the log's search had another space: {foreign}", cure=_ANEW)
    return [_batch(event, space, number) for number, event in enumerate(told, start=1)]


def unfinished(events: Iterable[Mapping[str, Any]], interface: str) -> list[Mapping[str, Any]]:
    """The events of ``interface``, if its last search was killed before it decided; else none.

    Events without an interface belong to all.
    """
    mine = [event for event in events if event.get("interface", interface) == interface]
    open_search = False
    for event in mine:
        kind = event.get("event")
        if kind in (TOLD, RESUMED):
            open_search = True
        elif kind in ENDS or kind == SPACE:
            open_search = False
    return mine if open_search else []


def _difference(event: Mapping[str, Any], space: Space) -> str:
    """In which axis the space of an event SPACE differs; nothing when it does not."""
    logged = event.get("axes")
    if not isinstance(logged, Mapping):
        return ""
    for name in dict.fromkeys((*logged, *space.axes)):
        theirs, ours = logged.get(name), space.axes.get(name)
        if theirs is None or ours is None or list(theirs) != list(ours):
            return f"point '{name}' took {theirs}, now {ours and list(ours)}"
    return ""


def _batch(event: Mapping[str, Any], space: Space, number: int) -> list[Outcome]:
    try:
        return [_outcome(told, space) for told in event["outcomes"]]
    except (KeyError, TypeError, ValueError, AttributeError, MeasurementError) as error:
        if isinstance(error, ResumeError):
            raise ResumeError(f"batch {number} of the log: {error.message}", cure=_ANEW) from error
        raise ResumeError(
            f"batch {number} of the log is damaged: {type(error).__name__}: {error}", cure=_ANEW
        ) from error


def _outcome(told: Mapping[str, Any], space: Space) -> Outcome:
    variant = Variant(tuple((str(name), int(value)) for name, value in told["variant"].items()))
    if variant not in space:
        raise ResumeError(f"{dict(variant.values)} is not in this search's space")
    raw = told.get("effect")
    effect = None
    if raw is not None:
        value, low, high = (float(raw[name]) for name in ("value", "low", "high"))
        effect = Effect(value=value, low=low, high=high, n=int(raw["n"]), unit=str(raw["unit"]))
    return Outcome(
        variant=variant,
        status=Status(told["status"]),
        effect=effect,
        reason=str(told.get("reason", "")),
        stopped=bool(told.get("stopped", False)),
        generic_ns=float(told.get("generic_ns", 0.0)),
    )


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log, in order.

    A torn last line, which is what a kill leaves, is left out; where a later run wrote on behind a
    torn line, its event is still read. Raises ResumeError for a log that cannot be read, and for a
    line in the middle that is no event.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise ResumeError(f"cannot read {path}: {error.strerror}", cure=_ANEW) from error
    for number, line in enumerate(lines, start=1):
        event = _event(line) or _event(line[line.rfind(_EVENT_BEGINS) :])
        if event is not None:
            yield event
        elif line.strip() and number < len(lines):
            raise ResumeError(f"{path}: line {number} is no event", cure=_ANEW)


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except json.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None
