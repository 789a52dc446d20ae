# SPDX-License-Identifier: GPL-2.0-only
"""The look before a search: watched code hangs on the interface itself, and lets go of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.controller import Controller
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.toolchain.base import Role
from tests.kernel.live import operated, plan_for
from traffic.testbed import Testbed


@pytest.fixture
def searching(bed: Testbed, builder: Builder) -> Iterator[Controller]:
    with operated(bed, builder, plan_for()) as controller:
        controller.begin_search()
        yield controller
        controller.end_search()


@pytest.fixture
def watched(searching: Controller) -> Program:
    plan, builder = searching.plan, searching.builder
    code = builder.variant(plan.function, plan.generic, Role.WATCHED)
    return searching.arm_programs.load(code, "watched")


def held(controller: Controller) -> int:
    return controller.board.link.info.prog_id


def test_the_link_holds_watched_code_for_as_long_as_it_looks(
    searching: Controller, watched: Program
) -> None:
    root = searching.board.root.info.prog_id
    assert held(searching) == root
    with searching.held_by(watched):
        assert held(searching) == watched.info.prog_id
        known = searching.record.programs[str(held(searching))]
        assert known["variant"] == "generic", "who takes over must know whose program that is"
    assert held(searching) == root


def test_a_retreat_meanwhile_keeps_the_link(searching: Controller, watched: Program) -> None:
    with searching.held_by(watched):
        searching.retreat()
        assert held(searching) == searching.generic.info.prog_id
    assert searching.retreated and held(searching) == searching.generic.info.prog_id
    with searching.held_by(watched):  # nor does a look that comes after it take the link
        assert held(searching) == searching.generic.info.prog_id
