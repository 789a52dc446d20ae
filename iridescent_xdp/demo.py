# SPDX-License-Identifier: GPL-2.0-only
"""The demo: a filter with 64 rules in a testbed, millions of packets per second, a live search.

It goes the operator's way: it writes an operator file, reads it, and runs a session on it.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from iridescent_xdp import render
from iridescent_xdp.builder import Builder
from iridescent_xdp.commands.output import show
from iridescent_xdp.commands.search_report import SearchReport, report_path
from iridescent_xdp.commands.session import Options, Session
from iridescent_xdp.commands.stopping import Stopper
from iridescent_xdp.commands.traffic_seen import read_traffic
from iridescent_xdp.config import load_config
from iridescent_xdp.errors import MeasurementError, StateError
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.kernel.netlink import find_interface, namespace_key
from iridescent_xdp.plan import Plan, make_plan
from iridescent_xdp.plot import plot_search
from iridescent_xdp.points import Point
from iridescent_xdp.preflight import Sandbox
from iridescent_xdp.runtime import forget
from iridescent_xdp.statistics import Effect, ratio
from iridescent_xdp.template import find_template, read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import Generator, StreamTimer
from traffic.mixes import Mix, Stream, build
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, Testbed, inside, sweep

RULES = 64
# points that the demo searches, all values if none are named; the others keep their defaults
SEARCHED = {"vlan_depth": "[0, 2]", "ipv6": "", "no_ip_options": "", "rule_layout": ""}
ROUNDS = 41  # of program time, generic and the winner by turns
DRAIN_S = 2.0  # until the last packets are counted

_HEAD = """\
# What `iridescent demo` ran, on an interface that is gone. It drops whatever comes: not for an
# interface that you need.
[interface.{name}]
function = "filter"
toolchain = "{toolchain}"

[interface.{name}.policy]
default_action = "drop"           # a dropped packet shows the program's own throughput

[interface.{name}.search]
max_seconds = {seconds}

[interface.{name}.search.points]  # a small space; leave this out to search everything
{points}
"""


def demo_file(seconds: float, toolchain: str) -> str:
    """The operator file: prefixes, ports, ranges and both, by turns."""
    points = read_template(find_template("filter")).points
    shown = [f"{p.name} = {_tried(p)}" for p in points if p.searched and p.name not in SEARCHED]
    shown += [f"{name} = {values}" for name, values in SEARCHED.items() if values]
    head = _HEAD.format(
        name=DUT_SIDE, toolchain=toolchain, seconds=seconds, points="\n".join(shown)
    )
    rules = (f'action = "drop"\n{_rule(number)}' for number in range(RULES))
    return head + "".join(f"\n[[interface.{DUT_SIDE}.rules]]\n{rule}" for rule in rules)


def _tried(point: Point) -> str:
    """The default alone, as TOML spells it."""
    value = point.show(point.default)
    return f'"{value}"' if point.labels else value


def _rule(number: int) -> str:
    kinds = (
        f'protocol = "{"udp" if number % 8 else "tcp"}"\ndestination_port = {1000 + 7 * number}\n',
        f'source = "10.{number}.{3 * number % 256}.0/24"\n',
        f'destination = "192.168.{number}.0/24"\nprotocol = "tcp"\n'
        f"destination_port = {8000 + number}\n",
        f'source = "172.16.0.0/12"\nprotocol = "udp"\n'
        f'destination_port = "{20000 + 100 * number}-{20050 + 100 * number}"\n',
    )
    return kinds[number % len(kinds)]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the demo found. ``speedup`` is program time, generic over winner."""

    report: SearchReport
    speedup: Effect | None
    generic_ns: float
    winner_ns: float
    sent: int
    counted: int
    swaps: int
    seconds: float

    @property
    def exit_code(self) -> int:
        """MeasurementError's when packets were lost or counted twice."""
        return 0 if self.sent == self.counted else MeasurementError.exit_code

    def sentences(self) -> list[str]:
        """Speed-up and accounting, for people."""
        exact = "exactly" if self.sent == self.counted else "NOT the same"
        return [
            self._speedup(),
            f"{self.sent:,} packets sent, {self.counted:,} counted, {exact}, through "
            f"{self.swaps} swaps under full traffic.",
        ]

    def _speedup(self) -> str:
        if self.speedup is None:
            return self.report.sentence or "The search was not finished; generic stays."
        speedup = f"{self.speedup.value:.2f}x ({self.speedup.low:.2f} to {self.speedup.high:.2f})"
        line = (
            f"Specialized ('{self.report.winner}') is {speedup} faster per packet than generic "
            f"({self.winner_ns:.1f} ns instead of {self.generic_ns:.1f} ns of program time)"
        )
        through = self.report.throughput_ratio
        if through is None:
            return f"{line}."
        shown = f"{through.value:.2f}x ({through.low:.2f} to {through.high:.2f})"
        return f"{line}, throughput {shown}, sender and receiver on one core."

    def to_json(self) -> dict[str, Any]:
        """The report of the search, and the demo's own figures beside it."""
        own = {name: value for name, value in asdict(self).items() if name != "report"}
        return {**self.report.to_json(), "demo": own, "sentences": self.sentences()}


