# SPDX-License-Identifier: GPL-2.0-only
"""The model as one HTML page: style and charts are inside, nothing is loaded, no script runs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from iridescent_xdp.errors import IridescentError
from iridescent_xdp.report import forest, timeline, words
from iridescent_xdp.report.kinds import SecondObserver
from iridescent_xdp.report.model import GENERIC, TWIN, Report, Run, Search, VariantRow

OPEN = 3  # searches of a run that are unfolded, the last ones
TOLD = 3  # and whose decisions stand at the top


@dataclass(frozen=True, kw_only=True)
class SearchView:
    """A search with its pictures; ``left`` variants are only in the table."""

    search: Search
    open: bool
    wide: Markup | None
    narrow: Markup | None
    shown: int
    left: int
    refused: int


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run with its pictures, for the template."""

    id: str
    run: Run
    wide: Markup
    narrow: Markup
    legend: tuple[tuple[str, str], ...]
    searches: tuple[SearchView, ...]
    told: tuple[Search, ...]
    best: VariantRow | None
    observer: SecondObserver | None
    trials: int
    recalls: int
    rates: bool
    thinned: bool


def render_page(report: Report) -> str:
    """The page's text."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_resource("page.html.j2"))
    return template.render(
        report=report,
        title=_title(report),
        css=Markup(_resource("page.css")),
        views=[_run_view(run, f"run{number}") for number, run in enumerate(report.runs, start=1)],
        w=words,
    ).lstrip()


def write_page(report: Report, path: Path) -> None:
    """Raises IridescentError when ``path`` cannot be written."""
    try:
        path.write_text(render_page(report), encoding="utf-8")
    except OSError as error:
        raise IridescentError(
            f"cannot write the page {path}: {error.strerror}", cure="choose another file with -o"
        ) from error


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _title(report: Report) -> str:
    names = list(dict.fromkeys(run.name for run in report.runs))
    if not names:
        return "an empty log"
    return names[0] if len(names) == 1 else f"{len(names)} interfaces: {', '.join(names)}"


def _run_view(run: Run, anchor: str) -> RunView:
    decided = [search for search in run.searches if search.best is not None]
    return RunView(
        id=anchor,
        run=run,
        wide=timeline.draw_timeline(run, timeline.WIDE, anchor=anchor).markup(),
        narrow=timeline.draw_timeline(run, timeline.NARROW, anchor=anchor).markup(),
        legend=tuple(_legend(run)),
        searches=tuple(
            _search_view(search, unfolded=search.number > len(run.searches) - OPEN)
            for search in run.searches
        ),
        told=run.searches[-TOLD:],
        best=decided[-1].best if decided else None,
        observer=decided[-1].observer if decided else None,
        trials=sum(len(search.trials) for search in run.searches),
        recalls=sum(bool(shift.recalled) for shift in run.shifts),
        rates=any(look.seen.pps is not None for look in run.looks),
        thinned=len(run.looks) > timeline.NARROW / 2,
    )


def _legend(run: Run) -> list[tuple[str, str]]:
    """Names and CSS classes of what the timeline shows."""
    seen = {arm.variant for search in run.searches for trial in search.trials for arm in trial.arms}
    known = timeline.colours(run)
    live = {span.name for span in run.lives}
    entries = [
        (name, css) for name, css in known.items() if css != "vx" and (name in seen or name in live)
    ]
    if TWIN in seen:
        entries.insert(1 if GENERIC in dict(entries) else 0, (f"{TWIN}: noise", "v0 twin"))
    if any(look.seen.reference_ns is not None for look in run.looks):
        entries.append(("generic, measured beside what is live", "v0 beside"))
    if any(css == "vx" for css in known.values()):
        entries.append(("further variants that were live", "vx"))
    others = len(seen - set(known) - {TWIN})
    if others:
        entries.append((f"{others} more in trials", "other"))
    return entries


def _search_view(search: Search, *, unfolded: bool) -> SearchView:
    wide = forest.draw_forest(search, forest.WIDE)
    narrow = forest.draw_forest(search, forest.NARROW)
    shown = len(forest.shown_rows(search))
    measured = sum(row.gain_ns is not None for row in search.variants)
    return SearchView(
        search=search,
        open=unfolded,
        wide=wide.markup() if wide is not None else None,
        narrow=narrow.markup() if narrow is not None else None,
        shown=shown,
        left=measured - shown,
        refused=sum(row.status == "refused" for row in search.variants),
    )
