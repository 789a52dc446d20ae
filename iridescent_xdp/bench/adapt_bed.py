# SPDX-License-Identifier: GPL-2.0-only
"""A controller as `iridescent run` has it, on a testbed, while scenarios are played to it.

The sender has one CPU, the controller the other. With ``threaded`` the receiving end is a kernel
thread (threaded NAPI) on the sender's CPU, whose own CPU time per packet is what receiving costs,
whatever the sender costs (bench/live.py).
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from iridescent_xdp.adapt.adapter import Adapter
from iridescent_xdp.adapt.received import Received
from iridescent_xdp.bench.live import WARM_UP_S, cpus
from iridescent_xdp.bench.subject import Leaves
from iridescent_xdp.bench.wiring import Wiring
from iridescent_xdp.builder import Builder
from iridescent_xdp.commands.session import WINNERS, Options, Session
from iridescent_xdp.commands.stopping import Stopper
from iridescent_xdp.commands.watch import watch
from iridescent_xdp.config import InterfaceConfig, PointValue, SearchConfig
from iridescent_xdp.errors import IridescentError, MeasurementError
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.plan import Plan, make_plan
from iridescent_xdp.preflight import on_cpu
from traffic.player import PhaseSwitch, Player
from traffic.scenario import Phase, Scenario, TableChange
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, inside
from traffic.threaded_napi import NapiThread, thread_napi

LEAVES = {"filter": Leaves.DROPPED, "router": Leaves.THROUGH, "l4lb": Leaves.BACK}
LONG_S = 3600.0
Event = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Packets that came and CPU time of the receiving thread (0 without one), until now."""

    packets: int
    busy_ns: int

    def ns_per_packet(self, before: Reading) -> float:
        """Of the packets since ``before``. Raises MeasurementError when none came."""
        packets = self.packets - before.packets
        if packets <= 0:
            raise MeasurementError("no packet arrived", cure="run 'iridescent doctor'")
        return (self.busy_ns - before.busy_ns) / packets


@dataclass(frozen=True, kw_only=True)
class Played:
    """What happened while a scenario was played; events have ``at_ns`` of time.monotonic_ns().

    ``readings`` are taken at each switch and at the end. ``looks`` counts looks at the traffic.
    """

    scenario: Scenario
    switches: Sequence[PhaseSwitch]
    end_ns: int
    readings: Sequence[Reading]
    events: Sequence[Event]
    looks: int

    def during(self, phase: int) -> list[Event]:
        """What was told between a switch and the next one."""
        begin_ns = self.switches[phase].at_ns
        ends = [*(s.at_ns for s in self.switches), self.end_ns]
        return [e for e in self.events if begin_ns <= e["at_ns"] < ends[phase + 1]]

    @property
    def phase_ns(self) -> list[float]:
        """CPU time of the receiving thread per packet, in ns, phase by phase."""
        pairs = zip(self.readings, self.readings[1:], strict=False)
        return [after.ns_per_packet(before) for before, after in pairs]


class _Whistle(Stopper):
    """Blown when everything was sent."""

    def blow(self) -> None:
        self._wished = True


class _Watched(Session):
    """Has a memory of its own, counts its looks, and ``after`` each asks whether that is enough."""

    looks = 0
    after: Callable[[], None] | None = None

    def __init__(self, plan: Plan, builder: Builder, options: Options) -> None:
        super().__init__(plan, builder, options)
        self.adapter.close()
        self.adapter = Adapter(self.controller, self.limits, options.config.with_name(WINNERS))

    def adapt(self) -> None:
        self.looks += 1
        super().adapt()
        if self.after is not None:
            self.after()


