# SPDX-License-Identifier: GPL-2.0-only
"""The page in a real browser: it is drawn, by day and night, wide and narrow, and asks nobody."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from iridescent_xdp.report.collect import collect
from iridescent_xdp.report.log import read_log
from iridescent_xdp.report.page import write_page
from tests.unit.browser import Pixels, Seen, frame, look
from tests.unit.report_events import CHAIN, TREE, scenario, write_log
from tests.unit.test_report_page import SECTIONS

WINDOW, TELEPHONE = (1440, 2400), (390, 4800)
STYLE = Path(__file__).parents[2] / "iridescent_xdp/report/page.css"


@pytest.fixture(name="page", scope="module")
def _page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    path = folder / "page.html"
    write_page(collect(read_log(write_log(folder / "events.jsonl", scenario()))), path)
    return path


@pytest.fixture(name="seen", scope="module")
def _seen(page: Path) -> Seen:
    return look(page, page.parent / "wide", WINDOW)


def colour(name: str, *, dark: bool = False) -> tuple[int, ...]:
    """A variable of the style sheet; the first value is that by day, the second by night."""
    values = re.findall(rf"--{name}: #([0-9a-f]{{6}})", STYLE.read_text())
    return tuple(bytes.fromhex(values[1 if dark else 0]))


def are(pixels: Pixels, wanted: tuple[int, ...], near: int = 3) -> NDArray[np.bool_]:
    """Where a picture has a colour."""
    apart = np.abs(pixels.astype(np.int16) - np.array(wanted, dtype=np.int16)).max(axis=2)
    return np.asarray(apart <= near)


def panels(pixels: Pixels, *, dark: bool = False, height: int = 300) -> Pixels:
    """The part of the picture below the lane that shows what was live, which is one wide bar."""
    bar = are(pixels, colour("v1", dark=dark)).sum(axis=1) > 0.25 * pixels.shape[1]
    assert bar.any(), "no lane is drawn"
    below = int(np.flatnonzero(bar)[0]) + 24
    return pixels[below : below + height]


def test_the_browser_sees_errors_and_requests(tmp_path: Path) -> None:
    """What the other tests rely on: a page that does both is caught doing it."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!DOCTYPE html><script>console.error('wrong')</script><img src='http://192.0.2.1/x.png'>"
    )
    seen = look(bad, tmp_path / "bad", (500, 300))
    assert any("wrong" in line for line in seen.console)
    assert seen.requests == ["http://192.0.2.1/x.png"]
    assert (seen.pixels == 255).mean() > 0.9, "and a blank page is blank"


def test_it_asks_nobody_and_has_no_errors(seen: Seen) -> None:
    assert not seen.console and not seen.requests


def test_each_section_is_in_the_document(seen: Seen) -> None:
    for name in SECTIONS:
        assert re.search(rf"<h3[^>]*>{name}</h3>", seen.dom), name
    for told in ("it saves 50.0 ns per packet", "shift detected in protocol", "night again"):
        assert told in seen.dom


@pytest.mark.parametrize("dark", [False, True])
def test_the_timeline_is_drawn(page: Path, seen: Seen, dark: bool) -> None:
    if dark:
        seen = look(page, page.parent / "dark", WINDOW, dark=True)
    ground = are(seen.pixels, colour("paper", dark=dark)) | are(
        seen.pixels, colour("card", dark=dark)
    )
    assert ground.mean() > 0.6, "the page has its own background"
    drawn = panels(seen.pixels, dark=dark)
    assert are(drawn, colour("card", dark=dark)).mean() < 0.95, "the chart is not blank"
    for name, least in ((TREE, "v1"), (CHAIN, "v2")):
        columns = are(drawn, colour(least, dark=dark), near=40).any(axis=0).sum()
        assert columns > 150, f"the line of {name} goes over {columns} columns"
    words = are(seen.pixels, colour("ink", dark=dark), near=20).sum()
    assert words > 5_000, "there is something to read"


def test_marks_cross_the_chart(seen: Seen) -> None:
    """Where the traffic shifted a dashed line goes from the top of the panels to the bottom."""
    drawn = are(panels(seen.pixels), colour("v3"), near=60)
    assert (drawn.sum(axis=0) > 0.4 * len(drawn)).sum() >= 2


def test_gains_are_drawn_with_their_intervals(seen: Seen) -> None:
    """The winner's point is a disc: its colour fills 8 rows and columns somewhere below."""
    below = are(seen.pixels[1300:, 300:1200], colour("accent"))
    blocks = np.lib.stride_tricks.sliding_window_view(below, (6, 6))[::2, ::2]
    assert blocks.all(axis=(2, 3)).any()


def test_it_fits_a_telephone(page: Path) -> None:
    """Nothing sticks out at the right, and the chart is the one for narrow pages."""
    seen = look(frame(page, *TELEPHONE), page.parent / "narrow", (500, TELEPHONE[1]))
    shown = seen.pixels[:, : TELEPHONE[0]]
    assert are(seen.pixels[:, TELEPHONE[0] + 5 :], (255, 0, 255)).mean() > 0.99, "the frame's edge"
    assert are(shown[:, -6:], colour("paper")).all(), "the margin is empty"
    lane = are(shown, colour("v1")).sum(axis=1) > 0.1 * shown.shape[1]
    assert lane.sum() >= 14, "the lane is as high as on a wide page, so words can be read"
    assert not seen.console and not seen.requests
