# SPDX-License-Identifier: GPL-2.0-only
"""After the search: look every second whether all is as it was left, and how much comes by."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click
from rich.console import Console
from rich.live import Live

from iridescent_xdp import render
from iridescent_xdp.commands.session import Session
from iridescent_xdp.commands.stopping import Stopper
from iridescent_xdp.commands.traffic_seen import Rate
from iridescent_xdp.errors import IridescentError

INTERVAL_S = 1.0
QUIET_S = 1.0  # without a change of tables, before a search that one interrupted begins again
LINES_EVERY = 10  # rounds between two lines where there is no terminal


def watch(
    sessions: list[Session],
    stop: Stopper,
    *,
    search: Callable[[Session, Stopper], None],
    failed: Callable[[Session, IridescentError], None],
) -> None:
    """Until ``stop`` or until no session is left; ``failed`` takes a session off the list.

    A session that saw no traffic at the beginning is searched when the first packets come; one
    whose search ended because its tables changed, when they are quiet again.
    """
    if not sessions:
        return
    board = _Board(quiet=sessions[0].options.quiet)
    with board:
        while sessions and not stop.wait(INTERVAL_S):
            for session in list(sessions):
                try:
                    session.check()
                except IridescentError as error:
                    failed(session, error)
            rates = {session: _rate(session) for session in sessions}
            board.show({s.name: (s.live, rate) for s, rate in rates.items()})
            for session, rate in rates.items():
                if rate.pps > 0 and _to_be_searched(session):
                    board.pause()
                    search(session, stop)
                    board.resume()


def _rate(session: Session) -> Rate:
    """What came by since the last look; points that it misses are given up."""
    before, now = session.read()
    session.misses.look(now.packets - before.packets)
    return Rate.between(before, now)


def _to_be_searched(session: Session) -> bool:
    return session.searches == 0 or (session.search_again and session.quiet_s >= QUIET_S)


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
