# SPDX-License-Identifier: GPL-2.0-only
"""The pktgen driver on the real module: what it is told is what arrives, frame by frame."""

from __future__ import annotations

import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from iridescent_xdp.errors import TrafficError
from tests.vm.rig import Rig
from tests.vm.sites import Site
from traffic.functional_ports import Port, mac_of
from traffic.mix_file import NAMED
from traffic.mix_spec import IMIX, Mix
from traffic.pktgen import TREE, Pktgen, PktgenReport
from traffic.pktgen_plan import Kind, PktgenPlan, plan_mix
from traffic.pktgen_text import parse_device, parse_thread
from traffic.testbed import inside

UDP_ONLY = (0.0, 1.0, 0.0, 0.0)
TAGGED = (0.5, 0.25, 0.25)


@pytest.fixture
def far(rig: Rig, site: Site) -> Iterator[Port]:
    """Hears what arrives at the interface under test, without any program."""
    with closing(Port("far", rig.dut)) as port:
        yield port


def sent(
    rig: Rig, far: Port, plan: PktgenPlan, **options: object
) -> tuple[PktgenReport, list[Packet]]:
    """The report of a run, and the frames that arrived."""
    with (
        inside(rig.gen.namespace),
        Pktgen(rig.gen.interface, plan, **options) as generator,  # type: ignore[arg-type]
    ):
        report = generator.run()
        assert len(generator.devices) == len(report.readings)
    frames: list[Packet] = []
    deadline = time.monotonic() + 3.0 * rig.slow
    while len(frames) < report.sent and time.monotonic() < deadline:
        frames += [Ether(seen.data) for seen in far.received()]
        time.sleep(0.01)
    assert report.sent == plan.count and report.errors == 0, report
    assert far.lost() == 0 and len(frames) == report.sent
    assert all(not reading.failed for reading in report.readings)
    return report, frames


def arrived(rig: Rig, far: Port, wanted: int) -> int:
    """Frames that came, once ``wanted`` are there or it takes too long."""
    count, deadline = 0, time.monotonic() + 3.0 * rig.slow
    while count < wanted and time.monotonic() < deadline:
        count += len(list(far.received()))
        time.sleep(0.01)
    time.sleep(0.05 * rig.slow)
    return count + len(list(far.received()))


def test_ranges_come_in_turn(rig: Rig, far: Port) -> None:
    mac = mac_of(rig.dut)
    kind = Kind(
        count=120, size_bytes=100, destinations=3, destination_ports=(7, 10), destination_mac=mac
    )
    report, frames = sent(rig, far, PktgenPlan(name="x", kinds=(kind,)))
    assert {len(f) for f in frames} == {100} and {f.dst for f in frames} == {mac}
    assert kind.distinct == 12
    pairs = Counter((f[IP].dst, f[UDP].dport) for f in frames)
    wanted = {(f"198.19.0.{a}", port) for a in (1, 2, 3) for port in (7, 8, 9, 10)}
    assert set(pairs) == wanted and set(pairs.values()) == {10}
    assert {f[IP].src for f in frames} == {"198.18.0.1"}
    (reading,) = report.readings
    assert reading.wanted == 120 and reading.pps > 0 and reading.seconds > 0


def test_shares_of_a_mix_are_exact(rig: Rig, far: Port) -> None:
    mix = Mix(name="x", flows=4, protocol_shares=UDP_ONLY, ipv6_share=0.5, vlan_shares=TAGGED)
    plan = plan_mix(mix, 160, pps=2_000, destination_mac=mac_of(rig.dut))
    _, frames = sent(rig, far, plan)
    shapes = Counter((6 if IPv6 in f else 4, tags(f)) for f in frames)
    assert shapes == {(4, ()): 40, (4, (200,)): 20, (4, (100, 201)): 20,
                      (6, ()): 40, (6, (200,)): 20, (6, (100, 201)): 20}  # fmt: skip
    four = [f for f in frames if IP in f]
    assert Counter(f[IP].dst for f in four) == {f"198.19.0.{n}": 20 for n in range(1, 5)}
    six = [f for f in frames if IPv6 in f]
    assert Counter(f[UDP].sport for f in six) == dict.fromkeys(range(1024, 1028), 20)
    for frame in six[:4]:
        told = frame[UDP].chksum
        del frame[UDP].chksum
        assert Ether(bytes(frame))[UDP].chksum == told != 0


