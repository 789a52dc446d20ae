# SPDX-License-Identifier: GPL-2.0-only
"""After the search: look at the traffic again and again, and whether all is as it was left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click
from rich.console import Console
from rich.live import Live

from iridescent_xdp import render
from iridescent_xdp.commands.session import Session
from iridescent_xdp.commands.stopping import Stopper
from iridescent_xdp.commands.traffic_seen import Rate
from iridescent_xdp.errors import IridescentError

INTERVAL_S = 1.0  # between two looks at rates, and at whether all is as it was left
QUIET_S = 1.0  # without a change of tables, before a search that one interrupted begins again
LINES_EVERY = 10  # rounds between two lines where there is no terminal


def watch(
    sessions: list[Session],
    stop: Stopper,
    *,
    search: Callable[[Session, Stopper], None],
    failed: Callable[[Session, IridescentError | OSError], None],
) -> None:
    """Until ``stop`` or until no session is left; ``failed`` takes a session off the list.

    Each session looks at its traffic as often as its [adapt] says. It is searched when its
    traffic changed, when the first packets come, and when tables that interrupted a search are
    quiet again.
    """
    if not sessions:
        return
    board = _Board(quiet=sessions[0].options.quiet)
    due = dict.fromkeys(sessions, 0.0)
    round_at = time.monotonic() + INTERVAL_S
    with board:
        while sessions:
            wait_s = min([round_at, *(due[s] for s in sessions)]) - time.monotonic()
            if stop.wait(max(0.0, wait_s)):
                return
            now = time.monotonic()
            for session in [s for s in sessions if due[s] <= now]:
                due[session] = now + session.every_s
                _guarded(session, session.adapt, failed)
            if now >= round_at:
                round_at = now + INTERVAL_S
                for session in list(sessions):
                    _guarded(session, session.check, failed)
                board.show({s.name: (s.live, _rate(s)) for s in sessions})
            for session in [s for s in sessions if _to_be_searched(s)]:
                board.pause()
                search(session, stop)
                board.resume()


def _guarded(
    session: Session,
    act: Callable[[], None],
    failed: Callable[[Session, IridescentError | OSError], None],
) -> None:
    try:
        act()
    except (IridescentError, OSError) as error:
        failed(session, error)


def _rate(session: Session) -> Rate:
    """What came by since the last look."""
    return Rate.between(*session.read())


def _to_be_searched(session: Session) -> bool:
    if session.searches == 0:
        return session.has_traffic
    if session.search_again:
        return session.quiet_s >= QUIET_S
    return session.wants_search


class _Board:
    """Rates: a table that is redrawn on a terminal, a line now and then elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._plain = not quiet and not sys.stderr.isatty()
        self._round = 0
        self._live: Live | None = None
        if not quiet and not self._plain:
            console = Console(file=sys.stderr, highlight=False)
            self._live = Live(console=console, auto_refresh=False, transient=True)

    def show(self, rates: dict[str, tuple[str, Rate]]) -> None:
        """One round."""
        if self._live is not None:
            self._live.update(render.rates_view(rates), refresh=True)
        elif self._plain and self._round % LINES_EVERY == 0:
            for name, (live, rate) in rates.items():
                click.echo(f"{name}: {live}: {render.rate_text(rate)}", err=True)
        self._round += 1

    def pause(self) -> None:
        """Somebody else draws on the terminal now."""
        if self._live is not None:
            self._live.stop()

    def resume(self) -> None:
        """Draw again."""
        if self._live is not None:
            self._live.start()

    def __enter__(self) -> _Board:
        self.resume()
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()
