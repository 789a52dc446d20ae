# SPDX-License-Identifier: GPL-2.0-only
"""Rules of single values that a type cannot say; each raises Plain with what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable

from pydantic import ValidationInfo

from iridescent_xdp.config.problems import Plain, nearest, show_value

STRATEGIES = ("racing", "exhaustive", "screening", "bandit", "optuna")
POLICY_SUFFIX = ".py"  # of a policy of the operator's own

_HOURS = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")


def check_strategy(name: str) -> str:
    """One of STRATEGIES, or a path that ends in ".py"; whether it exists is not looked at."""
    if name in STRATEGIES or name.endswith(POLICY_SUFFIX):
        return name
    near = nearest(name, STRATEGIES)
    known = ", ".join(show_value(word) for word in STRATEGIES)
    raise Plain(
        f"must be one of {known} or the path of a .py file, got {show_value(name)}",
        f"did you mean {show_value(near)}?" if near else 'for example "racing"',
    )


def check_study(place: str | None) -> str | None:
    """A connection string of the form SCHEME://REST, or "memory" for none that lasts."""
    if place is None or place == "memory" or re.match(r"[a-z][a-z0-9+]*://.", place):
        return place
    raise Plain(
        f'must be a connection string SCHEME://… or "memory", got {show_value(place)}',
        'for example "sqlite:////var/lib/iridescent/study.db"',
    )


def no_shorter_than(other: str) -> Callable[[int, ValidationInfo], int]:
    """A rule: not below the value of the key ``other``, which is declared before."""

    def check(value: int, info: ValidationInfo) -> int:
        least = info.data.get(other)
        if least is not None and value < least:
            raise Plain(f"must be at least {other}, got {value} < {least}", f"lower {other}")
        return value

    return check


def check_hours(value: object) -> tuple[str, ...]:
    """A list of texts that ``minutes_of`` can read."""
    if isinstance(value, list | tuple):
        for span in value:
            minutes_of(span)
        return tuple(value)
    raise Plain(
        f'must be a list of "HH:MM-HH:MM", got {show_value(value)}', 'for example ["22:30-06:00"]'
    )


def minutes_of(span: object) -> tuple[int, int]:
    """Begin (inclusive) and end (exclusive) of "HH:MM-HH:MM" in minutes of the day.

    An end before the begin means the next day. "24:00" is the end of the day.
    """
    match = _HOURS.fullmatch(span) if isinstance(span, str) else None
    if match is None:
        raise Plain(f'must be "HH:MM-HH:MM", got {show_value(span)}', 'for example "22:30-06:00"')
    hour, minute, end_hour, end_minute = (int(part) for part in match.groups())
    begin, end = hour * 60 + minute, end_hour * 60 + end_minute
    if hour > 23 or max(minute, end_minute) > 59 or end > 24 * 60:
        raise Plain(
            f"hours go from 00:00 to 23:59, an end up to 24:00, got {show_value(span)}",
            'for example "22:30-06:00"',
        )
    if begin == end:
        raise Plain(f"must not be empty, got {show_value(span)}", 'the whole day is "00:00-24:00"')
    return begin, end
