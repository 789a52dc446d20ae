# SPDX-License-Identifier: GPL-2.0-only
"""Programs that the kernel's dispatcher knows: links change to them without waiting."""

from __future__ import annotations

import errno
import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.kernel import bpf, syscall
from iridescent_xdp.kernel.known_programs import MOST, KnownPrograms
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.kernel.program import Program
from tests.kernel.fixtures import returns, wait_until
from tests.kernel.flips import specialize
from tests.kernel.live import operated, plan_for
from traffic.testbed import DUT_SIDE, Testbed, inside

UPDATES = 9


@pytest.fixture(name="programs")
def loaded() -> Iterator[list[Program]]:
    """One more than are kept."""
    with ExitStack() as stack:
        yield [stack.enter_context(Program.load(returns(2), f"known_{n}")) for n in range(MOST + 1)]


def ids(programs: list[Program]) -> list[int]:
    """As the kernel numbers them."""
    return [program.info.prog_id for program in programs]


def namespace() -> str:
    """That of this thread."""
    return str(Path("/proc/thread-self/ns/net").readlink())


def is_loaded(number: int) -> bool:
    """Whether the kernel has a program."""
    try:
        os.close(bpf.fd_by_id(bpf.PROG_GET_FD_BY_ID, number))
    except FileNotFoundError:
        return False
    return True


def test_the_last_ones_are_kept(programs: list[Program]) -> None:
    """Who is asked for again stays; who is not makes room; this thread stays where it is."""
    here, numbers = namespace(), ids(programs)
    with closing(KnownPrograms()) as known:
        for program in programs[:MOST]:
            known.add(program)
        assert known.numbers == numbers[:MOST]
        known.add(programs[0])
        known.add(programs[MOST])
        assert known.numbers == [*numbers[2:MOST], numbers[0], numbers[MOST]]
    assert namespace() == here
    assert not known.numbers


def test_they_go_when_nobody_needs_them(programs: list[Program]) -> None:
    """A program that was given back is held until it makes room, and by nobody after the end."""
    gone, numbers = programs[0], ids(programs)
    with closing(KnownPrograms()) as known:
        known.add(gone)
        gone.close()
        assert is_loaded(numbers[0])
        for program in programs[1:]:
            known.add(program)
        wait_until(lambda: not is_loaded(numbers[0]), "the program that made room")
        programs[1].close()
        assert is_loaded(numbers[1])
    wait_until(lambda: not is_loaded(numbers[1]), "the program that was kept")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="no dispatcher on other machines")
def test_a_link_changes_to_them_without_waiting(bed: Testbed, programs: list[Program]) -> None:
    """To programs that nobody knows it waits for a grace period: 1000 times as long here."""
    one, other = programs[:2]
    with inside(bed.dut), closing(Link.attach(one, find_interface(DUT_SIDE), "native")) as link:
        unknown_s = median(changes(link, one, other))
        with closing(KnownPrograms()) as known:
            known.add(one)
            known.add(other)
            known_s = median(changes(link, one, other))
    assert known_s < unknown_s / 5


def changes(link: Link, one: Program, other: Program) -> list[float]:
    """Seconds that each took, there and back again."""
    took = []
    for old, new in ((one, other), (other, one)) * UPDATES:
        began = time.perf_counter()
        link.replace(new, old)
        took.append(time.perf_counter() - began)
    return took


def test_a_controllers_link_goes_between_known_programs(bed: Testbed) -> None:
    """As around each look at the traffic; all are given back at the end."""
    with operated(bed, Builder("llvm"), plan_for()) as controller:
        specialize(controller)
        board = controller.board
        board.through_root()
        board.direct(controller.live)
        assert set(board.known) >= {board.root.info.prog_id, controller.live.info.prog_id}
    assert not board.known


def test_without_the_privilege_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, programs: list[Program]
) -> None:
    """Links change all the same, and nobody tries again and again."""
    asked = []

    def refuse() -> None:
        asked.append(True)
        raise OSError(errno.EPERM, "a network namespace of its own")

    monkeypatch.setattr(syscall, "leave_network_namespace", refuse)
    with closing(KnownPrograms()) as known:
        for program in programs:
            known.add(program)
        assert not known.numbers
    assert len(asked) == 1
