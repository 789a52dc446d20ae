# SPDX-License-Identifier: GPL-2.0-only
"""SIGHUP: `iridescent run` reads its file again, and only tables may have changed in it."""

from __future__ import annotations

import contextlib
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from iridescent_xdp.kernel.features import Feature
from tests.kernel.command_lab import Lab, finish, has_event, traffic, until

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)


@pytest.mark.parametrize("searched", [False, True], ids=["no-traffic", "searched"])
def test_the_operator_file_is_read_again(lab: Lab, searched: bool) -> None:
    """A rule that is changed, then a file with mistakes, then one with another policy."""
    points = {"rule_layout": '["map", "tree"]' if searched else '"map"'}
    path, events = lab.config(points=points, seconds=4), lab.folder / "events.jsonl"
    good = path.read_text()
    with contextlib.ExitStack() as stack:
        if searched:
            stack.enter_context(traffic(lab))
        run = lab.start("run", path, "--events", events)
        first = ("decision", "kept") if searched else ("attached",)
        until(lambda: any(has_event(events, name) for name in first), run)
        for text, told, reason in (
            (good.replace("destination_port = 100\n", "destination_port = 90\n"), "reloaded", ""),
            (good.replace('\naction = "drop"', '\naction = "dorp"', 1), "reload_refused", "dorp"),
            (good.replace("sample_shift = 1", "sample_shift = 2"), "reload_refused", "policy"),
            (good, "reloaded", "1 changes"),
        ):
            seen = len(named(events, told))
            path.write_text(text)
            run.send_signal(signal.SIGHUP)
            until(lambda: len(named(events, told)) > seen, run)  # noqa: B023
            assert reason in named(events, told)[-1]["reason"]
        assert len(named(events, "reloaded")) == 2 and len(named(events, "reload_refused")) == 2
        assert sum(e["changes"] for e in named(events, "reloaded")) == 2
        run.send_signal(signal.SIGINT)
        code, _, err = finish(run)
        assert code == 0, err


def named(path: Path, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if line["event"] == event]
