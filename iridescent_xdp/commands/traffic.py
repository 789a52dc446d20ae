# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent traffic`: send, pktgen, replay.

`send` is the in-kernel generator; the kernel's own packet generator and the replay with timing are
in files of their own.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from iridescent_xdp.commands.output import emit_json, json_option
from iridescent_xdp.commands.traffic_pktgen import pktgen
from iridescent_xdp.commands.traffic_replay import replay
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.kernel.features import Feature, require

if TYPE_CHECKING:
    from traffic.mixes import Stream

DEFAULT_COUNT = 100_000
MAX_COUNT = 10_000_000_000


@click.group(name="traffic")
def command() -> None:
    """Make test traffic."""


@command.command()
@click.option("--interface", required=True, help="Packets leave this interface.")
@click.option("--pcap", type=click.Path(path_type=Path), help="Replay this capture, in a circle.")
@click.option("--mix", help="Send this mix: a name, or a traffic file (*.toml).")
@click.option(
    "--count", type=click.IntRange(1, MAX_COUNT), default=DEFAULT_COUNT, show_default=True
)
@click.option("--cpu", type=click.IntRange(0), default=0, show_default=True)
@json_option
def send(
    interface: str, pcap: Path | None, mix: str | None, count: int, cpu: int, as_json: bool
) -> None:
    """Send COUNT packets at full speed.

    They are redirected into the interface by a BPF program, so its driver has to support XDP
    transmit; on a veth pair the other end needs an XDP program or GRO.
    """
    from iridescent_xdp.builder import Builder
    from iridescent_xdp.kernel.netlink import find_interface
    from traffic.generator import Generator

    stream, note = _stream(pcap, mix)
    require(Feature.PRIVILEGE, Feature.LIVE_FRAMES)
    index = find_interface(interface).index
    with Generator(Builder(), stream, index, cpu=cpu) as generator:
        began = time.perf_counter()
        generator.send(count)
        seconds = time.perf_counter() - began
        sent = generator.sent
    facts = {"interface": interface, "source": note, "sent": sent, "pps": sent / seconds}
    if as_json:
        emit_json(facts)
    else:
        click.echo(note)
        click.echo(f"sent {sent:,} packets out of {interface}, {sent / seconds / 1e6:.3f} Mpps")


def _stream(pcap: Path | None, mix: str | None) -> tuple[Stream, str]:
    """What to send, and what it is. Raises TrafficError for an unreadable capture."""
    from traffic.mix_file import NAMED, mix_of
    from traffic.mix_stream import fitted
    from traffic.mixes import build
    from traffic.pcap import read_pcap

    if (pcap is None) == (mix is None):
        raise ConfigError(
            "give either --pcap FILE or --mix NAME", cure=f"mixes: {', '.join(NAMED)}"
        )
    if pcap is not None:
        capture = read_pcap(pcap)
        return fitted(capture.stream), capture.note
    stream = build(mix_of(mix or ""))
    return stream, f"mix {stream.name}: {len(stream.packets)} distinct packets"


command.add_command(pktgen)
command.add_command(replay)
