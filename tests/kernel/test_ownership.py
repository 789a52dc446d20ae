# SPDX-License-Identifier: GPL-2.0-only
"""Who may change an interface: one controller at a time, and nobody behind its back.

Taking over with another rule list: each packet is decided by the old list or by the new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_network

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.controller import Controller
from iridescent_xdp.errors import AttachError, StateError
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.kernel import bpf
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.runtime import RUN, Record
from iridescent_xdp.state import State
from iridescent_xdp.switchboard import ENTRY, FALLBACK, FIRST_ARM
from iridescent_xdp.toolchain.base import Role
from tests.kernel.fixtures import packets_per_slot, wait_until
from tests.kernel.live import (
    generator,
    interface_of,
    operated,
    pins_of,
    plan_for,
    release,
    stream_of,
    take,
    udp,
)
from traffic.testbed import Testbed, inside

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

FRAMES = (udp("10.1.2.3", 9), udp("10.1.2.3", 9, tags=1))
OTHERS = tuple(ip_network(f"172.16.{n >> 8}.{n & 255}/32") for n in range(500))
OLD = FilterTables(
    rules=(Rule(protocol=6, action="drop"),), deny=(ip_network("10.1.0.0/16"), *OTHERS)
)
NEW = FilterTables(
    rules=(*(Rule(source=n, action="drop") for n in OTHERS[:3]),
           Rule(source=ip_network("10.1.0.0/16"), action="drop")),
    deny=OTHERS,
)  # fmt: skip
OLD_SLOT, NEW_SLOT = 1026, 3  # the deny set; the fourth rule
TAKE_OVERS = 16


@contextmanager
def stranger(builder: Builder) -> Iterator[Program]:
    """A program that is not ours."""
    template, insns = builder.helper("empty")
    with closing(State.create(template)) as state, state.load(insns, "stranger") as program:
        yield program


def swap_to_tree(controller: Controller) -> None:
    narrow = controller.plan.generic.with_values(rule_layout=2, vlan_depth=0, ipv6=0)
    code = controller.builder.variant(controller.plan.function, narrow, Role.STEADY)
    controller.swap(narrow, code, reason="test")


def test_each_packet_meets_the_old_rules_or_the_new_ones(bed: Testbed, builder: Builder) -> None:
    plans = [plan_for(OLD), plan_for(NEW)]
    controller = take(bed, builder, plans[0])
    with generator(bed, builder, stream_of(FRAMES)) as source:
        source.start()
        wait_until(lambda: packets_per_slot(controller.state), "traffic")
        for number in range(TAKE_OVERS):
            if number % 3:
                swap_to_tree(controller)  # half of the packets miss its guard
            controller.close()
            controller = take(bed, builder, plans[(number + 1) % 2])
            assert controller.adopted
        sent = source.stop()
        wait_until(lambda: sum(packets_per_slot(controller.state).values()) >= sent, "all counted")
        slots = packets_per_slot(controller.state)
    assert set(slots) == {OLD_SLOT, NEW_SLOT} and sum(slots.values()) == sent
    release(controller)


@pytest.mark.parametrize("specialized", [False, True], ids=["generic", "specialized"])
def test_the_new_rules_hold_from_the_take_over_on(bed: Testbed, specialized: bool) -> None:
    builder = Builder("llvm")
    with closing(take(bed, builder, plan_for(OLD))) as first:
        if specialized:
            swap_to_tree(first)
    with (
        operated(bed, builder, plan_for(NEW)) as controller,
        generator(bed, builder, stream_of(FRAMES)) as source,
    ):
        source.send(1009)
        wait_until(lambda: sum(packets_per_slot(controller.state).values()) >= 1009, "packets")
        assert packets_per_slot(controller.state) == {NEW_SLOT: 1009}


def test_a_second_controller_is_refused(bed: Testbed) -> None:
    builder = Builder("llvm")
    with operated(bed, builder, plan_for()) as controller:
        held = controller.board.holds(ENTRY)
        with pytest.raises(StateError, match="another controller runs on 'dut0@") as caught:
            take(bed, builder, plan_for())
        assert f"process {controller.record.pid}" in str(caught.value)
        assert controller.board.holds(ENTRY) == held
        swap_to_tree(controller)
        assert pins_of(bed).exists() and Record.load(controller.key) is not None


def test_the_next_one_comes_when_the_first_has_left(bed: Testbed) -> None:
    builder = Builder("llvm")
    take(bed, builder, plan_for()).close()
    record = Record.load(pins_of(bed).name)
    assert record is not None and (record.alive, record.phase) == (False, "left running")
    with operated(bed, builder, plan_for()) as controller:
        assert controller.adopted
    assert interface_of(bed).xdp_prog_id == 0
    assert not pins_of(bed).exists() and not (RUN / pins_of(bed).name).exists()


@pytest.mark.parametrize("slot", [ENTRY, FALLBACK, FIRST_ARM])
def test_a_slot_that_somebody_else_wrote(bed: Testbed, slot: int) -> None:
    builder = Builder("llvm")
    with operated(bed, builder, plan_for()) as controller, stranger(builder) as program:
        controller.state["slots"].write(slot, program.fd.to_bytes(4, "little"))
        with pytest.raises(AttachError, match=f"slot {slot} holds program {program.info.prog_id}"):
            controller.board.put(slot, controller.generic)
        assert controller.board.holds(slot) == program.info.prog_id, "it is left alone"
        if slot == ENTRY:
            with pytest.raises(AttachError, match="somebody else changed it"):
                swap_to_tree(controller)
            assert controller.live is controller.generic


def assert_swap_is_refused(controller: Controller, says: str) -> None:
    before = controller.board.holds(ENTRY)
    with pytest.raises(AttachError, match=says):
        swap_to_tree(controller)
    assert controller.board.holds(ENTRY) == before


@pytest.mark.parametrize("adopted", [False, True], ids=["attached", "taken over"])
def test_a_link_that_somebody_else_changed(bed: Testbed, adopted: bool) -> None:
    builder = Builder("llvm")
    if adopted:
        take(bed, builder, plan_for()).close()
    with operated(bed, builder, plan_for()) as controller, stranger(builder) as program:
        assert controller.adopted == adopted
        controller.board.check(controller.interface)
        with root_of(controller) as root:
            controller.board.link.replace(program, root)
            assert_swap_is_refused(controller, "somebody replaced the program on 'dut0'")
            controller.board.link.replace(root, program)
        controller.board.check(controller.interface)
        with closing(Link.adopt(pins_of(bed) / "link", "native")) as link:
            link.detach()
        assert_swap_is_refused(controller, "'dut0' is not attached any more")


def root_of(controller: Controller) -> Program:
    """The program that the link holds."""
    number = controller.board.link.info.prog_id
    return Program(bpf.fd_by_id(bpf.PROG_GET_FD_BY_ID, number), "root")


def test_a_root_that_was_replaced_while_nobody_ran(bed: Testbed) -> None:
    builder = Builder("llvm")
    first = take(bed, builder, plan_for())
    root = root_of(first)
    first.close()
    with (
        root,
        stranger(builder) as program,
        closing(Link.adopt(pins_of(bed) / "link", "native")) as link,
    ):
        link.replace(program, root)
        with pytest.raises(AttachError, match="somebody replaced the program"):
            take(bed, builder, plan_for())
        assert interface_of(bed).xdp_prog_id == program.info.prog_id, "it is left alone"
        link.replace(root, program)
    release(take(bed, builder, plan_for()))


def test_a_foreign_program_stays(bed: Testbed) -> None:
    builder = Builder("llvm")
    with stranger(builder) as program:
        with inside(bed.dut):
            link = Link.attach(program, interface_of(bed), "native")
        with closing(link):
            with pytest.raises(AttachError, match="already runs XDP program 'stranger'"):
                take(bed, builder, plan_for())
            assert interface_of(bed).xdp_prog_id == program.info.prog_id
            assert not pins_of(bed).exists() and not (RUN / pins_of(bed).name).exists()
