# SPDX-License-Identifier: GPL-2.0-only
"""The demo as a process: what it leaves when it ends, is interrupted, or is killed."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.runtime import RUN
from iridescent_xdp.state import PINS
from tests.kernel.command_lab import Lab, finish, has_event, until
from traffic.testbed import DUT_SIDE, PREFIX, sweep

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

NETNS = Path("/run/netns")


def test_demo_leaves_its_files_and_nothing_else(lab: Lab) -> None:
    folder = lab.folder / "shown"
    process = lab.start("demo", "--seconds", "3", "--output", folder, "--json")
    key = demo_key(process)
    code, out, err = finish(process)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["demo"]["sent"] == facts["demo"]["counted"] > 0
    assert facts["demo"]["swaps"] > 0
    assert len(facts["sentences"]) == 2
    names = {"demo.toml", "demo.png", "events.jsonl", "summary.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert_nothing_left(process, key)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_that_is_interrupted_leaves_nothing(lab: Lab, number: signal.Signals) -> None:
    folder = lab.folder / "shown"
    process = lab.start("demo", "--output", folder, "--json")
    key = demo_key(process)
    until(lambda: has_event(folder / "events.jsonl", "space"), process)
    process.send_signal(number)
    code, out, err = finish(process)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["interrupted"] and facts["winner"] == "generic"
    assert facts["demo"]["sent"] == facts["demo"]["counted"] > 0
    assert_nothing_left(process, key)


def test_killed_demo_is_swept_by_the_next_one(lab: Lab) -> None:
    process = lab.start("demo", "--output", lab.folder / "shown")
    key = demo_key(process)
    until(lambda: has_event(lab.folder / "shown" / "events.jsonl", "attached"), process)
    process.kill()
    process.wait()
    assert (PINS / key).is_dir() and (RUN / key).is_dir()
    sweep()
    assert_nothing_left(process, key)


def demo_key(process: subprocess.Popen[str]) -> str:
    """What the demo's interface is called, as soon as its namespace is there."""
    (space,) = until(lambda: list(NETNS.glob(f"{PREFIX}-{process.pid}-*-d")), process)
    return f"{DUT_SIDE}@{space.stat().st_ino}"


def assert_nothing_left(process: subprocess.Popen[str], key: str) -> None:
    assert not list(NETNS.glob(f"{PREFIX}-{process.pid}-*"))
    assert not (PINS / key).exists()
    assert not (RUN / key).exists()
