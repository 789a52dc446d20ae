# SPDX-License-Identifier: GPL-2.0-only
"""Numbers and decisions in words, the same in tables, charts and sentences."""

from __future__ import annotations

from datetime import UTC, datetime

from iridescent_xdp.report.kinds import Interval
from iridescent_xdp.report.model import Run, Search

NOTHING = "\u2013"
_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def ns(value: float | None) -> str:
    """``57.7 ns``."""
    return NOTHING if value is None else f"{value:,.1f} ns"


def signed_ns(value: float | None) -> str:
    """``+57.7 ns``; less is a real minus."""
    return NOTHING if value is None else f"{value:+,.1f} ns".replace("-", "\u2212")


def percent(value: float | None, digits: int = 1) -> str:
    """``value`` is in per cent."""
    return NOTHING if value is None else f"{value:,.{digits}f} %".replace("-", "\u2212")


def share(value: float | None) -> str:
    """``value`` is a share of 1."""
    return NOTHING if value is None else percent(100 * value, 2 if 0 < value < 0.1 else 1)


def count(value: float | None) -> str:
    """With thousands apart."""
    return NOTHING if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """``2.52 M``."""
    if value is None:
        return NOTHING
    for step, letter in _STEPS:
        if abs(value) >= step:
            return f"{value / step:.3g} {letter}"
    return f"{value:.3g} "


def pps(value: float | None) -> str:
    """``2.52 Mpps``."""
    return NOTHING if value is None else f"{short(value)}pps"


def ms(value: float | None) -> str:
    """``37.4 ms``; from 10 s on in seconds."""
    if value is None:
        return NOTHING
    return f"{value / 1000:,.1f} s" if value >= 10_000 else f"{value:,.3g} ms"


def us(value: float | None) -> str:
    """``65.7 µs``."""
    return NOTHING if value is None else f"{value:,.1f} µs"


def seconds(value: float | None) -> str:
    """``12.77 s``; from 10 minutes on in minutes."""
    if value is None:
        return NOTHING
    return f"{value / 60:,.1f} min" if value >= 600 else f"{value:,.2f} s"


def interval(gain: Interval | None) -> str:
    """``54.7 to 60.7``."""
    if gain is None:
        return NOTHING
    return f"{gain.low:,.1f} to {gain.high:,.1f}".replace("-", "\u2212")


def moment(began: float | None) -> str:
    """A Unix time for people, in UTC."""
    if began is None:
        return "at an unknown time"
    return datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def times(ratio: Interval | None) -> str:
    """``1.15 (1.13 to 1.17)``."""
    return NOTHING if ratio is None else f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def headline(search: Search) -> str:
    """The decision of a search in a sentence."""
    if search.outcome == "unfinished":
        return f"No decision: the log ends, or another search begins, {search.reason}."
    if search.outcome == "kept" or not search.best:
        return f"The generic program stays: {search.reason.removeprefix('generic stays: ')}."
    verb = {
        "swapped": "replaced the generic program",
        "advice": "would replace the generic program (advice only, nothing was swapped)",
    }.get(search.outcome, "won, but the log holds no swap to it")
    return f"{search.winner} {verb}: {saves(search)}."


def saves(search: Search) -> str:
    """What the winner gains, with its interval, and what it had to exceed."""
    best = search.best
    if best is None or best.gain_ns is None:
        return search.reason
    told = f"it saves {ns(best.gain_ns)} per packet"
    if best.gain is not None:
        told += f" (99 % interval {interval(best.gain)}, {best.gain.n} windows)"
    if search.generic_ns:
        told += f" of {ns(search.generic_ns)}"
    if search.needed_ns is not None:
        told += f"; a gain had to exceed {ns(search.needed_ns)}"
    if search.noise_floor_ns is not None:
        told += f", and generic differed from itself by {ns(search.noise_floor_ns)} (noise floor)"
    return told


def facts(run: Run) -> str:
    """What ran, how, and for how long."""
    parts = [
        f"function {run.function}" if run.function else "",
        f"{run.mode} mode" if run.mode else "",
        f"toolchain {run.toolchain}" if run.toolchain else "",
        f"{seconds(run.end_s)} in the log",
        "took over a program of ours that was attached" if run.adopted else "",
    ]
    return " · ".join(part for part in parts if part)
