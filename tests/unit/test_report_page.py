# SPDX-License-Identifier: GPL-2.0-only
"""The page as text: it needs nothing else, says all, and a log cannot write markup into it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import pytest

from iridescent_xdp.report import forest, timeline
from iridescent_xdp.report.collect import collect
from iridescent_xdp.report.log import read_log
from iridescent_xdp.report.model import Report
from iridescent_xdp.report.page import render_page
from iridescent_xdp.report.series import stretches, thin
from iridescent_xdp.report.svg import Axis, fit, nice_step
from tests.unit.report_events import readings, scenario, write_log
from tests.unit.search_events import SEARCH, event

SECTIONS = (
    *("The decision", "Timeline", "Variants compared", "Cost of exploring"),
    *("Shifts and what was recalled", "Table changes and retreats", "Problems"),
)
VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """What a browser would make of it: tags that close, headings, links, ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[tuple[int, str]] = []
        self.words = self.title = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and re.fullmatch(r"h[1-6]", self.open[-1]):
            self.headings.append((int(self.open[-1][1]), data))
        if self.open[-2:] == ["head", "title"]:
            self.title += data
        if "style" not in self.open:
            self.words += data

    def values(self, *names: str) -> list[str]:
        return [value for _, name, value in self.attributes if name in names]


def report_of(tmp_path: Path, events: Iterable[Mapping[str, Any]], tail: str = "") -> Report:
    return collect(read_log(write_log(tmp_path / "events.jsonl", events, tail)))


@pytest.fixture(name="page_of")
def _page_of(tmp_path: Path) -> Any:
    return lambda events, tail="": Page(render_page(report_of(tmp_path, events, tail)))


def test_a_page_is_whole_and_needs_nothing_else(page_of: Any) -> None:
    page = page_of(scenario())
    assert not page.open and page.tags["html"] == page.tags["h1"] == 1
    assert page.title == "Iridescent report: eth0"
    assert ("html", "lang", "en") in page.attributes
    assert page.tags["script"] == page.tags["img"] == page.tags["iframe"] == 0
    assert all(v.startswith(("#", "data:,")) for v in page.values("href", "src", "xlink:href"))
    assert any("default-src 'none'" in value for value in page.values("content"))


def test_each_section_is_there_with_its_numbers(page_of: Any) -> None:
    page = page_of(scenario())
    assert [words for level, words in page.headings if level == 3] == list(SECTIONS)
    for told in (
        *("it saves 50.0 ns per packet", "3.0 ns (noise floor)", "49.0 to 51.0", "25.0 %"),
        *("packet 'x' differs: verdict drop, generic says pass", "0.42 %", "0.35 %", "0.83 %"),
        *("shift detected in protocol", "udp 0.9 → 0.2", "80 ms later, distance 0.02"),
        *("night again", "grace period 8.5 ms", "swap to rule_layout=tree in 48.8 µs"),
    ):
        assert told in page.words, told


