# SPDX-License-Identifier: GPL-2.0-only
"""The operator file's values, checked and inert.

Each key is declared once, here: its type, default, range, the words that describe it in an
error (``description``) and a right value (``examples``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from iridescent_xdp.config.objective import ObjectiveConfig, TimePerPacketConfig
from iridescent_xdp.config.section import Section
from iridescent_xdp.config.values import (
    STRATEGIES,
    check_hours,
    check_strategy,
    check_study,
    no_shorter_than,
)

__all__ = [
    "MAX_ARMS",
    "AdaptConfig",
    "Config",
    "ConstraintsConfig",
    "InterfaceConfig",
    "InterfaceSettings",
    "LimitsConfig",
    "PointValue",
    "SearchConfig",
    "Section",
]

PointValue = bool | int | str

Mode = Literal["native-then-generic", "native", "generic"]
ToolchainName = Literal["auto", "bcc", "llvm"]
Apply = Literal["winner", "advice"]

MAX_SEARCH_S = 86_400
MAX_WAIT_MS = 3_600_000
# SPEC_ARMS of bpf/include/iridescent_run.h, less the generic variant and its twin (noise floor).
MAX_ARMS = 30
MAX_SEED = 2**63 - 1  # the largest integer that every TOML reader keeps


class SearchConfig(Section):
    """How variants are searched.

    ``points`` maps a point's name to the values that may be tried; one value fixes the point.
    """

    strategy: Annotated[str, AfterValidator(check_strategy)] = Field(
        default="racing",
        description=f"{', '.join(STRATEGIES)} or the path of a .py file",
        examples=["racing"],
    )
    max_seconds: float = Field(
        default=30.0,
        gt=0,
        le=MAX_SEARCH_S,
        description=f"a number of seconds greater than 0 and at most {MAX_SEARCH_S}",
        examples=[30],
    )
    max_arms: int | None = Field(
        default=None,
        ge=1,
        le=MAX_ARMS,
        description=f"an integer from 1 to {MAX_ARMS}",
        examples=[16],
    )
    share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="a share greater than 0 and at most 1",
        examples=[0.25],
    )
    seed: int = Field(
        default=0, ge=0, le=MAX_SEED, description="an integer from 0 to 2^63 - 1", examples=[7]
    )
    max_trials: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="an integer from 1 to 1000000",
        examples=[40],
    )
    study: Annotated[str | None, AfterValidator(check_study)] = Field(
        default=None,
        description="a connection string in quotes",
        examples=["sqlite:////var/lib/iridescent/study.db"],
    )
    points: dict[str, tuple[PointValue, ...]] = Field(default={}, description="a table")


class AdaptConfig(Section):
    """Whether and how the controller goes on after the first decision.

    Each ``every_ms`` it looks at the traffic for ``look_ms``.
    """

    enabled: bool = Field(default=True, description="true or false", examples=[True])
    look_ms: int = Field(
        default=20,
        ge=1,
        le=MAX_WAIT_MS,
        description=f"an integer from 1 to {MAX_WAIT_MS}",
        examples=[20],
    )
    every_ms: Annotated[int, AfterValidator(no_shorter_than("look_ms"))] = Field(
        default=100,
        ge=1,
        le=MAX_WAIT_MS,
        description=f"an integer from 1 to {MAX_WAIT_MS}",
        examples=[100],
    )
    memory: bool = Field(default=True, description="true or false", examples=[True])
    max_searches_per_hour: int | None = Field(
        default=None,
        ge=1,
        le=MAX_WAIT_MS,
        description=f"an integer from 1 to {MAX_WAIT_MS}",
        examples=[60],
    )


class ConstraintsConfig(Section):
    """What a chosen variant must keep to; the generic one is exempt."""

    p99_ns: float | None = Field(
        default=None,
        gt=0,
        lt=2**20,
        description="nanoseconds greater than 0 and below 1048576",
        examples=[250],
    )
    instructions: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="an integer from 1 to 1000000",
        examples=[4096],
    )
    memory_bytes: int | None = Field(
        default=None,
        ge=1,
        le=2**63 - 1,
        description="a number of bytes, at least 1",
        examples=[16_777_216],
    )


class LimitsConfig(Section):
    """How much the controller may disturb: without a limit it swaps when it pays."""

    swaps_per_minute: int | None = Field(
        default=None, ge=1, le=6_000, description="an integer from 1 to 6000", examples=[6]
    )
    quiet_hours: Annotated[tuple[str, ...], BeforeValidator(check_hours)] = Field(
        default=(), description='a list of "HH:MM-HH:MM"', examples=[["22:30-06:00"]]
    )
    max_share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="a share greater than 0 and at most 1",
        examples=[0.25],
    )
    max_regret_pct: float | None = Field(
        default=None,
        gt=0,
        le=1_000,
        description="a percentage greater than 0 and at most 1000",
        examples=[2],
    )


class InterfaceSettings(Section):
    """The keys of ``[interface.NAME]`` that every function has."""

    function: str = Field(
        description="the name of a function or the path of a .bpf.c file", examples=["filter"]
    )
    mode: Mode = Field(default="native-then-generic", examples=["native"])
    objective: ObjectiveConfig = Field(
        default=TimePerPacketConfig(), description="a table", examples=["time_per_packet"]
    )
    toolchain: ToolchainName = Field(default="auto", examples=["llvm"])
    apply: Apply = Field(default="winner", examples=["advice"])
    policy: dict[str, PointValue] = Field(default={}, description="a table")
    search: SearchConfig = Field(default=SearchConfig(), description="a table")
    adapt: AdaptConfig = Field(default=AdaptConfig(), description="a table")
    constraints: ConstraintsConfig = Field(default=ConstraintsConfig(), description="a table")
    limits: LimitsConfig = Field(default=LimitsConfig(), description="a table")


class InterfaceConfig(InterfaceSettings):
    """One interface: ``tables`` is what the function's own reader made, None if it has none.

    ``function`` is a template's name or the absolute path of a .bpf.c file.
    """

    name: str
    tables: object = None


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole operator file; ``interfaces`` in the order of the file, at least one."""

    path: Path
    interfaces: tuple[InterfaceConfig, ...]