def tags(frame: Packet) -> tuple[int, ...]:
    found = []
    layer = frame.getlayer(Dot1Q)
    while layer is not None:
        found.append(int(layer.vlan))
        layer = layer.payload.getlayer(Dot1Q)
    return tuple(found)


def test_sizes_and_threads(rig: Rig, far: Port) -> None:
    mix = Mix(name="x", protocol_shares=UDP_ONLY, size_bytes=IMIX)
    plan = plan_mix(mix, 240, destination_mac=mac_of(rig.dut))
    report, frames = sent(rig, far, plan, cpus=(0, 1))
    assert Counter(len(f) for f in frames) == {60: 140, 590: 80, 1514: 20}
    assert len(report.readings) == 6
    assert sorted(r.sent for r in report.readings) == [10, 10, 40, 40, 70, 70]


def test_flows_in_trains(rig: Rig, far: Port) -> None:
    kind = Kind(count=40, destinations=4, flow_length=5, destination_mac=mac_of(rig.dut))
    _, frames = sent(rig, far, PktgenPlan(name="x", kinds=(kind,)))
    runs = [f[IP].dst for f in sorted(frames, key=number)]
    changes = [place for place in range(1, 40) if runs[place] != runs[place - 1]]
    assert len(set(runs)) == 4
    assert {later - earlier for earlier, later in pairwise(changes)} == {5}, runs


def number(frame: Packet) -> int:
    """Which packet of the run it is, says pktgen itself; flows come by different queues."""
    return int(struct.unpack_from("!II", bytes(frame[UDP].payload))[1])


def test_clones_and_bursts(rig: Rig, far: Port) -> None:
    """virtio-net sends the same packet again; veth does not, and that is told with a cure."""
    kind = Kind(count=64, destination_ports=(1, 64), destination_mac=mac_of(rig.dut))
    plan = PktgenPlan(name="x", kinds=(kind,))
    if rig.veth:
        with pytest.raises(TrafficError, match="clone=0 and burst=1"):
            sent(rig, far, plan, clone=8)
        return
    _, frames = sent(rig, far, plan, clone=8)
    assert set(Counter(f[UDP].dport for f in frames).values()) == {8}


def test_a_rate_is_kept(rig: Rig, far: Port) -> None:
    """Not faster; how much slower is the machine's affair."""
    kind = Kind(count=200, pps=400, destination_mac=mac_of(rig.dut))
    report, _ = sent(rig, far, PktgenPlan(name="x", kinds=(kind,)))
    assert report.seconds >= 0.49 and report.pps <= 410


def test_endless_until_it_is_stopped(rig: Rig, far: Port) -> None:
    kind = Kind(pps=200, destination_mac=mac_of(rig.dut))
    plan = PktgenPlan(name="x", kinds=(kind,))
    with inside(rig.gen.namespace), Pktgen(rig.gen.interface, plan) as generator:
        generator.start()
        time.sleep(0.5)
        assert generator.running
        report = generator.stop()
        assert report.sent > 0 and not generator.running
        assert generator.read().sent == report.sent
    assert arrived(rig, far, report.sent) == report.sent


def test_nothing_is_left_and_nothing_foreign_is_touched(rig: Rig) -> None:
    plan = PktgenPlan(name="x", kinds=(Kind(),))
    with inside(rig.gen.namespace):
        thread = TREE / "kpktgend_0"
        with Pktgen(rig.gen.interface, plan) as generator:
            (device,) = generator.devices
            assert parse_thread("0", thread.read_text()) == [device]
            assert parse_device(device, (TREE / device).read_text()).sent == 0
            with pytest.raises(TrafficError, match=f"already has {device}"):
                Pktgen(rig.gen.interface, plan)
        assert parse_thread("0", thread.read_text()) == []
        with pytest.raises(TrafficError, match="no such interface"):
            Pktgen("nowhere0", plan)
        assert parse_thread("0", thread.read_text()) == []


def test_the_command(rig: Rig, site: Site, far: Port) -> None:
    where = ("--interface", rig.gen.interface, "--to-mac", mac_of(rig.dut))
    words = ("traffic", "pktgen", *where, "--mix", "udp", "--count", "500")
    told = site.facts(*words, namespace=rig.gen.namespace)
    assert told["sent"] == 500 and told["errors"] == 0 and told["exit_code"] == 0
    assert [d["name"] for d in told["devices"]] == [f"{rig.gen.interface}@0"]
    assert arrived(rig, far, 500) == 500
    with pytest.raises(TrafficError, match="UDP only"):
        plan_mix(NAMED["plain"], 10)
