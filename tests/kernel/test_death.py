# SPDX-License-Identifier: GPL-2.0-only
"""A controller that dies before any one step of attaching, taking over or swapping.

A forked child does it and is killed right before the step; then the interface is as it was or
as it should become, and the next controller takes it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from iridescent_xdp.builder import Builder, helper_template
from iridescent_xdp.controller import Controller
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.maps import Map
from iridescent_xdp.runtime import Record
from iridescent_xdp.state import State
from iridescent_xdp.switchboard import ENTRY, FALLBACK, Switchboard
from iridescent_xdp.toolchain.base import Role
from tests.kernel.fixtures import packets_per_slot, wait_until
from tests.kernel.live import (
    generator,
    interface_key,
    interface_of,
    operated,
    pins_of,
    plan_for,
    stream_of,
    take,
    udp,
)
from traffic.testbed import Testbed

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

Step = tuple[type, str, int]  # a method, and before which of its calls
ATTACHING: dict[str, Step] = {
    "pinning": (State, "pin", 1),
    "half pinned": (Map, "pin", 9),
    "attaching": (Link, "attach", 1),
    "pinning the link": (Link, "pin", 1),
    "the first record": (Record, "save", 1),
    "the record of what is attached": (Record, "save", 2),
}
TAKING_OVER: dict[str, Step] = {
    "filling tables": (Map, "write", 1),
    "the record": (Record, "save", 1),
    "slot 0": (Switchboard, "put", 1),
    "slot 1": (Switchboard, "put", 2),
    "the root": (Switchboard, "through_root", 1),
    "pinning tables": (State, "pin", 1),
    "half pinned": (Map, "pin", 4),
    "the last record": (Record, "save", 2),
}
SWAPPING: dict[str, Step] = {
    "the record": (Record, "save", 1),
    "slot 0": (Switchboard, "put", 1),
    "the link": (Switchboard, "direct", 1),
}
FRAMES = (udp("10.1.2.3", 9), udp("172.16.0.1", 53, tags=1), udp("172.16.0.1", 9))
SLOTS = (0, 1, 1024)  # of these frames: two rules, and no rule
TIMES = 33


@pytest.fixture
def builder() -> Builder:
    return Builder("llvm")


def die_before(step: Step) -> None:
    """Patch a method in this process, so that one of its calls kills it."""
    owner, name, left = step[0], step[1], [step[2]]
    original: Any = owner.__dict__[name]

    def dying(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        function = original.__func__ if isinstance(original, classmethod) else original
        return function(*arguments, **named)

    setattr(owner, name, classmethod(dying) if isinstance(original, classmethod) else dying)


def killed(action: Callable[[], object]) -> None:
    """Do it in a child that must not survive it."""
    child = os.fork()
    if not child:
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, "it never got there"


def swap_to_tree(controller: Controller) -> None:
    variant = controller.plan.generic.with_values(rule_layout=2, vlan_depth=0)
    code = controller.builder.variant(controller.plan.function, variant, Role.STEADY)
    controller.swap(variant, code, reason="test")


def send(bed: Testbed, builder: Builder, controller: Controller) -> None:
    """Each frame a few times: each is counted once, on top of what was counted before."""
    before = packets_per_slot(controller.state)
    wanted = {slot: before.get(slot, 0) + TIMES for slot in SLOTS}
    with generator(bed, builder, stream_of(FRAMES)) as source:
        source.send(TIMES * len(FRAMES))
        wait_until(lambda: packets_per_slot(controller.state) == wanted, f"{wanted} are counted")


def assert_status_knows(bed: Testbed) -> None:
    """What the slots hold is in the record: it is written before a program can be live."""
    record = Record.load(interface_key(bed))
    assert record is not None and not record.alive
    with closing(State.adopt(pins_of(bed), helper_template("root"))) as state:
        for slot in (ENTRY, FALLBACK):
            value = state["slots"].read(slot)
            assert value is not None
            assert str(int.from_bytes(value.tobytes()[:4], "little")) in record.programs


@pytest.mark.parametrize("step", ATTACHING.values(), ids=ATTACHING.keys())
def test_while_it_attaches(bed: Testbed, builder: Builder, step: Step) -> None:
    def attach() -> None:
        die_before(step)
        take(bed, builder, plan_for())

    killed(attach)
    attached = interface_of(bed).xdp_prog_id
    with operated(bed, builder, plan_for()) as controller:
        assert controller.adopted == bool(attached)
        assert pins_of(bed).is_dir()
        send(bed, builder, controller)


def left_behind(bed: Testbed, builder: Builder, *, specialized: bool) -> None:
    with closing(take(bed, builder, plan_for())) as first:
        send(bed, builder, first)
        if specialized:
            swap_to_tree(first)


@pytest.mark.parametrize("specialized", [False, True], ids=["generic", "specialized"])
@pytest.mark.parametrize("step", TAKING_OVER.values(), ids=TAKING_OVER.keys())
def test_while_it_takes_over(bed: Testbed, builder: Builder, step: Step, specialized: bool) -> None:
    def adopt() -> None:
        die_before(step)
        take(bed, builder, plan_for())

    left_behind(bed, builder, specialized=specialized)
    killed(adopt)
    assert_status_knows(bed)
    with operated(bed, builder, plan_for()) as controller:
        assert controller.adopted
        assert packets_per_slot(controller.state) == dict.fromkeys(SLOTS, TIMES)
        controller.board.check(controller.interface)
        send(bed, builder, controller)


@pytest.mark.parametrize("step", SWAPPING.values(), ids=SWAPPING.keys())
def test_while_it_swaps(bed: Testbed, builder: Builder, step: Step) -> None:
    def swap() -> None:
        controller = take(bed, builder, plan_for())
        die_before(step)
        swap_to_tree(controller)

    killed(swap)
    assert_status_knows(bed)
    with operated(bed, builder, plan_for()) as controller:
        assert controller.adopted
        send(bed, builder, controller)
        swap_to_tree(controller)
        send(bed, builder, controller)
