# SPDX-License-Identifier: GPL-2.0-only
"""A controller may die at any instant: traffic goes on, and the next one takes over."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.controller import Controller
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.runtime import RUN, Record
from iridescent_xdp.state import State
from iridescent_xdp.switchboard import ENTRY, FALLBACK, FIRST_ARM
from iridescent_xdp.template import find_template, read_template
from iridescent_xdp.toolchain.base import Role
from tests.kernel.fixtures import packets_per_slot, wait_until
from tests.kernel.live import (
    Events,
    generator,
    interface_key,
    interface_of,
    pins_of,
    plan_for,
    program_in,
    release,
    stream_of,
    take,
    udp,
)
from traffic.testbed import Testbed

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

ROOT = Path(__file__).parents[2]
PPS = 200_000  # leaves the machine some time for controllers
LONG_TRIALS, SHORT_TRIALS = 12, 1  # one timed packet in 4096, in 2
FRAMES = (udp("10.1.2.3", 9), udp("172.16.0.1", 53, tags=1), udp("172.16.0.1", 9))
MOMENTS = [Random(seed).uniform(0.0, 1.5) for seed in range(5)]


@contextmanager
def victim(bed: Testbed, toolchain: str, shift: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.kernel.victim", bed.dut, toolchain, str(shift)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Pinned:
    """The pinned maps, opened beside whoever controls the interface."""

    def __init__(self, bed: Testbed) -> None:
        root = read_template(find_template("root"))
        self.state = State.adopt(pins_of(bed), read_template(find_template("filter")), root)

    def packets(self) -> dict[int, int]:
        """What the filter has counted."""
        return packets_per_slot(self.state)

    def program(self, slot: int) -> str:
        """The name of the program in a slot."""
        return program_in(self.state["slots"].fd, slot)

    def all_counted(self, sent: int) -> None:
        """Each packet once."""
        wait_until(lambda: sum(self.packets().values()) >= sent, f"{sent} packets")
        assert sum(self.packets().values()) == sent

    def close(self) -> None:
        self.state.close()


def assert_gone(bed: Testbed) -> None:
    assert interface_of(bed).xdp_prog_id == 0
    assert not pins_of(bed).exists()
    assert not (RUN / interface_key(bed)).exists()


def swap_to_tree(controller: Controller) -> None:
    variant = controller.plan.generic.with_values(rule_layout=2, vlan_depth=0)
    code = controller.builder.variant(controller.plan.function, variant, Role.STEADY)
    controller.swap(variant, code, reason="test")
    assert controller.live_variant == variant


def test_killed_while_the_dispatcher_stands(bed: Testbed, builder: Builder) -> None:
    with victim(bed, builder.toolchain.name, LONG_TRIALS) as process:
        wait_until((pins_of(bed) / "link").exists, "the controller attached")
        with (
            generator(bed, builder, stream_of(FRAMES)) as source,
            closing(Pinned(bed)) as pinned,
        ):
            source.start(pps=PPS)
            wait_until(lambda: pinned.program(ENTRY) == "dispatcher", "a trial")
            process.kill()
            process.wait()

            before = pinned.packets()
            assert pinned.program(ENTRY) == "dispatcher" and pinned.program(FALLBACK)
            assert_record_tells(bed, process.pid, "searching")
            wait_until(
                lambda: all(pinned.packets().get(s, 0) > n for s, n in before.items()),
                "traffic goes on without a controller",
            )

            events = Events()
            controller = take(bed, builder, plan_for(), events)
            assert controller.adopted and events.named("adopted")
            assert all(packets_per_slot(controller.state)[s] > n for s, n in before.items())
            assert pinned.program(ENTRY) == f"filter_{controller.plan.generic.key}"
            controller.board.put(
                FIRST_ARM, controller.generic
            )  # an arm of the dead one stands here
            swap_to_tree(controller)
            pinned.all_counted(source.stop())
    release(controller)
    assert_gone(bed)


def assert_record_tells(bed: Testbed, pid: int, phase: str) -> None:
    record = Record.load(interface_key(bed))
    assert record is not None
    assert (record.pid, record.alive, record.phase) == (pid, False, phase)
    assert record.root_id == interface_of(bed).xdp_prog_id != 0


@pytest.mark.parametrize("moment", MOMENTS, ids=[f"{m:.2f}s" for m in MOMENTS])
def test_killed_at_any_moment(bed: Testbed, moment: float) -> None:
    """Seconds after the take-over: while it observes, builds or measures."""
    builder = Builder("llvm")
    take(bed, builder, plan_for()).close()  # leaves the filter attached
    with (
        generator(bed, builder, stream_of(FRAMES)) as source,
        victim(bed, "llvm", SHORT_TRIALS) as process,
        closing(Pinned(bed)) as pinned,
    ):
        source.start(pps=PPS)
        assert process.stdout is not None
        assert '"adopted"' in process.stdout.readline()
        time.sleep(moment)
        process.kill()
        process.wait()
        assert pinned.program(ENTRY) and pinned.program(FALLBACK)
        record = Record.load(interface_key(bed))
        assert record is not None and (record.pid, record.alive) == (process.pid, False)
        controller = take(bed, builder, plan_for())
        assert controller.adopted
        swap_to_tree(controller)
        pinned.all_counted(source.stop())
    release(controller)
    assert_gone(bed)


def test_killed_before_it_got_anywhere(bed: Testbed) -> None:
    """Half-made pins are no state: they are removed, and told."""
    builder, pins, events = Builder("llvm"), pins_of(bed), Events()
    pins.mkdir(parents=True)
    with closing(State.create(read_template(find_template("filter")))) as state:
        state.pin(pins)
    controller = take(bed, builder, plan_for(), events)
    assert not controller.adopted
    assert [line["reason"] for line in events.named("stale_pins_removed")] == ["they hold no link"]
    release(controller)
    assert_gone(bed)