def test_it_can_be_read_without_seeing_it(page_of: Any) -> None:
    page = page_of(scenario())
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    labels = [v for tag, name, v in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(labels) == page.tags["svg"] == 6 and all(labels)
    scopes = [name for tag, name, _ in page.attributes if (tag, name) == ("th", "scope")]
    assert len(scopes) == page.tags["th"] > 20
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for target in page.values("href", "aria-labelledby"):
        assert target.removeprefix("#") in ids or target == "data:,", target


def test_marks_link_to_their_place_in_the_list(page_of: Any) -> None:
    page = page_of(scenario())
    links = {v for tag, name, v in page.attributes if (tag, name) == ("a", "href")}
    assert "#run1-1" in links and links <= {f"#{value}" for value in page.values("id")}


def test_a_log_cannot_write_markup(page_of: Any) -> None:
    evil = '"><script>alert(1)</script><img src=http://192.0.2.1/x>&amp;{{ 7*7 }}'
    told = [
        {**SEARCH[0], "interface": evil},
        *({**e, "interface": evil} for e in SEARCH[1:]),
        {**event(5.0, "swap", variant=evil, reason=evil), "interface": evil},
        {**event(6.0, "phase", name=evil), "interface": evil},
        {**event(7.0, evil), "interface": evil},
        {**event(7.5, "trial_failed", reason=evil), "interface": evil},
    ]
    page = page_of(told)
    assert page.tags["script"] == page.tags["img"] == 0
    assert page.words.count(evil) >= 6


def test_an_empty_log_is_said(page_of: Any) -> None:
    assert "There is no event in this log" in page_of([]).words


def test_a_log_without_a_search_says_so_in_each_section(page_of: Any) -> None:
    page = page_of([event(0.1, "attached", mode="native", function="filter")])
    assert [words for level, words in page.headings if level == 3] == list(SECTIONS)
    for told in ("No search in this log", "no time per packet in this log", "No shift", "None was"):
        assert told in page.words


def test_torn_and_unfinished_logs_say_so(page_of: Any) -> None:
    page = page_of([e for e in SEARCH if e["elapsed_s"] < 3.0], tail='{"time": "20')
    assert "the last line (7) is torn" in page.words
    assert "search 1 was not finished" in page.words


def test_several_runs_are_listed_first(page_of: Any) -> None:
    other = [{**e, "interface": "eth1"} for e in SEARCH]
    page = page_of([*SEARCH, *other, *SEARCH])
    assert ("nav", "aria-label", "Runs") in page.attributes
    assert [w for level, w in page.headings if level == 2] == [
        f"{name}, 2025-12-31 23:59:59 UTC" for name in ("eth0", "eth1", "eth0")
    ]
    assert page.headings[0][1] == "2 interfaces: eth0, eth1"


# -- drawing -------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [timeline.WIDE, timeline.NARROW])
def test_curves_stand_where_their_numbers_are(tmp_path: Path, width: float) -> None:
    """The generic line of 100 ns is twice as high over the axis as the variant's of 50 ns."""
    flat = [{**e, "time_ns": 50.0, "reference_ns": 100.0} for e in readings(0.0, 9.0, "x", 1, 0.5)]
    (run,) = report_of(tmp_path, flat).runs
    root = Tree.fromstring(timeline.draw_timeline(run, width).markup())
    heights = {}
    for path in root.iter("path"):
        places = re.findall(r"([\d.]+) ([\d.]+)", path.attrib["d"])
        heights[path.attrib["class"].split()[1]] = {y for _, y in places}
        assert float(places[0][0]) == timeline.LEFT
        assert float(places[-1][0]) == pytest.approx(width - timeline.RIGHT, abs=0.1)
    (base,) = {e.attrib["y1"] for e in root.iter("line") if e.get("class") == "axis"}
    (lower,), (upper,) = heights["time"], heights["beside"]
    assert float(base) - float(upper) == pytest.approx(2 * (float(base) - float(lower)), abs=0.3)


def test_numbers_of_close_marks_are_joined_and_nothing_is_lost(tmp_path: Path) -> None:
    swaps = [event(1 + i / 1000, "swap", variant=f"v{i}") for i in range(300)]
    (run,) = report_of(tmp_path, [*swaps, event(60.0, "swap", variant="last")]).runs
    root = Tree.fromstring(timeline.draw_timeline(run, anchor="a").markup())
    links = [e for e in root.iter("a") if e.attrib["class"].startswith("mark")]
    assert [link.findtext("text") for link in links] == ["1\u2013300", "301"]
    assert (links[0].findtext("title") or "").count("\n") == 299


def test_many_readings_are_thinned_and_extremes_stay() -> None:
    points = [(i / 10, 100.0 + (900.0 if i == 777 else 0.0)) for i in range(10_000)]
    seen = thin(points, 400)
    assert len(seen.middle) == 400 and max(y for _, y in seen.high) == 1000.0
    assert {y for _, y in seen.low} == {100.0} == {y for _, y in seen.middle}
    assert thin(points[:400], 400).middle == points[:400]


def test_lines_are_cut_where_nothing_was_read() -> None:
    points = [(0.0, 1.0, "a"), (1.0, 1.0, "a"), (2.0, 2.0, "b"), (9.0, 3.0, "b"), (10.0, 3.0, "b")]
    assert stretches(points) == [
        ("a", [(0.0, 1.0), (1.0, 1.0), (2.0, 2.0)]),
        ("b", [(2.0, 2.0)]),
        ("b", [(9.0, 3.0), (10.0, 3.0)]),
    ]


def test_gains_stand_where_their_numbers_are(tmp_path: Path) -> None:
    (run,) = report_of(tmp_path, scenario()).runs
    drawn = forest.draw_forest(run.searches[0])
    assert drawn is not None
    root = Tree.fromstring(drawn.markup())
    rows = [g for g in root.iter("g") if g.attrib["class"].startswith("variant")]
    at = {g.findtext("text"): float(g.find("circle").attrib["cx"]) for g in rows}  # type: ignore[union-attr]
    (zero,) = {float(e.attrib["x1"]) for e in root.iter("line") if e.get("class") == "zero"}
    gains = {"rule_layout=tree": 50, "rule_layout=chain": 25, "rule_layout=wide": -20}
    scale = (at["rule_layout=tree"] - zero) / 50
    assert {name: (at[name] - zero) / scale for name in gains} == pytest.approx(gains, abs=0.3)
    whiskers = [len(g.findall("line")) for g in rows]
    assert whiskers == [3, 3, 0, 3], "one variant has no interval, and none is drawn"


def test_only_the_best_variants_are_drawn_when_there_are_many(tmp_path: Path) -> None:
    arms = [{"variant": f"v{i}", "time_ns": 50.0 + i, "packets": 10} for i in range(200)]
    arms.append({"variant": "generic", "time_ns": 100.0, "packets": 10})
    report = report_of(tmp_path, [event(1.0, "trial", arms=arms)])
    names = [row.label for row in forest.shown_rows(report.runs[0].searches[0])]
    assert names == [f"v{i}" for i in range(forest.SHOWN)]
    page = Page(render_page(report))
    assert f"The best {forest.SHOWN}; {200 - forest.SHOWN} more are in the table" in page.words


def test_axes_have_round_numbers() -> None:
    assert [nice_step(x) for x in (0.3, 1.0, 1.1, 2.2, 26, 99, 0)] == [0.5, 1, 2, 2.5, 50, 100, 1]
    assert Axis(low=-20, high=55, start=0, end=1).ticks(8) == [-20, -10, 0, 10, 20, 30, 40, 50]
    assert Axis(low=3, high=3, start=5, end=9)(3) == 5


def test_words_are_shortened_to_their_room() -> None:
    assert fit("rule_layout=tree", 200) == "rule_layout=tree"
    assert fit("rule_layout=tree", 60).endswith("…") and len(fit("rule_layout=tree", 60)) == 9
    assert fit("rule_layout=tree", 10) == ""
