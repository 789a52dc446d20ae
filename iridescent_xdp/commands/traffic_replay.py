# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent traffic replay`: a capture sent again with its timing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from iridescent_xdp.commands.output import emit_json, json_option
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.kernel.features import Feature, require

if TYPE_CHECKING:
    from traffic.replay import Replayed

MAX_COUNT = 1_000_000_000
_PERCENTS = (50, 99, 100)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--interface", required=True, help="Packets leave this interface.")
@click.option("--speed", default="1.0", show_default=True, help="1.0 as captured, 2.0, ... or max.")
@click.option("--count", type=click.IntRange(1, MAX_COUNT), help="Packets; default: each one once.")
@json_option
def replay(file: Path, interface: str, speed: str, count: int | None, as_json: bool) -> None:
    """Send the packets of a capture with the gaps between them, through a packet socket.

    Packets are never early; how late they were is told.
    """
    from iridescent_xdp.kernel.netlink import find_interface
    from traffic.pcap import read_pcap
    from traffic.replay import Pace, packet_socket
    from traffic.replay import replay as send_again

    pace = Pace(speed=_speed(speed))
    capture = read_pcap(file)
    require(Feature.PRIVILEGE)
    find_interface(interface)
    with packet_socket(interface) as wire:
        done = send_again(capture, wire.send, pace=pace, count=count)
    if as_json:
        emit_json(_facts(interface, capture.note, done))
        return
    click.echo(capture.note)
    click.echo(f"sent {done.sent:,} packets out of {interface} in {done.seconds:.3f} s")
    if pace.speed is not None:
        late = ", ".join(f"{p} %: {done.late_us(p):.0f} µs" for p in _PERCENTS)
        click.echo(f"planned {done.planned_seconds:.3f} s; late at most, {late}")
    if done.waits:
        click.echo(f"the interface's queue was full {done.waits:,} times")
    if done.backwards:
        click.echo(f"{done.backwards:,} packets are older than the one before: sent at once")


def _facts(interface: str, source: str, done: Replayed) -> dict[str, object]:
    return {
        "interface": interface,
        "source": source,
        "sent": done.sent,
        "bytes": done.sent_bytes,
        "seconds": done.seconds,
        "planned_seconds": done.planned_seconds,
        "pps": done.pps,
        "late_us": {str(percent): done.late_us(percent) for percent in _PERCENTS},
        "waits": done.waits,
        "backwards": done.backwards,
    }


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            f"--speed must be a number or max, got '{text}'",
            cure="1.0 is as captured, 2.0 twice as fast, max does not wait",
        ) from None
