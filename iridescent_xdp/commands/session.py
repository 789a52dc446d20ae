# SPDX-License-Identifier: GPL-2.0-only
"""One interface from attaching to leaving it: opened, searched, watched."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iridescent_xdp.adapt.adapter import Adapter
from iridescent_xdp.builder import Builder
from iridescent_xdp.campaign import Campaign
from iridescent_xdp.commands.progress import Progress
from iridescent_xdp.commands.search_report import SearchReport, report_path, save_report, summarize
from iridescent_xdp.commands.traffic_seen import Reading, read_traffic
from iridescent_xdp.controller import Controller
from iridescent_xdp.errors import AttachError
from iridescent_xdp.events import EventLog, Listener
from iridescent_xdp.kernel.netlink import namespace_key
from iridescent_xdp.limits import Limits
from iridescent_xdp.plan import Plan
from iridescent_xdp.runtime import events_path
from iridescent_xdp.search.policy import ResumeError
from iridescent_xdp.search.resume import read_events, unfinished
from iridescent_xdp.summary import Summary
from iridescent_xdp.switchboard import ENTRY, FALLBACK
from iridescent_xdp.toolchain.cache import cache_directory

TRAFFIC_WAIT_S = 3.0
ONLY_MISSES_S = 1.0  # between two looks where nothing is adapted
WINNERS = "winners.db"  # in the cache directory
_LOOK_S = 0.1


class InterfaceLog(EventLog):
    """An event log whose lines name their interface: several may share one file."""

    def __init__(self, path: Path | None, interface: str, listener: Listener | None) -> None:
        super().__init__(path, listener)
        self._interface = interface

    def tell(self, event: str, **numbers: object) -> None:
        """Write one event."""
        super().tell(event, **{"interface": self._interface, **numbers})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says beside the operator file."""

    config: Path
    events: Path | None = None
    quiet: bool = False


