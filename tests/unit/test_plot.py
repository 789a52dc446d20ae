# SPDX-License-Identifier: GPL-2.0-only
"""The picture of a search, drawn from events that a search could have written."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from iridescent_xdp.errors import IridescentError
from iridescent_xdp.plot import DPI, SIZE_INCHES, TOP, draw_search, history, plot_search
from tests.unit.search_events import SEARCH, event, swap, trial


def texts(figure: Figure) -> list[str]:
    (axes,) = figure.axes
    return [text.get_text() for text in axes.texts]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for entry in figure.legends for text in entry.get_texts()]


def test_history_holds_every_trial() -> None:
    found = history(SEARCH)
    stretches = {
        name.removeprefix("rule_layout="): [(s.begin_s, s.end_s, s.time_ns) for s in found]
        for name, found in found.stretches.items()
    }
    assert stretches == {
        "generic": [(1.2, 2.0, 110.0), (2.0, 3.5, 112.0)],
        "generic again": [(1.2, 2.0, 111.0), (2.0, 3.5, 111.5)],
        "chain": [(1.2, 2.0, 80.0), (2.0, 3.5, 79.0)],
        "tree": [(1.2, 2.0, 60.0), (2.0, 3.5, 61.0)],
        "wide": [(1.2, 2.0, 140.0)],
        "list": [(2.0, 3.5, 95.0)],
    }
    assert found.swaps == [(4.0, "rule_layout=tree")]
    assert found.refused == 1


def test_gains_are_against_generic_in_the_same_trial() -> None:
    gains = history(SEARCH).gains
    assert gains == {
        "rule_layout=chain": 33.0,  # the last trial counts
        "rule_layout=tree": 51.0,
        "rule_layout=wide": -30.0,
        "rule_layout=list": 17.0,
    }


def test_what_was_swapped_in_comes_first_then_the_best() -> None:
    names = [f"rule_layout={name}" for name in ("list", "tree", "chain")]
    assert history([*SEARCH[:-1], swap(4.0, "list")]).top == names
    assert len(history(SEARCH).top) == TOP


def test_finalists_come_before_what_looked_good_earlier() -> None:
    gains = {"rule_layout=wide": {"value": 9.0}, "rule_layout=list": {"value": 10.0}}
    events = [trial(1.0, generic=110.0, twin=110.0, tree=60.0, list=99.0, wide=99.5)]
    names = ["rule_layout=list", "rule_layout=wide", "rule_layout=tree"]
    assert history([*events, event(2.0, "decision", gains=gains)]).top == names


def test_picture_names_the_best_and_marks_the_swap() -> None:
    figure = draw_search(SEARCH)
    (axes,) = figure.axes
    assert "swap to A " in texts(figure)
    assert {"generic 112.0 ns", "A 61.0 ns", "B 79.0 ns", "C 95.0 ns"} <= set(texts(figure))
    marks = [line for line in axes.lines if np.array_equal(line.get_xdata(), [4.0, 4.0])]
    assert len(marks) == 1, "one line stands at the time of the swap"
    words = "\n".join(legend(figure))
    assert "A  rule_layout=tree: 61.0 ns, 51.0 ns less" in words
    assert "the other 1 variants" in words
    assert axes.get_xlabel().split(" (")[0].endswith(", s")
    assert "ns" in axes.get_ylabel()
    assert axes.get_title(loc="left") == "Search: 4 variants measured, 1 refused, 1 swap"


def test_labels_do_not_overlap() -> None:
    close = [trial(1.0, generic=61.0, twin=61.0, a=60.0, b=60.1, c=60.2)]
    figure = draw_search(close)
    (axes,) = figure.axes
    heights = sorted(text.xy[1] for text in axes.texts)  # type: ignore[attr-defined]
    low, high = axes.get_ylim()
    gaps = [b - a for a, b in pairwise(heights)]
    assert len(gaps) == 3 and min(gaps) >= 0.049 * (high - low)


def test_png_is_written(tmp_path: Path) -> None:
    path = tmp_path / "search.png"
    plot_search(SEARCH, path)
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    size = struct.unpack(">II", data[16:24])  # width and height of the IHDR chunk
    assert size == tuple(int(inches * DPI) for inches in SIZE_INCHES)


@pytest.mark.parametrize("events", [[], [event(1.0, "trial_failed", reason="no traffic")]])
def test_a_search_without_trials_has_a_picture_that_says_so(events: Any, tmp_path: Path) -> None:
    assert "no trial was measured" in texts(draw_search(events))
    plot_search(events, tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 1000


def test_unwritable_path_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(IridescentError, match="cannot write the picture") as caught:
        plot_search(SEARCH, tmp_path / "missing" / "x.png")
    assert caught.value.exit_code == 1
