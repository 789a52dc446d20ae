# SPDX-License-Identifier: GPL-2.0-only
"""Plays a scenario into an interface: phases switch without a gap, each packet is counted.

The traffic is made by the in-kernel generator, driven by a process of its own
(traffic/player_process.py), so that whatever the calling process computes does not disturb it.
The player knows nothing about the program that meets the traffic.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import TrafficError
from traffic.player_pipe import Event, SenderProcess
from traffic.player_process import PhasePlan, PlayPlan
from traffic.player_programs import PhasePrograms
from traffic.scenario_changes import TableChange
from traffic.scenario_model import Phase, Scenario


@dataclass(frozen=True, kw_only=True)
class PhaseSwitch:
    """The traffic of phase ``index`` began: at ``at_ns`` of time.monotonic_ns() no packet was on
    its way, all before are of the phase before, all after of this one."""

    name: str
    index: int
    at_ns: int


@dataclass(frozen=True, kw_only=True)
class PhasePlayed:
    """What was sent in a phase. ``wanted_pps`` is 0 at full speed, which is not paced."""

    name: str
    index: int
    seconds: float
    sent: int
    wanted_pps: float

    @property
    def pps(self) -> float:
        """Packets per second that were reached."""
        return self.sent / self.seconds if self.seconds else 0.0


OnPhase = Callable[[Phase, PhaseSwitch], None]
OnChange = Callable[[TableChange, int], None]


class Player:
    """One scenario, ready to be sent once; a context manager.

    It is made inside the network namespace of the interface ``port_ifindex``; ``cpu`` is where the
    sender runs. Below a rate of 1 packets come in bursts of about a millisecond's worth.
    ``full_pps`` is what a rate of 1 would be, for the other rates to be shares of: the same number
    makes two runs equal whatever the receiver costs. Without it (and if a phase is paced) full
    speed is measured for 0.12 s before the first phase, with packets that are counted apart
    (``warm_up``). ``time_scale`` multiplies every time in the scenario.
    """

    def __init__(
        self,
        builder: Builder,
        scenario: Scenario,
        port_ifindex: int,
        cpu: int = 0,
        *,
        full_pps: float | None = None,
        time_scale: float = 1.0,
    ) -> None:
        if time_scale <= 0:
            raise TrafficError(f"time_scale > 0 must hold, got {time_scale}")
        if full_pps is not None and full_pps <= 0:
            raise TrafficError(f"full_pps > 0 must hold, got {full_pps}")
        self.scenario = scenario
        self.time_scale = time_scale
        self.full_pps = full_pps or 0.0
        self.switches: list[PhaseSwitch] = []
        self.finished = False
        self.end_ns = 0
        self._counted: list[int] | None = None  # when all is closed
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None
        with ExitStack() as stack:
            streams = [phase.stream() for phase in scenario.phases]
            self._programs = stack.enter_context(PhasePrograms(builder, streams, port_ifindex))
            self._process = self._start(cpu)
            stack.callback(self._end)
            self._stack = stack.pop_all()

    # -- playing ---------------------------------------------------------------------------

    def play(
        self,
        *,
        on_phase: OnPhase | None = None,
        on_change: OnChange | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Begin, and return at once; ``wait`` for the end.

        ``on_phase`` is called after each switch; ``on_change`` when a change of tables is due, with
        the time at which it was. Both are called from one other thread, in order; a slow one does
        not delay the traffic. Setting ``stop`` ends the sending.
        """
        if self._thread is not None:
            raise TrafficError("a player plays once", cure="make another one")
        self._process.go()
        self._thread = threading.Thread(
            target=self._follow,
            args=(on_phase or _no_phase, on_change or _no_change, stop or threading.Event()),
            name="player",
            daemon=True,
        )
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until all was sent or ``stop`` was set; False when ``timeout_s`` passed before.

        Raises TrafficError when sending failed, and what a callback raised.
        """
        if self._thread is None:
            raise TrafficError("nothing is played", cure="call play() first")
        self._thread.join(timeout_s)
        if self._failure is not None:
            raise self._failure
        return not self._thread.is_alive()

    @property
    def process_id(self) -> int:
        """Of the process that sends."""
        return self._process.pid

    @property
    def sent(self) -> int:
        """All packets sent so far, exactly; those of the warm-up too."""
        return self.warm_up + sum(self.sent_in(n) for n in range(len(self.scenario.phases)))

    @property
    def warm_up(self) -> int:
        """Packets sent to measure full speed, before the first phase."""
        return self.sent_in(len(self.scenario.phases))

    def sent_in(self, index: int) -> int:
        """Packets sent in one phase so far, exactly."""
        return self._programs.made(index) if self._counted is None else self._counted[index]

    @property
    def played(self) -> list[PhasePlayed]:
        """The phases that began, each until the next switch, the end, or now."""
        now_ns = self.end_ns or time.monotonic_ns()
        ends = [*(switch.at_ns for switch in self.switches[1:]), now_ns]
        rates = [phase.rate for phase in self.scenario.phases]
        return [
            PhasePlayed(
                name=switch.name,
                index=switch.index,
                seconds=(end_ns - switch.at_ns) / 1e9,
                sent=self.sent_in(switch.index),
                wanted_pps=rates[switch.index] * self.full_pps if rates[switch.index] < 1 else 0.0,
            )
            for switch, end_ns in zip(self.switches, ends, strict=True)
        ]

    # -- the process -----------------------------------------------------------------------

    def _start(self, cpu: int) -> SenderProcess:
        programs = self._programs
        plan = PlayPlan(
            cpu=cpu,
            player=programs.player.fd,
            slot=programs.slot,
            warm_up=programs.programs[-1].fd,
            frame=programs.frame.hex(),
            full_pps=self.full_pps,
            phases=[self._plan(n, phase) for n, phase in enumerate(self.scenario.phases)],
        )
        return SenderProcess(
            plan, [plan["player"], plan["slot"], *(p.fd for p in programs.programs)]
        )

    def _plan(self, number: int, phase: Phase) -> PhasePlan:
        scale_ns = self.time_scale * 1e9
        return PhasePlan(
            program=self._programs.programs[number].fd,
            length_ns=round(phase.seconds * scale_ns),
            rate=phase.rate,
            changes=[round(change.at_s * scale_ns) for change in phase.changes],
        )

    def _follow(self, on_phase: OnPhase, on_change: OnChange, stop: threading.Event) -> None:
        for event in self._process.events:
            if stop.is_set():
                self._process.stop()
            if event is None:
                continue
            try:
                self._take(event, on_phase, on_change)
            except Exception as error:  # noqa: BLE001 - wait() raises it
                self._failure = self._failure or error
                self._process.stop()
        if not self.end_ns:
            self.end_ns = time.monotonic_ns()
            self._failure = self._failure or self._process.gone()

    def _take(self, event: Event, on_phase: OnPhase, on_change: OnChange) -> None:
        match event["event"]:
            case "full_speed":
                self.full_pps = float(event["pps"])
            case "switch":
                phase = self.scenario.phases[event["phase"]]
                switch = PhaseSwitch(name=phase.name, index=event["phase"], at_ns=event["at_ns"])
                self.switches.append(switch)
                on_phase(phase, switch)
            case "change":
                phase = self.scenario.phases[event["phase"]]
                on_change(phase.changes[event["change"]], event["at_ns"])
            case "end":
                self.end_ns = event["at_ns"]
                self.finished = event["finished"]
            case "failed":
                self.end_ns = time.monotonic_ns()
                raise TrafficError(f"sending failed: {event['error']}")

    # -- ending ----------------------------------------------------------------------------

    def close(self) -> None:
        """Stop sending and give everything back; what was counted can still be asked for."""
        self._stack.close()

    def _end(self) -> None:
        self._process.end()
        if self._thread is not None:
            self._thread.join()
        self._counted = [self._programs.made(n) for n in range(len(self._programs.programs))]
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _no_phase(_: Phase, __: PhaseSwitch) -> None:
    """Nobody wants to know."""


def _no_change(_: TableChange, __: int) -> None:
    """Nobody wants to know."""
