# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent run`: attach what the operator file says, search, keep the winner, watch."""

from __future__ import annotations

import time
from pathlib import Path

import click

from iridescent_xdp import render
from iridescent_xdp.builder import Builder
from iridescent_xdp.commands.output import emit_json, json_option, show, tell
from iridescent_xdp.commands.reload import Reloader
from iridescent_xdp.commands.session import TRAFFIC_WAIT_S, Options, Session
from iridescent_xdp.commands.stopping import SLICE_S, Stopper
from iridescent_xdp.commands.watch import QUIET_S, watch
from iridescent_xdp.config import Config, ConfigFileError, load_config
from iridescent_xdp.errors import IridescentError
from iridescent_xdp.kernel.features import Feature, require
from iridescent_xdp.plan import Plan, make_plan

PATIENCE_S = 10.0  # for tables that change while they are searched

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(name="run")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--once", is_flag=True, help="Leave after the search instead of watching.")
@click.option("--events", type=_FILE, help="Where events go, as JSON lines (appended).")
@click.option("--plot", type=_FILE, help="A picture of the search, as PNG.")
@json_option
def command(
    config: Path, once: bool, events: Path | None, plot: Path | None, as_json: bool
) -> None:
    """Attach what CONFIG says, search under the live traffic, keep the winner.

    Then stays in the foreground and watches; Ctrl-C or SIGTERM leaves everything attached
    (exit code 0). If somebody else changes an interface, that is reported and not undone (6).
    SIGHUP reads CONFIG again; only tables may have changed in it, such as rules.
    """
    loaded = load_config(config)
    plans = make_plans(loaded)
    require(Feature.PRIVILEGE)
    runner = _Runner(Options(config=config, events=events, quiet=as_json), plot)
    with Stopper() as stop, Reloader(loaded, runner.open):
        try:
            runner.open_and_search(plans, stop)
            if not once:
                watch(runner.open, stop, search=runner.search, failed=runner.failed)
        finally:
            runner.leave()
    if as_json:
        emit_json({"exit_code": runner.code, "interfaces": runner.facts})
    elif runner.facts:
        show(render.left_view(runner.facts))
    click.get_current_context().exit(runner.code)


def make_plans(config: Config) -> list[Plan]:
    """A plan for each interface. Raises ConfigFileError with all that is wrong in any of them."""
    plans: list[Plan] = []
    problems: list[str] = []
    for interface in config.interfaces:
        try:
            plans.append(make_plan(interface, config.path))
        except ConfigFileError as error:
            problems += error.problems
    if problems:
        raise ConfigFileError(problems)
    return plans


class _Runner:
    """The sessions of one call; a failure of one interface does not stop the others."""

    def __init__(self, options: Options, plot: Path | None) -> None:
        self.options = options
        self.plot = plot
        self.open: list[Session] = []
        self.facts: list[dict[str, object]] = []
        self.code = 0
        self._several = False
        self._builders: dict[str, Builder] = {}

    def open_and_search(self, plans: list[Plan], stop: Stopper) -> None:
        """One interface after the other."""
        self._several = len(plans) > 1
        for plan in plans:
            if stop():
                return
            try:
                session = Session(plan, self._builder(plan.config.toolchain), self.options)
            except (IridescentError, OSError) as error:
                self.code = max(self.code, tell(error, plan.config.name if self._several else ""))
                continue
            self.open.append(session)
            try:
                session.follow()
            except (IridescentError, OSError) as error:
                self.failed(session, error)
                continue
            if session.wait_for_traffic(stop):
                self.search(session, stop)
                self._search_again(session, stop)
            elif not stop():
                session.progress.note(f"no traffic seen for {TRAFFIC_WAIT_S:.0f} s; generic stays")

    def _search_again(self, session: Session, stop: Stopper) -> None:
        """The tables changed meanwhile: search when they are quiet, if that is soon."""
        until = time.monotonic() + PATIENCE_S
        while session.search_again and time.monotonic() < until and not stop.wait(SLICE_S):
            if session.quiet_s >= QUIET_S:
                self.search(session, stop)
        if session.search_again:
            session.progress.note("the tables keep changing; no search until they are quiet")

    def search(self, session: Session, stop: Stopper) -> None:
        """Search one interface and tell how it ended."""
        try:
            report = session.search(stop)
        except (IridescentError, OSError) as error:
            self.code = max(self.code, tell(error, session.name))
            return
        if not self.options.quiet:
            show(*render.search_view(report))
        if self.plot is not None:
            from iridescent_xdp.plot import plot_search  # matplotlib is slow to import

            plot_search(session.progress.events, self._picture(session.name))

    def _picture(self, name: str) -> Path:
        assert self.plot is not None
        return self.plot.with_stem(f"{self.plot.stem}-{name}") if self._several else self.plot

    def _builder(self, toolchain: str) -> Builder:
        if toolchain not in self._builders:
            self._builders[toolchain] = Builder(toolchain)
        return self._builders[toolchain]

    def failed(self, session: Session, error: IridescentError | OSError) -> None:
        """Somebody else changed the interface, or its tables cannot be followed: leave it."""
        self.code = max(self.code, tell(error))
        self._leave(session)

    def leave(self) -> None:
        """Leave what is still open as it is."""
        for session in list(self.open):
            self._leave(session)

    def _leave(self, session: Session) -> None:
        self.open.remove(session)
        session.read()
        self.facts.append(session.facts())
        session.leave()
