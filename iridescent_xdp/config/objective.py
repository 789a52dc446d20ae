# SPDX-License-Identifier: GPL-2.0-only
"""``objective = "NAME"`` or ``[interface.X.objective]``: what is made better, as configuration.

What each of them measures is in the package ``iridescent_xdp.objectives``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from iridescent_xdp.config.check import checked, table
from iridescent_xdp.config.problems import KeyPath, Plain, Problems, nearest, quote, show_value
from iridescent_xdp.config.section import Section

VERDICTS = ("aborted", "drop", "pass", "tx", "redirect")  # enum xdp_action, <linux/bpf.h>
LEAST_REPETITIONS = 9  # below, a result is called unreliable and leads to no swap
MAX_UNIT = 20

Direction = Literal["lower", "higher"]


def _weights(value: object) -> dict[str, float]:
    """A weight for each verdict that is named."""
    example = "for example weights = { pass = 1, drop = 0.2 }"
    if not isinstance(value, Mapping) or not value:
        raise Plain(f"must be a table of verdicts, got {show_value(value)}", example)
    for name, weight in value.items():
        if name not in VERDICTS:
            near = nearest(name, VERDICTS)
            cure = f"did you mean '{near}'?" if near else f"verdicts: {', '.join(VERDICTS)}"
            raise Plain(f"names no verdict, got {quote(name)}", cure)
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 <= weight <= 1e6:
            rule = f"weights go from 0 to 1000000, got {name} = {show_value(weight)}"
            raise Plain(rule, example)
    if not any(value.values()):
        raise Plain("must have a weight above 0", example)
    return {name: float(weight) for name, weight in value.items()}


def _argv(value: object) -> tuple[str, ...]:
    """A program and its arguments."""
    texts = isinstance(value, list | tuple) and all(isinstance(word, str) for word in value)
    if texts and value and value[0] and not any("\0" in word for word in value):  # type: ignore[index,attr-defined]
        return tuple(value)  # type: ignore[arg-type]
    raise Plain(
        f"must be a list, the program first, got {show_value(value)}",
        'for example ["/usr/local/bin/latency", "--once"]; there is no shell',
    )


def _url(value: str) -> str:
    """The address of a server."""
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query
        _ = parts.port
    except ValueError:
        good = False
    if good:
        return value
    raise Plain(
        f"must be the address of a Prometheus server, got {show_value(value)}",
        'for example "http://localhost:9090"; the query has a key of its own',
    )


def _text(value: str) -> str:
    if value.strip() and value.isprintable():
        return value
    raise Plain(f"must not be empty or hold line breaks, got {quote(value)}", "write it out")


class TimePerPacketConfig(Section):
    """Mean time per packet inside the variant."""

    kind: Literal["time_per_packet"] = "time_per_packet"


class ThroughputConfig(Section):
    """Packets per second while all packets go to one variant."""

    kind: Literal["throughput"] = "throughput"


class P99Config(Section):
    """The 99 % quantile of the time per packet."""

    kind: Literal["p99"] = "p99"


class VerdictCostConfig(Section):
    """Time per packet, weighted by what became of the packet; verdicts left out weigh 1."""

    kind: Literal["verdict_cost"] = "verdict_cost"
    weights: Annotated[dict[str, float], BeforeValidator(_weights)] = Field(
        description="a table of verdicts", examples=[{"pass": 1, "drop": 0.2}]
    )


class OutsideConfig(Section):
    """What measurements from outside the program have in common."""

    direction: Direction = Field(examples=["lower"])
    unit: Annotated[str, AfterValidator(_text)] = Field(
        max_length=MAX_UNIT, description=f"at most {MAX_UNIT} characters in quotes", examples=["us"]
    )
    timeout_s: float = Field(
        default=5.0,
        gt=0,
        le=600,
        description="a number of seconds greater than 0 and at most 600",
        examples=[5],
    )
    settle_s: float = Field(
        default=0.2,
        ge=0,
        le=600,
        description="a number of seconds from 0 to 600",
        examples=[15],
    )
    repetitions: int = Field(
        default=12,
        ge=LEAST_REPETITIONS,
        le=1_000,
        description=f"an integer from {LEAST_REPETITIONS} to 1000",
        examples=[12],
    )


class CommandConfig(OutsideConfig):
    """A program of the operator that prints one number."""

    kind: Literal["command"] = "command"
    command: Annotated[tuple[str, ...], BeforeValidator(_argv)] = Field(
        description="a list, the program first", examples=[["/usr/local/bin/latency", "--once"]]
    )


class PrometheusConfig(OutsideConfig):
    """A query to a Prometheus server that gives one number."""

    kind: Literal["prometheus"] = "prometheus"
    url: Annotated[str, AfterValidator(_url)] = Field(
        description="the address of a Prometheus server in quotes",
        examples=["http://localhost:9090"],
    )
    query: Annotated[str, AfterValidator(_text)] = Field(
        description="a query in quotes", examples=["max(request_seconds)"]
    )


ObjectiveConfig = (
    TimePerPacketConfig
    | ThroughputConfig
    | P99Config
    | VerdictCostConfig
    | CommandConfig
    | PrometheusConfig
)
KINDS: dict[str, type[ObjectiveConfig]] = {
    "time_per_packet": TimePerPacketConfig,
    "throughput": ThroughputConfig,
    "p99": P99Config,
    "verdict_cost": VerdictCostConfig,
    "command": CommandConfig,
    "prometheus": PrometheusConfig,
}

# These are measured while one variant has all packets to itself.
ALONE = frozenset(("throughput", "command", "prometheus"))


def read_objective(raw: object, at: KeyPath, problems: Problems) -> ObjectiveConfig:
    """A name, or a table with ``kind`` and its keys; the default after a problem."""
    keys = {"kind": raw} if isinstance(raw, str) else table(raw, at, problems)
    if keys is None:
        return TimePerPacketConfig()
    kind = keys.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        _unknown_kind(kind, at if isinstance(raw, str) else (*at, "kind"), problems)
        return TimePerPacketConfig()
    made = checked(KINDS[kind], keys, at, problems)
    if isinstance(made, CommandConfig):
        program = _program(made.command[0], (*at, "command"), problems)
        made = made.model_copy(update={"command": (program, *made.command[1:])})
    return made or TimePerPacketConfig()


def _unknown_kind(kind: object, at: KeyPath, problems: Problems) -> None:
    known = ", ".join(show_value(name) for name in KINDS)
    near = nearest(kind, KINDS) if isinstance(kind, str) else None
    cure = f'did you mean "{near}"?' if near else 'for example "time_per_packet"'
    if kind is None:
        problems.add(at, "is missing", f"one of {known}")
    else:
        problems.add(at, f"must be one of {known}, got {show_value(kind)}", cure)


def _program(name: str, at: KeyPath, problems: Problems) -> str:
    """The absolute path of a program: a name is looked for on the path of this process."""
    if "/" in name:
        file = (problems.file.parent / name).resolve()
        found = str(file) if file.is_file() and os.access(file, os.X_OK) else None
        cure = "a relative path starts at the folder of this file; `chmod +x` makes it a program"
    else:
        found = shutil.which(name)
        cure = "give its whole path"
    if found is None:
        problems.add(at, f"no such program, got {quote(name)}", cure)
    return found or name
