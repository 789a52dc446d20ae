# SPDX-License-Identifier: GPL-2.0-only
"""Programs of searches that stay loaded."""

from __future__ import annotations

from contextlib import closing

import pytest

from iridescent_xdp import kept
from iridescent_xdp.kept import KeptPrograms
from iridescent_xdp.state import State
from iridescent_xdp.template import find_template, read_template
from tests.kernel.fixtures import returns


def test_what_is_held_outlasts_all_that_come_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A search with more candidates than are kept needs its generic arm in every trial."""
    monkeypatch.setattr(kept, "KEPT", 4)
    with closing(State.create(read_template(find_template("empty")))) as state:
        programs = KeptPrograms(state)
        held = [programs.load(returns(2), "held", arm=arm, hold=True) for arm in range(2)]
        others = [programs.load(returns(0), "other", arm=arm) for arm in range(10)]
        assert [program.fd >= 0 for program in others] == [False] * 8 + [True] * 2
        assert all(program.run(bytes(64)).verdict == 2 for program in held)
        assert programs.load(returns(2), "again", arm=1) is held[1]
        programs.let_go()
        for arm in range(10, 14):
            programs.load(returns(0), "other", arm=arm)
        assert all(program.fd < 0 for program in held)
        programs.close()
