# SPDX-License-Identifier: GPL-2.0-only
"""A rule that is flipped under numbered packets, and who judges what became of them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.builder import Builder
from iridescent_xdp.controller import Controller
from iridescent_xdp.functions.filter_changes import (
    SetRule,
)
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.toolchain.base import Role
from tests.kernel.fixtures import packets_per_slot, wait_until
from tests.kernel.live import (
    Events,
    generator,
    pins_of,
    stream_of,
)
from tests.kernel.numbered import PORT
from traffic.testbed import Testbed

ROOT = Path(__file__).parents[2]
RULES = tuple(
    Rule(protocol=17, destination_ports=(port, port), action="drop")
    for port in range(PORT, PORT + 16)
)
TABLES = FilterTables(rules=RULES)
PERIOD_S = 0.001


def dropping(number: int) -> Rule:
    """Rule 0 after change ``number``: drops after even ones, as it does at first."""
    return Rule(
        protocol=17, destination_ports=(PORT, PORT), action="pass" if number % 2 else "drop"
    )


def matching(number: int) -> Rule:
    """Rule 0 after change ``number``: asks for the packets' port after even ones only."""
    port = PORT + 900 * (number % 2)
    return Rule(protocol=17, destination_ports=(port, port), action="drop")


@dataclass
class Flips:
    """Changes of rule 0, and when each began and returned."""

    controller: Controller
    rule: Callable[[int], Rule]
    began_ns: list[int] = field(default_factory=list)
    ended_ns: list[int] = field(default_factory=list)

    def flip(self) -> None:
        number = len(self.began_ns) + 1
        self.began_ns.append(time.monotonic_ns())
        self.controller.change([SetRule(place=0, rule=self.rule(number))])
        self.ended_ns.append(time.monotonic_ns())

    def burst(self, count: int, period_s: float) -> None:
        due = time.monotonic()
        for _ in range(count):
            self.flip()
            due += period_s
            time.sleep(max(0.0, due - time.monotonic()))

    def judge(self, rows: NDArray[np.void], outcome: str) -> tuple[int, int]:
        """How many packets lie between two changes, and how many of them show another outcome
        than the last change before them."""
        newest = np.searchsorted(self.ended_ns, rows["sent_ns"], side="right")
        begun = np.searchsorted(self.began_ns, rows["counted_ns"], side="right")
        certain = newest == begun
        even = newest % 2 == 0  # an even change, or none: dropped by rule 0
        stale = certain & (rows[outcome] != even)
        return int(certain.sum()), int(stale.sum())


@contextmanager
def numbered(bed: Testbed, out: Path) -> Iterator[subprocess.Popen[str]]:
    """Packets as long as the body lasts; their rows are in ``out`` afterwards."""
    words = map(str, (bed.generator, pins_of(bed), out))
    command = [sys.executable, "-m", "tests.kernel.numbered", *words]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.PIPE, **pipes)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
        yield process
        _, complaint = process.communicate("stop", timeout=20)
        assert process.returncode == 0, complaint
    finally:
        process.kill()
        process.communicate()


def specialize(controller: Controller, **points: int) -> None:
    """The rules compiled in, made live as a search would."""
    wanted = {"rule_layout": 2, "vlan_depth": 0} | points
    variant = controller.plan.generic.with_values(**wanted)
    code = controller.builder.variant(controller.plan.function, variant, Role.STEADY)
    controller.swap(variant, code, reason="test")


def specialized_again(controller: Controller, events: Events, times: int) -> None:
    wait_until(lambda: len(events.named("specialized_again")) >= times, f"{times} specializations")
    assert controller.live_variant["rule_layout"] == 2


def counted(controller: Controller, frame: bytes, bed: Testbed, builder: Builder) -> int:
    """The slot that a frame is counted in."""
    before = packets_per_slot(controller.state)
    with generator(bed, builder, stream_of([frame])) as source:
        source.send(5)
    wait_until(lambda: packets_per_slot(controller.state) != before, "five packets")
    (slot,) = (
        s for s, n in packets_per_slot(controller.state).items() if n - before.get(s, 0) == 5
    )
    return slot