class Bed:
    """A session on a testbed of its own, with an empty memory; a context manager.

    ``scenario`` says which function, policy and tables; ``points`` are those of [search.points].
    """

    def __init__(
        self,
        builder: Builder,
        scenario: Scenario,
        *,
        seed: int = 0,
        threaded: bool = False,
        points: Mapping[str, tuple[PointValue, ...]] | None = None,
    ) -> None:
        self.builder, self.scenario = builder, scenario
        self._cpu = cpus()[0]
        self._thread: NapiThread | None = None
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            self.log = folder / "events.jsonl"
            leaves = LEAVES[scenario.function]
            wiring = Wiring(builder, leaves, threaded=threaded, cpu=self._cpu)
            stack.enter_context(wiring)
            self._testbed = wiring.testbed
            stack.enter_context(inside(self._testbed.dut))
            stack.enter_context(on_cpu(cpus()[-1]))
            config = InterfaceConfig(
                name=DUT_SIDE,
                function=scenario.function,
                policy=dict(scenario.policy),
                search=SearchConfig(seed=seed, points=dict(points or {})),
                tables=scenario.interface_tables(wiring.egress),
            )
            options = Options(config=folder / "bench.toml", events=self.log, quiet=True)
            self.session = _Watched(make_plan(config, options.config), builder, options)
            stack.callback(self._leave)
            self._received = Received(find_interface(DUT_SIDE).index)
            stack.callback(self._received.close)
            if threaded:
                self._thread = thread_napi(self._testbed.dut, DUT_SIDE, self._cpu)
            self._stack = stack.pop_all()

    def reading(self) -> Reading:
        """Now."""
        busy_ns = self._thread.busy_ns() if self._thread is not None else 0
        return Reading(packets=self._received.packets(), busy_ns=busy_ns)

    # -- playing ---------------------------------------------------------------------------

    def player(self, scenario: Scenario, time_scale: float = 1.0) -> Player:
        """Sends ``scenario`` into the testbed."""
        with inside(self._testbed.generator):
            port = find_interface(GENERATOR_SIDE).index
            return Player(self.builder, scenario, port, self._cpu, time_scale=time_scale)

    @contextmanager
    def sending(self, phase: Phase) -> Iterator[None]:
        """The traffic of one phase, while nobody adapts."""
        alone = replace(phase, seconds=LONG_S, changes=())
        stop = threading.Event()
        with self.player(replace(self.scenario, phases=(alone,))) as player:
            player.play(stop=stop)
            time.sleep(WARM_UP_S)
            try:
                yield
            finally:
                stop.set()
                player.wait()

    def adapt(
        self,
        scenario: Scenario | None = None,
        time_scale: float = 1.0,
        *,
        at_end: Callable[[int], None] = lambda _: None,
        until: str = "",
    ) -> Played:
        """Play a scenario (default: that of the bed) while the controller watches, searches and
        adapts, as `iridescent run` does; ``at_end`` is called at the end of each phase, in another
        thread. Ends early after an event called ``until``. Raises what all that raises."""
        scenario = scenario or self.scenario
        whistle, readings, looks = _Whistle(), [], self.session.looks
        begin, enough = len(self._events()), threading.Event()

        def look_for_end() -> None:
            if any(event["event"] == until for event in self._events()[begin:]):
                enough.set()

        self.session.after = look_for_end if until else None

        def on_phase(_: Phase, switch: PhaseSwitch) -> None:
            readings.append(self.reading())
            self.session.tell("phase", name=switch.name, at_ns=switch.at_ns)
            if switch.index:
                at_end(switch.index - 1)

        def play(player: Player) -> None:
            player.play(on_phase=on_phase, on_change=self._change, stop=enough)
            try:
                with contextlib.suppress(Exception):  # raised below, in the thread that watches
                    player.wait()
            finally:
                readings.append(self.reading())
                at_end(len(scenario.phases) - 1)
                whistle.blow()

        with whistle, self.player(scenario, time_scale) as player:
            player_thread = threading.Thread(target=play, args=(player,), daemon=True)
            player_thread.start()
            watch([self.session], whistle, search=_search, failed=_failed)
            player_thread.join()
            player.wait()
            if not player.finished and not enough.is_set():
                raise MeasurementError("the scenario was not played to its end", cure="try again")
            return Played(
                scenario=scenario,
                switches=player.switches,
                end_ns=player.end_ns,
                readings=readings,
                events=self._events()[begin:],
                looks=self.session.looks - looks,
            )

    def _change(self, change: TableChange, _: int) -> None:
        controller = self.session.controller
        controller.change(change.for_tables(controller.plan.function.tables))

    def _events(self) -> list[Event]:
        """All so far, with ``at_ns``: the log's clock began some time, which one event tells."""
        now_ns = time.monotonic_ns()
        self.session.tell("clock")
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        began_ns = now_ns - round(lines[-1]["elapsed_s"] * 1e9)
        return [{"at_ns": began_ns + round(e["elapsed_s"] * 1e9), **e} for e in lines]

    # -- leaving ---------------------------------------------------------------------------

    def _leave(self) -> None:
        self.session.adapter.close()
        self.session.controller.release()
        self.session.controller.events.close()

    def close(self) -> None:
        """Detach and remove the testbed."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _search(session: Session, stop: Stopper) -> None:
    session.search(stop)


def _failed(_: Session, error: IridescentError | OSError) -> None:
    raise error
