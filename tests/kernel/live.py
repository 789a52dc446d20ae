# SPDX-License-Identifier: GPL-2.0-only
"""Controllers on a testbed, and traffic for them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from iridescent_xdp.builder import Builder
from iridescent_xdp.config.model import InterfaceConfig, SearchConfig
from iridescent_xdp.controller import Controller
from iridescent_xdp.events import EventLog
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.kernel import bpf
from iridescent_xdp.kernel.netlink import Interface, find_interface, namespace_key
from iridescent_xdp.plan import Plan, make_plan
from iridescent_xdp.points import Point, PointKind
from iridescent_xdp.state import PINS
from iridescent_xdp.template import find_template, read_template
from tests.kernel.fixtures import TABLES
from traffic.generator import SEQUENCE, Generator
from traffic.mix_stream import Stream
from traffic.packet_build import Flow, Shape, frame
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, Testbed, inside

CONFIG_PATH = Path("test.toml")
DROP = {"default_action": "drop"}  # packets that pass cost the kernel's whole stack


def interface_key(bed: Testbed) -> str:
    """What pins and records of the interface under test are called."""
    with inside(bed.dut):
        return namespace_key(DUT_SIDE)


def interface_of(bed: Testbed) -> Interface:
    """The interface under test, as it is now."""
    with inside(bed.dut):
        return find_interface(DUT_SIDE)


def pins_of(bed: Testbed) -> Path:
    """Where its pins are, if any."""
    return PINS / interface_key(bed)


def plan_for(
    tables: FilterTables = TABLES,
    *,
    function: str = "filter",
    mode: str = "native",
    apply: str = "winner",
    policy: dict[str, Any] | None = None,
    points: dict[str, tuple[Any, ...]] | None = None,
    **search: Any,
) -> Plan:
    """A plan for the interface under test."""
    config = InterfaceConfig(
        name=DUT_SIDE,
        function=function,
        mode=mode,  # type: ignore[arg-type]
        apply=apply,  # type: ignore[arg-type]
        policy={**DROP, **(policy or {})} if "filter" in function else policy or {},
        search=SearchConfig(points=points or {}, **search),
        tables=tables,
    )
    return make_plan(config, CONFIG_PATH)


def fixed(**free: tuple[Any, ...]) -> dict[str, tuple[Any, ...]]:
    """[search.points] in which all but some points of the filter stay as they are."""
    points = read_template(find_template("filter")).points
    return {p.name: (_written(p),) for p in points if p.searched} | free


def _written(point: Point) -> object:
    """A point's default as an operator file has it."""
    if point.kind in (PointKind.BOOL, PointKind.ASSUME):
        return bool(point.default)
    return point.show(point.default) if point.labels else point.default


class Events:
    """Listens to a controller."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def __call__(self, line: dict[str, Any]) -> None:
        self.lines.append(line)

    def named(self, event: str) -> list[dict[str, Any]]:
        """All events of one kind."""
        return [line for line in self.lines if line["event"] == event]


def take(bed: Testbed, builder: Builder, plan: Plan, events: Events | None = None) -> Controller:
    """A controller on the interface under test: attached, or taken over."""
    with inside(bed.dut):
        return Controller(plan, builder, EventLog(None, events))


@contextlib.contextmanager
def operated(
    bed: Testbed, builder: Builder, plan: Plan, events: Events | None = None
) -> Iterator[Controller]:
    """A controller that is released at the end."""
    controller = take(bed, builder, plan, events)
    try:
        yield controller
    finally:
        release(controller)


def release(controller: Controller) -> None:
    """Detach and leave nothing behind."""
    controller.release()


@contextlib.contextmanager
def generator(bed: Testbed, builder: Builder, stream: Stream) -> Iterator[Generator]:
    """A generator that sends into the interface under test."""
    with inside(bed.generator):
        made = Generator(builder, stream, find_interface(GENERATOR_SIDE).index)
    try:
        yield made
    finally:
        made.close()


def stream_of(frames: Sequence[bytes], sequence: Sequence[int] | None = None) -> Stream:
    """A stream that sends ``frames`` in turn, or in the order of ``sequence``."""
    order = np.resize(np.arange(len(frames)) if sequence is None else sequence, SEQUENCE)
    return Stream(name="test", packets=tuple(frames), sequence=order.astype(np.uint32))


def udp(source: str, port: int, *, tags: int = 0, to: str = "203.0.113.9", size: int = 60) -> bytes:
    """A UDP datagram over IPv4."""
    flow = Flow(
        family=4,
        source=_number(source),
        destination=_number(to),
        protocol=17,
        source_port=4000,
        destination_port=port,
    )
    return frame(flow, Shape(tags=tags, size_bytes=size))


def _number(address: str) -> int:
    return int.from_bytes(bytes(int(part) for part in address.split(".")))


def program_in(slots_fd: int, slot: int) -> str:
    """The name of the program in a slot of a program array; "" when it is empty."""
    value = bpf.map_lookup(slots_fd, slot.to_bytes(4, "little"), 4)
    if value is None:
        return ""
    with contextlib.ExitStack() as stack:
        fd = bpf.fd_by_id(bpf.PROG_GET_FD_BY_ID, int.from_bytes(value, "little"))
        stack.callback(os.close, fd)
        return bpf.prog_info(fd).name
