# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent scenario`: the scenarios there are, what is in one, and one played as traffic."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from iridescent_xdp.commands.output import emit_json, json_option, show
from iridescent_xdp.commands.stopping import SLICE_S, Stopper
from iridescent_xdp.kernel.features import Feature, require

if TYPE_CHECKING:
    from traffic.player import PhaseSwitch, Player
    from traffic.scenario import Phase, Scenario, TableChange


@click.group(name="scenario")
def command() -> None:
    """Traffic that changes: list, look at and play scenarios."""


@command.command(name="list")
@json_option
def list_all(as_json: bool) -> None:
    """The scenarios that come with the project."""
    from traffic.scenario import load_scenario, scenario_names

    scenarios = [load_scenario(name) for name in scenario_names()]
    if as_json:
        emit_json([_facts(scenario) for scenario in scenarios])
        return
    table = Table("name", "function", "phases", "seconds", "what happens", box=None)
    for scenario in scenarios:
        table.add_row(
            scenario.path.stem,
            scenario.function,
            str(len(scenario.phases)),
            f"{scenario.seconds:g}",
            scenario.description,
        )
    show(table)


@command.command(name="show")
@click.argument("name")
@json_option
def show_one(name: str, as_json: bool) -> None:
    """The phases of scenario NAME (or of a .toml file)."""
    from traffic.scenario import load_scenario

    scenario = load_scenario(name)
    if as_json:
        emit_json(_facts(scenario) | {"phases": [_phase_facts(p) for p in scenario.phases]})
        return
    table = Table("phase", "from", "seconds", "rate", "hot", "packets", "changes", box=None)
    began = 0.0
    for phase in scenario.phases:
        facts = _phase_facts(phase)
        changes = ", ".join(f"{c['what']} at {c['at_s']:g} s" for c in facts["changes"])
        table.add_row(
            phase.name,
            f"{began:g}",
            f"{phase.seconds:g}",
            f"{phase.rate:.0%}",
            str(phase.hot),
            f"{facts['distinct_packets']:,}",
            changes,
        )
        began += phase.seconds
    show(f"{scenario.name}: {scenario.description} ({scenario.function})", table)


@command.command()
@click.argument("name")
@click.option("--interface", required=True, help="Packets leave this interface.")
@click.option("--cpu", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--full-pps",
    type=click.FloatRange(0, min_open=True),
    help="Packets per second that a rate of 1 stands for; by default it is measured.",
)
@click.option(
    "--time-scale",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Multiplies every time in the scenario.",
)
@json_option
def play(
    name: str,
    interface: str,
    cpu: int,
    full_pps: float | None,
    time_scale: float,
    as_json: bool,
) -> None:
    """Send the traffic of scenario NAME (or of a .toml file) out of an interface.

    Changes of tables are told, not made: they are for who runs the receiving end. Ctrl-C ends the
    traffic early.
    """
    from iridescent_xdp.builder import Builder
    from iridescent_xdp.kernel.netlink import find_interface
    from traffic.player import Player
    from traffic.scenario import load_scenario

    scenario = load_scenario(name)
    require(Feature.PRIVILEGE, Feature.LIVE_FRAMES, Feature.NETNS)
    port = find_interface(interface).index
    stop = threading.Event()

    made = Player(Builder(), scenario, port, cpu, full_pps=full_pps, time_scale=time_scale)
    with made as player, Stopper() as wished:
        player.play(on_phase=_tell_phase, on_change=_tell_change, stop=stop)
        while not player.wait(SLICE_S):
            if wished():
                stop.set()
        facts = _played(player, interface)
    if as_json:
        emit_json(facts)
    else:
        show(_table(facts))


def _tell_phase(phase: Phase, _: PhaseSwitch) -> None:
    click.echo(f"{phase.name}: {phase.seconds:g} s at {phase.rate:.0%}", err=True)


def _tell_change(change: TableChange, _: int) -> None:
    click.echo(f"  due now: {change.what}", err=True)


def _facts(scenario: Scenario) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "description": scenario.description,
        "file": str(scenario.path),
        "function": scenario.function,
        "seed": scenario.seed,
        "seconds": scenario.seconds,
        "policy": dict(scenario.policy),
        "phases": len(scenario.phases),
    }


def _phase_facts(phase: Phase) -> dict[str, Any]:
    return {
        "name": phase.name,
        "seconds": phase.seconds,
        "rate": phase.rate,
        "hot": phase.hot,
        "distinct_packets": len(phase.stream().packets),
        "changes": [{"at_s": c.at_s, "what": c.what} for c in phase.changes],
    }


def _played(player: Player, interface: str) -> dict[str, Any]:
    at_ns = {switch.index: switch.at_ns for switch in player.switches}
    return {
        "interface": interface,
        "scenario": player.scenario.name,
        "finished": player.finished,
        "sent": player.sent,
        "warm_up": player.warm_up,
        "full_pps": player.full_pps or None,
        "phases": [
            {
                "name": phase.name,
                "at_ns": at_ns[phase.index],
                "seconds": phase.seconds,
                "sent": phase.sent,
                "pps": phase.pps,
                "wanted_pps": phase.wanted_pps or None,
            }
            for phase in player.played
        ],
    }


def _table(facts: dict[str, Any]) -> Table:
    table = Table("phase", "seconds", "sent", "Mpps", "wanted", box=None)
    for phase in facts["phases"]:
        wanted = phase["wanted_pps"]
        table.add_row(
            phase["name"],
            f"{phase['seconds']:.2f}",
            f"{phase['sent']:,}",
            f"{phase['pps'] / 1e6:.3f}",
            f"{wanted / 1e6:.3f}" if wanted else "full speed",
        )
    return table
