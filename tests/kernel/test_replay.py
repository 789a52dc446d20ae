# SPDX-License-Identifier: GPL-2.0-only
"""A capture replayed onto a veth pair: what arrives, in which order, and when."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyroute2 import IPRoute

from iridescent_xdp.errors import TrafficError
from tests.kernel.command_lab import Lab, finish
from traffic.functional_ports import Place, Port, Seen
from traffic.mix_stream import Stream
from traffic.pcap import read_pcap, write_pcap
from traffic.replay import Pace, packet_socket, replay
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, Testbed, inside

GAPS_MS = (0.0, 2.0, 30.0, 5.0, 1.0, 60.0)
FRAMES = tuple(bytes.fromhex("0200000000020200000000018888") + bytes([n] * 50) for n in range(6))


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "six.pcap"
    numbers = np.arange(len(FRAMES), dtype=np.uint32)
    stream = Stream(name="six", packets=FRAMES, sequence=numbers)
    write_pcap(path, stream, gaps_ns=np.array([g * 1e6 for g in GAPS_MS], dtype=np.int64))
    return path


def replayed(lab: Lab, path: Path, *words: object) -> tuple[dict[str, Any], list[Seen]]:
    """What the command says, and what arrived at the other end while it ran."""
    with closing(Port("far", Place(lab.bed.dut, DUT_SIDE))) as far:
        command = ("traffic", "replay", path, "--interface", GENERATOR_SIDE, *words, "--json")
        process = lab.start(*command, ns=lab.bed.generator)
        seen: list[Seen] = []
        while process.poll() is None:
            seen += far.received()
            time.sleep(0.0002)
        code, out, err = finish(process)
        assert code == 0, err
        return json.loads(out), seen + list(far.received())


def test_the_gaps_arrive(lab: Lab, capture: Path) -> None:
    told, seen = replayed(lab, capture)
    assert [frame.data for frame in seen] == list(FRAMES)
    assert told["sent"] == 6 and told["bytes"] == 6 * 64
    assert told["planned_seconds"] == pytest.approx(0.098)
    assert told["seconds"] >= 0.098
    arrived = np.array([frame.time_ns for frame in seen])
    late_ns = (told["late_us"]["100"] + 20_000) * 1000  # and the receiver may sleep, too
    due = np.cumsum(GAPS_MS) * 1e6
    assert (np.abs((arrived - arrived[0]) - due) < late_ns).all()


def test_faster_and_again(bed: Testbed, capture: Path) -> None:
    with inside(bed.generator):
        wire = packet_socket(GENERATOR_SIDE)
    with closing(Port("far", Place(bed.dut, DUT_SIDE))) as far, wire:
        done = replay(read_pcap(capture), wire.send, pace=Pace(speed=None), count=1_003)
        seen = list(far.received())
    assert done.sent == len(seen) == 1_003 and done.planned_seconds == 0
    assert [frame.data for frame in seen] == [FRAMES[n % 6] for n in range(1_003)]


def test_a_packet_that_the_interface_does_not_take(bed: Testbed, tmp_path: Path) -> None:
    path = tmp_path / "large.pcap"
    stream = Stream(name="large", packets=(bytes(1514),), sequence=np.zeros(1, dtype=np.uint32))
    write_pcap(path, stream)
    with inside(bed.generator), IPRoute() as route:
        route.link("set", index=route.link_lookup(ifname=GENERATOR_SIDE)[0], mtu=1400)
        wire = packet_socket(GENERATOR_SIDE)
    with wire, pytest.raises(TrafficError, match=r"packet 1 of 1514 bytes could not .*MTU"):
        replay(read_pcap(path), wire.send)
