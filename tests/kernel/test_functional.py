# SPDX-License-Identifier: GPL-2.0-only
"""Functional streams on a veth pair: each packet's fate, by generic and by specialized code.

The last tests give the runner something wrong, which it must find.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Packet

from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import TrafficError
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.kernel.program import Program
from tests.kernel.functional_bed import SCENES, FunctionalBed, specialize
from tests.kernel.live import interface_key
from traffic.functional import Case, answered, dropped, forwarded, run_stream, to_stack
from traffic.functional_ports import WIRE, Place, Port, Ports
from traffic.functional_scene import OUT, filled
from traffic.pcap import read_pcap
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, Testbed, inside

DROP_ALL = bytes.fromhex("b700000001000000 9500000000000000")  # r0 = XDP_DROP; exit
SUMMARY = "Ether / IP / UDP 10.0.0.1"
pytestmark = pytest.mark.needs(Feature.XDP_NATIVE)


@pytest.fixture
def functional(bed: Testbed) -> FunctionalBed:
    return FunctionalBed(
        under_test=Place(bed.dut, DUT_SIDE), sender=Place(bed.generator, GENERATOR_SIDE), veth=True
    )


@pytest.mark.parametrize("name", SCENES)
def test_every_packet_meets_its_fate(
    bed: Testbed, functional: FunctionalBed, name: str, tmp_path: Path
) -> None:
    with functional.wired() as ports:
        scene = SCENES[name](functional.ends, "native")
        assert {case.fate for case in scene.cases} >= {"stack"}
        with functional.controlled(scene, tmp_path, Builder("llvm")) as controller:
            assert controller.board.link.mode == "native"
            functional.run(scene, ports).require()
            specialize(controller, scene)
            functional.run(scene, ports).require()
    assert interface_key(bed)


def test_generic_mode(functional: FunctionalBed, tmp_path: Path) -> None:
    with functional.wired() as ports:
        scene = SCENES["filter"](functional.ends, "generic")
        with functional.controlled(scene, tmp_path, Builder("llvm")) as controller:
            assert controller.board.link.mode == "generic"
            functional.run(scene, ports).require()


# -- what the runner has to find ---------------------------------------------------------------


@pytest.fixture
def ports(functional: FunctionalBed) -> Iterator[Ports]:
    """No program at all: everything goes to the stack."""
    with functional.wired() as made:
        yield made


def packet(functional: FunctionalBed, port: int) -> Packet:
    return filled(functional.ends.link / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(dport=port))


def told(cases: list[Case], ports: Ports) -> tuple[str, ...]:
    return run_stream(cases, ports, patience_s=0.2, quiet_s=0.05).problems


def test_a_packet_that_should_be_dropped(functional: FunctionalBed, ports: Ports) -> None:
    (problem,) = told([dropped("gone", packet(functional, 1))], ports)
    assert problem == "'gone': dropped, but it arrived at 'stack'"


def test_a_packet_at_the_wrong_port(functional: FunctionalBed, ports: Ports) -> None:
    sent = packet(functional, 1)
    (problem,) = told([forwarded("sent on", sent, OUT, sent)], ports)
    assert problem.startswith("'sent on': forwarded, but it arrived at 'stack' as Ether / IP")
    (problem,) = told([answered("answered", sent, filled(sent, 80))], ports)
    assert "answered, but it arrived at 'stack'" in problem


def test_bytes_that_differ(functional: FunctionalBed, ports: Ports) -> None:
    sent, wanted = packet(functional, 1), bytearray(bytes(packet(functional, 1)))
    wanted[22] -= 1
    case = replace(to_stack("one hop less", sent), frame=bytes(wanted))
    (problem,) = told([case], ports)
    assert problem.startswith(
        "'one hop less': stack, but 1 bytes differ, the first at 22: 4011"
    ) and ("instead of 3f11" in problem and SUMMARY in problem)
    (problem,) = told([replace(case, frame=bytes(sent)[:-1])], ports)
    assert "60 bytes arrived instead of 59" in problem
    (problem,) = told([replace(case, frame=bytes(60))], ports)
    assert problem.startswith("'one hop less': stack, but it arrived at 'stack' as Ether")


def test_a_packet_that_is_lost(functional: FunctionalBed, ports: Ports) -> None:
    cases = [to_stack("lost", packet(functional, 1)), dropped("gone", packet(functional, 2))]
    with Program.load(DROP_ALL, "drop_all") as program:
        with inside(functional.under_test.namespace):
            link = Link.attach(program, find_interface(DUT_SIDE), "native")
        with closing(link):
            (problem,) = told(cases, ports)
    sent = cases[0].packet[:64].hex()
    assert problem.startswith("'lost': stack, but nothing of it arrived at 'stack'; sent Ether")
    assert problem.endswith(f"({sent})")


def test_packets_that_nobody_expects(functional: FunctionalBed, ports: Ports) -> None:
    noise = bytes(packet(functional, 99))

    class Noisy(Port):
        """Sends something of its own behind each packet."""

        def send(self, frame: bytes) -> None:
            super().send(frame)
            super().send(noise)

    with closing(Noisy(WIRE, functional.sender)) as wire:
        (problem,) = told([to_stack("one", packet(functional, 1))], replace(ports, wire=wire))
    assert problem.startswith("nobody expected at 'stack': Ether / IP / UDP 10.0.0.1")
    assert noise[:64].hex() in problem


def test_a_capture_of_what_was_seen(
    functional: FunctionalBed, ports: Ports, tmp_path: Path
) -> None:
    cases = [to_stack(f"number {n}", packet(functional, n)) for n in range(3)]
    report = run_stream(cases, ports, quiet_s=0.05)
    assert report.ok
    report.save(tmp_path / "seen.pcap")
    frames = [bytes(f) for f in read_pcap(tmp_path / "seen.pcap").stream.frames()]
    assert sorted(frames) == sorted(2 * [case.packet for case in cases])


def test_cases_that_can_not_be_told_apart(functional: FunctionalBed, ports: Ports) -> None:
    sent = packet(functional, 1)
    with pytest.raises(TrafficError, match="'a' and 'b' send the same bytes"):
        run_stream([to_stack("a", sent), dropped("b", sent)], ports)
    with pytest.raises(TrafficError, match="there is no port 'nowhere'"):
        run_stream([forwarded("c", sent, "nowhere", sent)], ports)