class Session:
    """Owns a controller; ``leave`` keeps everything attached."""

    def __init__(self, plan: Plan, builder: Builder, options: Options) -> None:
        """Attach, or take over. Raises what Controller raises; then nothing is left behind."""
        self.name = plan.config.name
        self.options = options
        self.progress = Progress(self.name, quiet=options.quiet)
        path = options.events or events_path(namespace_key(self.name))
        self._log = InterfaceLog(path, self.name, self.progress)
        try:
            self.controller = Controller(plan, builder, self._log)
        except BaseException:
            self._log.close()
            _forget_empty(path, namespace_key(self.name))
            raise
        self.report: SearchReport | None = None
        self.searches = 0
        self.search_again = False  # the tables changed while it was searched
        self._packets_came = False
        self._following = contextlib.ExitStack()
        self.first = self.last = read_traffic(self.controller)
        self._counted = self.first.packets
        config = plan.config
        self.limits = Limits(config.limits, searches_per_hour=config.adapt.max_searches_per_hour)
        self._killed = _killed_search(path, self.name) if self.controller.adopted else []
        memory = cache_directory() / WINNERS if config.adapt.memory else None
        self.adapter = Adapter(self.controller, self.limits, memory)

    def tell(self, event: str, **numbers: object) -> None:
        """Write an event of this interface."""
        self._log.tell(event, **numbers)

    def follow(self) -> None:
        """Let the function watch where its tables come from, as long as this session lasts."""
        watching = self.controller.plan.function.follow(self.controller.change)
        if watching is not None:
            self._following.enter_context(watching)

    # -- searching -------------------------------------------------------------------------

    def wait_for_traffic(self, stop: Callable[[], bool], seconds: float = TRAFFIC_WAIT_S) -> bool:
        """Whether a packet came within ``seconds``."""
        begin = read_traffic(self.controller).packets
        until = time.monotonic() + seconds
        while not stop() and time.monotonic() < until:
            time.sleep(_LOOK_S)
            if read_traffic(self.controller).packets > begin:
                return True
        return False

    def search(self, stop: Callable[[], bool]) -> SearchReport:
        """One campaign; its report is kept for `explain`."""
        self.searches += 1
        self.search_again = False
        self.tell("search_begins", reason=self.adapter.begins() or "the first one")
        summary: Summary | None = None
        with self.progress:
            try:
                summary = self._campaign(stop)
            finally:
                self.controller.end_search()  # also when a campaign could not begin
                self.adapter.searched(summary)
                self.tell("search_ends")
        self.report = summarize(
            self.controller.plan,
            summary,
            sentence=self.progress.tally.outcome,
            toolchain=self.controller.builder.toolchain.name,
            config=self.options.config,
            events=str(self._log.path or ""),
        )
        save_report(self.report, report_path(self.controller.key))
        return self.report

    def _campaign(self, stop: Callable[[], bool]) -> Summary:
        adapt = self.controller.plan.config.adapt
        campaign = Campaign(
            self.controller,
            stop=stop,
            limits=self.limits,
            events=self._killed,
            seeds=self.adapter.seeds(),
            watch=self.adapter.search_watch if adapt.enabled else lambda: "",
            quick=self.searches > 1,
        )
        self._killed = []
        try:
            summary = campaign.run()
            self.search_again = campaign.tables_changed()
        finally:
            campaign.close()
        return summary

    # -- watching --------------------------------------------------------------------------

    def check(self) -> None:
        """Whether everything is as this controller left it. Raises AttachError if not."""
        with self.controller.lock:
            self._check()

    def _check(self) -> None:
        board = self.controller.board
        board.check(self.controller.interface)
        for slot in (ENTRY, FALLBACK):
            found, wanted = board.holds(slot), board.expected[slot]
            if found != wanted:
                raise AttachError(
                    f"slot {slot} of '{self.name}' holds program {found}, not {wanted}: "
                    "somebody else changed it",
                    cure="see 'iridescent status'",
                )

    def read(self) -> tuple[Reading, Reading]:
        """The reading before, and a new one."""
        before, self.last = self.last, read_traffic(self.controller)
        return before, self.last

    @property
    def every_s(self) -> float:
        """Seconds from one look at the traffic to the next."""
        adapt = self.controller.plan.config.adapt
        return adapt.every_ms / 1000 if adapt.enabled else ONLY_MISSES_S

    def adapt(self) -> None:
        """One look at the traffic, and what follows from it."""
        if self.controller.plan.config.adapt.enabled:
            self._packets_came = self.adapter.step().packets > 0
            return
        seen = read_traffic(self.controller).packets
        came, self._counted = seen - self._counted, seen
        self._packets_came = came > 0
        self.adapter.misses.look(came)

    @property
    def has_traffic(self) -> bool:
        """Whether packets came between the last two looks."""
        return self._packets_came

    @property
    def wants_search(self) -> bool:
        """Whether the traffic has changed, and a search is allowed now."""
        return self.controller.plan.config.adapt.enabled and self.adapter.may_search()

    @property
    def quiet_s(self) -> float:
        """Seconds since the tables changed last, or since this controller began."""
        return time.monotonic() - self.controller.changes.last

    @property
    def live(self) -> str:
        """The label of what runs."""
        with self.controller.lock:
            return self.controller.plan.label(self.controller.live_variant)

    def facts(self) -> dict[str, object]:
        """What is live and what came by, for the summary."""
        controller = self.controller
        return {
            "interface": self.name,
            "live": self.live,
            "live_key": controller.live_variant.key,
            "mode": controller.board.link.mode,
            "adopted": controller.adopted,
            "packets": self.last.packets - self.first.packets,
            "search": self.report.to_json() if self.report else None,
        }

    def leave(self) -> None:
        """Everything stays attached; the next controller may come."""
        self._following.close()
        self.adapter.close()
        self.controller.close()
        self._log.close()


def _killed_search(path: Path, interface: str) -> list[Mapping[str, Any]]:
    """What a search before had found out when it was killed; nothing from a damaged log."""
    try:
        return unfinished(read_events(path), interface)
    except ResumeError:
        return []


def _forget_empty(path: Path, key: str) -> None:
    """A log in which nothing happened, where nothing was attached, is not kept."""
    if path == events_path(key) and not path.stat().st_size:
        path.unlink()
        with contextlib.suppress(OSError):
            path.parent.rmdir()
