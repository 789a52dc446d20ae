# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent traffic send`: a capture or a packet mix, sent by the in-kernel generator."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from iridescent_xdp.commands.output import emit_json, json_option
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.kernel.features import Feature, require

if TYPE_CHECKING:
    from traffic.mixes import Stream

MIXES = ("plain", "high", "low", "imix", "ipv6", "tagged", "mixed")
DEFAULT_COUNT = 100_000
MAX_COUNT = 10_000_000_000


@click.group(name="traffic")
def command() -> None:
    """Make test traffic."""


@command.command()
@click.option("--interface", required=True, help="Packets leave this interface.")
@click.option("--pcap", type=click.Path(path_type=Path), help="Replay this capture, in a circle.")
@click.option("--mix", type=click.Choice(MIXES), help="Send one of these mixes.")
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
    from traffic.mix_stream import fitted
    from traffic.pcap import read_pcap

    if (pcap is None) == (mix is None):
        raise ConfigError(
            "give either --pcap FILE or --mix NAME", cure=f"mixes: {', '.join(MIXES)}"
        )
    if pcap is not None:
        capture = read_pcap(pcap)
        return fitted(capture.stream), capture.note
    stream = mix_named(mix or "")
    return stream, f"mix {stream.name}: {len(stream.packets)} distinct packets"


def mix_named(name: str) -> Stream:
    """One of MIXES: locality high, low or none (plain), or with something special in it."""
    from traffic.mixes import IMIX, Mix, build

    special: dict[str, Mix] = {
        "plain": Mix(name=name),
        "high": Mix(name=name, locality="high"),
        "low": Mix(name=name, locality="low"),
        "imix": Mix(name=name, size_bytes=IMIX),
        "ipv6": Mix(name=name, ipv6_share=0.5),
        "tagged": Mix(name=name, vlan_shares=(0.2, 0.6, 0.2)),
        "mixed": Mix(
            name=name,
            ipv6_share=0.2,
            protocol_shares=(0.5, 0.3, 0.1, 0.1),
            vlan_shares=(0.8, 0.15, 0.05),
            ip_options_share=0.02,
            break_share=0.05,
        ),
    }
    return build(special[name])