class Demo:
    """One run; cleans up whatever happens."""

    def __init__(self, *, seconds: float, output: Path, toolchain: str, quiet: bool) -> None:
        self.seconds = seconds
        self.output = output
        self.toolchain = toolchain
        self.quiet = quiet
        self._began = time.monotonic()

    def run(self, stop: Stopper) -> Outcome:
        """Search, measure, account. Raises what a session raises."""
        sweep()
        plan = self._plan()
        builder = Builder(self.toolchain)
        stream = build(_mix(plan))
        self._say(f"{RULES} rules, {len(stream.packets)} flows, toolchain {builder.toolchain.name}")
        with Testbed() as testbed:
            with inside(testbed.generator):
                generator = Generator(builder, stream, find_interface(GENERATOR_SIDE).index)
            with generator, inside(testbed.dut):
                outcome = self._searched(plan, builder, generator, stop, stream)
        (self.output / "summary.json").write_text(json.dumps(outcome.to_json(), indent=1))
        self._tell(outcome)
        return outcome

    def _plan(self) -> Plan:
        path = self.output / "demo.toml"
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            path.write_text(demo_file(self.seconds, self.toolchain))
            (self.output / "events.jsonl").unlink(missing_ok=True)
        except OSError as error:
            raise StateError(
                f"cannot write to {self.output}: {error.strerror}", cure="choose --output FOLDER"
            ) from error
        return make_plan(load_config(path).interfaces[0], path)

    def _searched(
        self, plan: Plan, builder: Builder, generator: Generator, stop: Stopper, stream: Stream
    ) -> Outcome:
        options = Options(
            config=self.output / "demo.toml",
            events=self.output / "events.jsonl",
            quiet=self.quiet,
        )
        session = Session(plan, builder, options)
        try:
            generator.start()
            session.wait_for_traffic(stop)
            report = session.search(stop)
            sent = generator.stop()
            counted = _settled(session, sent)
            plot_search(session.progress.events, self.output / "demo.png")
            winner = session.controller.live_variant
            swaps = session.controller.board.swaps
        finally:
            _remove(session)
        times = _program_times(plan, builder, winner, stream) if report.applied else {}
        return Outcome(
            report=report,
            speedup=ratio(times["generic"], times["winner"]) if times else None,
            generic_ns=_median(times.get("generic", [])),
            winner_ns=_median(times.get("winner", [])),
            sent=sent,
            counted=counted,
            swaps=swaps,
            seconds=time.monotonic() - self._began,
        )

    def _tell(self, outcome: Outcome) -> None:
        if self.quiet:
            return
        show(*render.search_view(outcome.report), "")
        for sentence in outcome.sentences():
            click.echo(sentence)
        click.echo(f"Picture, events and summary are in {self.output}/; see why a variant won with")
        key = outcome.report.winner_key or outcome.report.generic_key
        click.echo(f"  iridescent explain {key} --report {self.output / 'summary.json'}")

    def _say(self, line: str) -> None:
        if not self.quiet:
            click.echo(line, err=True)


def _mix(plan: Plan) -> Mix:
    assert isinstance(plan.config.tables, FilterTables)
    share = 1 / (RULES + 1)  # of the flows match no rule
    return Mix(name="demo", hits=plan.config.tables.rules, default_share=share, locality="low")


def _settled(session: Session, sent: int) -> int:
    """Packets counted, when all are or when no more come."""
    until = time.monotonic() + DRAIN_S
    while True:
        counted = read_traffic(session.controller).packets
        if counted >= sent or time.monotonic() > until:
            return counted
        time.sleep(0.05)


def _remove(session: Session) -> None:
    """Nothing stays: neither the program nor its files in /run."""
    key = namespace_key(session.name)
    session.controller.board.release()
    session.leave()
    report_path(key).unlink(missing_ok=True)
    forget(key)


def _program_times(
    plan: Plan, builder: Builder, winner: Variant, stream: Stream
) -> dict[str, list[float]]:
    """ns per packet of both programs on the same packets, in test runs, by turns."""
    with contextlib.closing(Sandbox(builder, plan.function, plan.generic)) as sandbox:
        code = builder.variant(plan.function, winner, Role.STEADY)
        with (
            sandbox.state.load(code, "winner") as program,
            StreamTimer(builder, stream) as timer,
        ):
            return timer.rounds({"generic": sandbox.generic, "winner": program}, ROUNDS)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
