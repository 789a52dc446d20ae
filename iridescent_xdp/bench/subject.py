# SPDX-License-Identifier: GPL-2.0-only
"""What the suites have to know about a function: its tables, its traffic, its counters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar

from iridescent_xdp.functions.base import Function
from iridescent_xdp.state import State
from traffic.mix_shares import Locality
from traffic.mix_stream import Stream

BENCH = Path(__file__).resolve().parents[2] / "bench"
Changes = Mapping[str, bool | int | str]


class Leaves(Enum):
    """Where packets go that the program under test has handled, in a live run."""

    DROPPED = "dropped"
    BACK = "sent back out of the interface they came in by"
    THROUGH = "redirected to another interface"


@dataclass(frozen=True, kw_only=True)
class Egress:
    """The interface that packets are redirected to. In test runs nothing is sent, so there the
    loopback, which every namespace has, stands for it."""

    name: str = "lo"
    index: int = 1
    mac: bytes = bytes.fromhex("020000000011")


LOOPBACK = Egress()


class Subject(ABC):
    """One function as the suites meet it.

    ``narrow`` is what a search would find out about the traffic of ``stream``: the narrowing
    points, by difference from generic; ``fast`` is a fast way to keep its tables. ``live_policy``
    is set in live runs, so that no packet goes to the kernel's stack, which costs several times the
    program. ``quick_fixed`` names the points that the short form leaves alone; ``hot_points`` says
    of how many hot keys (as an operator writes it) the cost of a miss is measured, by the point
    that says how many there are.
    """

    name: str
    narrow: ClassVar[Changes] = {}
    fast: ClassVar[Changes] = {}
    live_policy: ClassVar[Mapping[str, int]] = {}
    leaves: Leaves = Leaves.DROPPED
    quick_fixed: tuple[str, ...] = ()
    hot_points: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def tables(self, egress: Egress = LOOPBACK) -> object:
        """The control-plane tables of the suites, always the same."""

    @abstractmethod
    def stream(self, locality: Locality, break_share: float = 0.0) -> Stream:
        """64-byte packets for these tables; ``break_share`` of them break an assumption."""

    def packets(self, function: Function, state: State) -> int:
        """Packets that were given a verdict; as the function tells its operator."""
        rows = function.counters(state)
        return sum(row.packets for row in rows if row.name.startswith("verdict "))

    @property
    def handwritten(self) -> Path:
        """The program that was written by hand for these tables."""
        return BENCH / f"handwritten_{self.name}.bpf.c"

    def headers(self, state: State) -> Mapping[str, str]:  # noqa: ARG002
        """Headers of the hand-written program that are too long to write by hand, by name; made
        for the tables that ``state`` holds."""
        return {}
