# SPDX-License-Identifier: GPL-2.0-only
"""A scenario as it is played: phases one after the other, inert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from iridescent_xdp.config.model import PointValue
from traffic.mix_stream import Stream
from traffic.scenario_changes import TableChange
from traffic.scenario_spec import FunctionName
from traffic.scenario_streams import Part, stream_of
from traffic.scenario_tables import Tables, TableSource

if TYPE_CHECKING:
    from iridescent_xdp.bench.subject import Egress


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Traffic that stays the same for ``seconds``.

    ``rate`` is a share of full speed; 1 sends as fast as the receiver takes it. ``hot`` is the seed
    of the flows. ``changes`` are in the order of their times.
    """

    name: str
    seconds: float
    rate: float = 1.0
    hot: int = 0
    parts: tuple[Part, ...] = field(repr=False)
    changes: tuple[TableChange, ...] = ()

    def stream(self) -> Stream:
        """What is sent; the same object for phases with the same traffic."""
        return stream_of(self.parts)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A whole scenario file; ``phases`` has every round, at least one phase.

    ``policy`` is what the function has to be told, as ``[interface.NAME.policy]`` of an operator
    file.
    """

    name: str
    description: str
    path: Path
    function: FunctionName
    seed: int
    policy: Mapping[str, PointValue]
    source: TableSource
    phases: tuple[Phase, ...]

    @property
    def seconds(self) -> float:
        """How long all phases take."""
        return sum(phase.seconds for phase in self.phases)

    def interface_tables(self, egress: Egress | None = None) -> Tables:
        """The function's tables before the first phase, as InterfaceConfig takes them.

        Routes that are not written out in the file lead over ``egress`` (default: the loopback).
        """
        return self.source.tables(egress)
