# SPDX-License-Identifier: GPL-2.0-only
"""The winner against xdp-filter, which is specialized by hand into ten objects, and against a
forwarder as xdp-forward is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from random import Random

from iridescent_xdp.bench import xdp_filter
from iridescent_xdp.bench.fib import fib
from iridescent_xdp.bench.live import cpus
from iridescent_xdp.bench.mixes import matching_half
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.winner import find_winner
from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.rules import UDP, Rule
from iridescent_xdp.kernel.libbpf import ForeignObject
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.preflight import on_cpu
from iridescent_xdp.statistics import ratio
from traffic.generator import StreamTimer
from traffic.mix_stream import Stream

PASSES = 4
PORT = 1900  # SSDP, a well-known source of floods
XDP_DROP, XDP_PASS = 1, 2


@dataclass(frozen=True, kw_only=True)
class _Peer:
    """One list, told to both; ``rules`` say which packets are to be dropped."""

    name: str
    rules: tuple[Rule, ...]
    tables: FilterTables
    features: int
    fill: Callable[[ForeignObject], None]
    udp_share: float


def peers(options: Options) -> list[Result]:
    """Time per packet against xdp-filter and the kernel's own forwarding, on the same packets."""
    results: list[Result] = []
    for peer in (_port(), _addresses(16, as_set=False), _addresses(1000, as_set=True)):
        results += _compare(peer, options)
    return results + fib(options)


def _port() -> _Peer:
    rules = (Rule(protocol=UDP, destination_ports=(PORT, PORT), action="drop"),)
    return _Peer(
        name="port",
        rules=rules,
        tables=FilterTables(rules=rules),
        features=xdp_filter.UDP | xdp_filter.DEFAULT_ALLOW,
        fill=lambda peer: xdp_filter.block_udp_ports(peer, [PORT]),
        udp_share=0.7,
    )


def _addresses(count: int, *, as_set: bool) -> _Peer:
    """Blocked sources: a few as rules, many as the deny set."""
    first, last = int(IPv4Address("1.0.0.0")), int(IPv4Address("126.255.255.255"))
    addresses = [IPv4Address(n) for n in Random(count).sample(range(first, last), count)]
    networks = tuple(IPv4Network((address, 32)) for address in addresses)
    rules = tuple(Rule(source=network, action="drop") for network in networks)
    return _Peer(
        name=str(count),
        rules=rules,
        tables=FilterTables(deny=networks) if as_set else FilterTables(rules=rules),
        features=xdp_filter.IPV4 | xdp_filter.DEFAULT_ALLOW,
        fill=lambda peer: xdp_filter.block_sources(peer, addresses),
        udp_share=0.3,
    )


def _compare(peer: _Peer, options: Options) -> list[Result]:
    case = Case(suite="peers", name=f"filter/{peer.name}")
    path = xdp_filter.smallest_object(peer.features)
    builder = Builder("llvm")
    stream = matching_half(peer.name, peer.rules, 1 - peer.udp_share, peer.udp_share)
    with (
        Rig(builder, peer.tables) as rig,
        ForeignObject(path) as theirs,
        on_cpu(cpus()[1]),
        StreamTimer(builder, stream) as timer,
    ):
        peer.fill(theirs)
        winner = rig.load(find_winner(rig, timer, options, f"peers/{case.name}"))
        _same_verdicts(path.name, winner, theirs.program, stream)
        timer.repeat *= options.pick(PASSES, 1)
        options.tell(f"peers/{case.name}: against {path.name}")
        programs = {"winner": winner, "peer": theirs.program, "generic": rig.generic}
        times = timer.rounds(programs, options.pick(25, 5))
    options.winners[f"peers/{case.name} (peer)"] = path.name
    return [
        case.of("peer_ratio", ratio(times["peer"], times["winner"])),
        *(case.median(f"{name}_ns", "ns", values) for name, values in times.items()),
    ]


def _same_verdicts(name: str, ours: Program, theirs: Program, stream: Stream) -> None:
    """Raises MeasurementError unless both drop the same half."""
    dropped = 0
    for frame in stream.packets:
        verdicts = [program.run(frame).verdict for program in (ours, theirs)]
        if verdicts[0] != verdicts[1] or verdicts[0] not in (XDP_DROP, XDP_PASS):
            raise MeasurementError(f"{name} says {verdicts[1]} to {frame.hex()}, we {verdicts[0]}")
        dropped += verdicts[0] == XDP_DROP
    if not 0.4 < dropped / len(stream.packets) < 0.6:
        raise MeasurementError(f"{dropped} of {len(stream.packets)} packets match, not half")
