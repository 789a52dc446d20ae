# SPDX-License-Identifier: GPL-2.0-only
"""The operator file's values, checked and inert.

Each key is declared once, here: its type, default, range, the words that describe it in an
error (``description``) and a right value (``examples``).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PointValue = bool | int | str

Mode = Literal["native-then-generic", "native", "generic"]
Objective = Literal["time_per_packet", "throughput"]
ToolchainName = Literal["auto", "bcc", "llvm"]
Apply = Literal["winner", "advice"]
Strategy = Literal["racing", "exhaustive"]

MAX_SEARCH_S = 86_400
# SPEC_ARMS of bpf/include/iridescent_run.h, less the generic variant and its twin (noise floor).
MAX_ARMS = 30
MAX_SEED = 2**63 - 1  # the largest integer that every TOML reader keeps


class Section(BaseModel):
    """A table of the operator file: no conversions, no unknown keys, no changes afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SearchConfig(Section):
    """How variants are searched.

    ``points`` maps a point's name to the values that may be tried; one value fixes the point.
    """

    strategy: Strategy = Field(default="racing", examples=["racing"])
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
    points: dict[str, tuple[PointValue, ...]] = Field(default={}, description="a table")


class InterfaceSettings(Section):
    """The keys of ``[interface.NAME]`` that every function has."""

    function: str = Field(
        description="the name of a function or the path of a .bpf.c file", examples=["filter"]
    )
    mode: Mode = Field(default="native-then-generic", examples=["native"])
    objective: Objective = Field(default="time_per_packet", examples=["throughput"])
    toolchain: ToolchainName = Field(default="auto", examples=["llvm"])
    apply: Apply = Field(default="winner", examples=["advice"])
    policy: dict[str, PointValue] = Field(default={}, description="a table")
    search: SearchConfig = Field(default=SearchConfig(), description="a table")


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
