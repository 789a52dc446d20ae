# SPDX-License-Identifier: GPL-2.0-only
"""A report of what controllers really wrote: one that was killed in a search, and its successor."""

from __future__ import annotations

from typing import Any

import pytest

from iridescent_xdp.kernel.features import Feature
from tests.kernel.command_lab import Lab, has_event, traffic, until
from traffic.testbed import DUT_SIDE

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

WIDE = {"vlan_depth": "[0, 1, 2]", "ipv6": "[true, false]", "no_ip_options": "[true, false]"}


def test_a_killed_search_and_the_next_run_are_told_from_one_log(lab: Lab) -> None:
    events, page = lab.folder / "events.jsonl", lab.folder / "page.html"
    with traffic(lab):
        process = lab.start("run", lab.config(seconds=60, points=WIDE), "--events", events)
        until(lambda: has_event(events, "built"), process)
        process.kill()
        process.wait()
        (done,) = lab.facts("run", lab.config(), "--once", "--events", events)["interfaces"]
    report = lab.facts("report", events, "-o", page)
    killed, whole = report["runs"]
    assert [run["interface"] for run in (killed, whole)] == [DUT_SIDE] * 2
    assert (killed["adopted"], whole["adopted"]) == (False, True)
    assert [s["outcome"] for s in killed["searches"]] == ["unfinished"]
    assert "search 1 was not finished" in killed["problems"][0]
    assert not any("is left out" in problem for problem in killed["problems"] + whole["problems"])
    assert_same(whole, done)
    text = page.read_text()
    assert text.count('<section class="run"') == 2 and done["live"] in text


def assert_same(run: Any, done: Any) -> None:
    """What the report read in the log is what the command itself said about its search."""
    (search,) = run["searches"]
    told = done["search"]
    assert (run["live"], search["winner"]) == (done["live"], told["winner"])
    assert search["space_size"] == told["space_size"]
    assert search["noise_floor_ns"] == pytest.approx(told["noise_floor_ns"], abs=1e-4)
    rows = {row["label"]: row for row in search["variants"]}
    for variant in told["variants"]:
        row = rows[variant["label"]]
        assert (row["key"], row["samples"]) == (variant["key"], variant["samples"])
        assert row["instructions"] == variant["instructions"]
        if variant["label"] in told["gains"]:
            gain = told["gains"][variant["label"]]
            assert row["gain"]["low"] == pytest.approx(gain["low"], abs=1e-4)
            assert row["gain"]["high"] == pytest.approx(gain["high"], abs=1e-4)
    assert run["cost"]["packets"] > 0 and run["cost"]["lost_pct"] >= 0
