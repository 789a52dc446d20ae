# SPDX-License-Identifier: GPL-2.0-only
"""A search as it is told while it runs, and how a wish to stop is noticed."""

from __future__ import annotations

import os
import signal
import time

import pytest

from iridescent_xdp.commands.progress import Progress, describe
from iridescent_xdp.commands.stopping import Stopper
from iridescent_xdp.commands.traffic_seen import Rate, Reading
from tests.unit.search_events import SEARCH, event, trial


def test_tally_adds_events_up() -> None:
    progress = Progress("eth0", quiet=True)
    for one in SEARCH:
        progress(one)
    tally = progress.tally
    assert (tally.space_size, tally.built, tally.refused) == (4, 1, 1)
    assert tally.measured == {f"rule_layout={n}" for n in ("chain", "tree", "wide", "list")}
    assert tally.packets == 2 * 5 * 8000
    assert (tally.best, tally.best_ns, tally.generic_ns) == ("rule_layout=tree", 61.0, 112.0)
    assert tally.outcome == "rule_layout=tree saves 51 ns"
    assert progress.events == SEARCH


def test_best_is_overtaken_only_by_what_is_quicker() -> None:
    progress = Progress("eth0", quiet=True)
    best = []
    for times in ({"a": 60.0}, {"b": 80.0}, {"c": 50.0}, {"c": 70.0}):
        progress(trial(1.0, generic=110.0, twin=110.0, **times))
        best.append((progress.tally.best, progress.tally.best_ns))
    a, c = "rule_layout=a", "rule_layout=c"
    assert best == [(a, 60.0), (a, 60.0), (c, 50.0), (c, 70.0)], "it was measured again, slower"


def test_generic_stays_is_an_outcome() -> None:
    progress = Progress("eth0", quiet=True)
    progress(event(1.0, "kept", reason="interrupted"))
    assert progress.tally.outcome == "generic stays: interrupted"


def test_plain_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("eth0") as progress:
        for one in SEARCH:
            progress(one)
        progress.note("a note")
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert all(line.startswith("eth0: ") for line in lines)
    assert "eth0: refused rule_layout=hash: verdict drop, generic says pass" in lines
    assert "eth0: 4 variants to choose from" in lines
    trial = "measured 3 variants on 40,000 packets: best rule_layout=tree 60.0 ns, generic 110.0 ns"
    assert f"eth0: {trial}" in lines
    assert "eth0: swapped to rule_layout=tree in 49 µs" in lines
    assert lines[-1] == "eth0: a note"


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("eth0", quiet=True) as progress:
        progress(SEARCH[0])
        progress.note("a note")
    assert capsys.readouterr() == ("", "")


def test_events_that_only_carry_numbers_have_no_line() -> None:
    assert describe(event(1.0, "built", variant="x")) == ""
    assert describe(event(1.0, "never heard of")) == ""


def test_rate() -> None:
    rate = Rate.between(
        Reading(packets=1000, bytes=64_000, at=10.0), Reading(packets=4000, bytes=256_000, at=12.0)
    )
    assert (rate.pps, rate.bits_per_s) == (1500.0, 768_000.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_is_a_wish_second_one_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Stopper() as stop:
        assert not stop() and not stop.wait(0.0)
        os.kill(os.getpid(), number)
        began = time.monotonic()
        assert stop() and stop.wait(30.0)
        assert time.monotonic() - began < 5
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before
