# SPDX-License-Identifier: GPL-2.0-only
"""A function from the guide alone: examples/echo.bpf.c, with nothing in the Python package for it.

Expected answers are built by scapy from the request's fields, checksums computed from scratch.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from iridescent_xdp.builder import Builder
from iridescent_xdp.functions.base import Function, function_for
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.preflight import Preflight, Sandbox
from iridescent_xdp.state import PINS
from iridescent_xdp.template import read_template
from iridescent_xdp.toolchain.base import Role
from tests.kernel.command_lab import ROOT, Lab, finish, has_event, until
from tests.kernel.fixtures import corners, generic_of, per_cpu_sum
from tests.kernel.live import stream_of
from traffic.generator import Generator
from traffic.pcap import write_pcap
from traffic.testbed import DUT_SIDE, GENERATOR_SIDE, inside

pytestmark = pytest.mark.needs(Feature.LIVE_FRAMES, Feature.XDP_NATIVE)

ECHO = ROOT / "examples" / "echo.bpf.c"
US, THEM = "02:00:00:00:00:01", "02:00:00:00:00:02"
XDP_PASS, XDP_TX = 2, 3
PASS_ALL = bytes.fromhex("b700000002000000 9500000000000000")  # r0 = XDP_PASS; exit
PORT = 7


@pytest.fixture
def function() -> Function:
    return function_for(read_template(ECHO))


def request(rng: Random, upper: Packet, **ip: Any) -> bytes:
    """A request with some payload; ``ip`` overrides fields of the header."""
    addresses = {"src": f"10.0.{rng.randrange(256)}.{rng.randrange(1, 255)}", "dst": "10.9.0.1"}
    payload = Raw(rng.randbytes(rng.randrange(64)))
    fields: dict[str, Any] = {
        **addresses,
        "ttl": rng.randrange(1, 256),
        "id": rng.randrange(65536),
        **ip,
    }
    return bytes(Ether(dst=US, src=THEM) / IP(**fields) / upper / payload)


def ping(rng: Random, **ip: Any) -> bytes:
    return request(rng, ICMP(type=8, id=rng.randrange(65536), seq=rng.randrange(65536)), **ip)


def datagram(rng: Random, source: int = 0, to: int = PORT, **ip: Any) -> bytes:
    return request(rng, UDP(sport=source or rng.randrange(1024, 65536), dport=to), **ip)


def answered(rng: Random) -> Iterator[bytes]:
    """What has to be answered."""
    for _ in range(40):
        yield ping(rng)
        yield datagram(rng)
    for count in (4, 8, 40):
        yield ping(rng, options=[IPOption_NOP()] * count)
        yield datagram(rng, options=[IPOption_NOP()] * count)
    yield from (ping(rng, flags="DF"), datagram(rng, flags="DF", tos=0x2E))
    yield request(rng, UDP(sport=9, dport=PORT, chksum=0))  # no checksum, and none in the answer


def passed(rng: Random) -> Iterator[bytes]:
    """What has to go to the kernel as it is."""
    yield from (datagram(rng, to=8), datagram(rng, source=PORT), datagram(rng, to=PORT << 8))
    yield from (request(rng, ICMP(type=t)) for t in (0, 3, 13))
    yield request(rng, ICMP(type=8, code=1))
    yield request(rng, TCP(sport=9, dport=PORT))
    yield from (ping(rng, flags="MF"), ping(rng, frag=7), datagram(rng, frag=1))
    yield from (ping(rng, proto=89), datagram(rng, proto=6), ping(rng, version=5))
    yield bytes(Ether(dst=US, src=THEM) / Dot1Q(vlan=5) / IP(dst="10.9.0.1") / ICMP(type=8))
    yield bytes(Ether(dst=US, src=THEM) / IPv6(dst="2001:db8::1") / UDP(dport=PORT))
    yield from (b"\xff" * 6 + ping(rng)[6:], b"\x01" + datagram(rng)[1:])  # broadcast, multicast
    whole = ping(rng, options=[IPOption_NOP()] * 8)
    yield from (whole[:size] for size in (14, 15, 33, 34, 41, 49))
    yield whole[:14] + b"\x44" + whole[15:]  # a header of 16 bytes


def answer_to(frame: bytes) -> bytes:
    """By scapy: ends swapped, ICMP type 0, all checksums anew; a UDP checksum of 0 stays so."""
    got = Ether(frame)
    got[Ether].src, got[Ether].dst = got[Ether].dst, got[Ether].src
    got[IP].src, got[IP].dst = got[IP].dst, got[IP].src
    del got[IP].chksum
    if ICMP in got:
        got[ICMP].type = 0
        del got[ICMP].chksum
    else:
        got[UDP].sport, got[UDP].dport = got[UDP].dport, got[UDP].sport
        if got[UDP].chksum:
            del got[UDP].chksum
    return bytes(got)


def test_it_is_short_and_the_package_does_not_know_it(function: Function) -> None:
    assert len(ECHO.read_text().splitlines()) < 60
    assert find_spec("iridescent_xdp.functions.echo") is None
    assert type(function) is Function


def test_inspect() -> None:
    command = [sys.executable, "-m", "iridescent_xdp.cli", "inspect", str(ECHO), "--json"]
    facts = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    points = {p["name"]: (p["class"], p["kind"]) for p in facts["points"] if p["searched"]}
    assert points == {
        "no_ip_options": ("narrowing", "assume"),
        "only_protocol": ("narrowing", "generic"),
    }
    assert facts["effort"]["marked"] == 2
    assert [m["name"] for m in facts["maps"]].count("counted") == 1


def test_every_variant_answers_as_the_model(builder: Builder, function: Function) -> None:
    rng = Random(7)
    expected = [(frame, XDP_TX, answer_to(frame)) for frame in answered(rng)]
    expected += [(frame, XDP_PASS, frame) for frame in passed(rng)]
    generic = generic_of(function)
    variants = corners(function, generic)
    assert len(variants) == 4
    with closing(Sandbox(builder, function, generic)) as box:
        for variant in variants:
            insns = builder.variant(function, variant, Role.STEADY)
            with box.state.load(insns, "echo") as program:
                for frame, verdict, out in expected:
                    run = program.run(frame)
                    assert (run.verdict, run.data.hex()) == (verdict, out.hex()), frame.hex()
        told = [per_cpu_sum(box.state, "counted", "packets")]
    assert told == [len(variants) * len(expected)], "each packet is counted once"


def test_preflight(builder: Builder, function: Function) -> None:
    frames = [*answered(Random(1)), *passed(Random(2))]
    packets = function.corpus(frames, seed=1)
    assert len(packets) > 1000
    with closing(Preflight(builder, function, generic_of(function), packets)) as preflight:
        for variant in corners(function, generic_of(function)):
            preflight.check(builder.variant(function, variant, Role.STEADY), "echo")


def test_bench_template(tmp_path: Path) -> None:
    rng = Random(3)
    write_pcap(tmp_path / "pings.pcap", stream_of([ping(rng) for _ in range(64)]))
    words = ("bench", "template", ECHO, "--pcap", tmp_path / "pings.pcap", "--quick", "--json", "-")
    command = [sys.executable, "-m", "iridescent_xdp.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)
    figures = {row["metric"]: row for row in facts["results"]}
    assert set(figures) == {"time_ratio", "generic_ns", "specialized_ns", "floor_ns"}
    assert {row["suite"] for row in figures.values()} == {"template"}
    assert {row["case"] for row in figures.values()} == {"echo"}
    assert all(0 < row["low"] <= row["value"] <= row["high"] for row in figures.values())
    winner = facts["environment"]["winners"]["template/echo"]
    assert sorted(winner.split()) == ["no_ip_options=true", "only_protocol=1"]


def operator_file(lab: Lab) -> Path:
    """The example, for the lab's interface."""
    text = (ROOT / "examples" / "echo.toml").read_text()
    assert "[interface.lab1]" in text and '"echo.bpf.c"' in text
    changed = text.replace("interface.lab1", f"interface.{DUT_SIDE}")
    path = lab.folder / "echo.toml"
    changed += f"[interface.{DUT_SIDE}.search]\nmax_seconds = 4\n"
    path.write_text(changed.replace('"echo.bpf.c"', f'"{ECHO}"'))
    return path


@contextmanager
def receiving(lab: Lab) -> Iterator[None]:
    """What a veth's other end sends back arrives only where a program runs: one that passes all."""
    with Program.load(PASS_ALL, "pass_all") as program:
        with inside(lab.bed.generator):
            link = Link.attach(program, find_interface(GENERATOR_SIDE), "native")
        with closing(link):
            yield


def exchange(lab: Lab, frames: list[bytes]) -> list[bytes]:
    """Send frames, one after the other; what came back, empty when nothing did in time."""
    everything = socket.htons(0x0003)  # ETH_P_ALL
    with inside(lab.bed.generator):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, everything)
        wire.bind((GENERATOR_SIDE, 0))
    back = []
    with wire:
        wire.settimeout(1)
        for frame in frames:
            wire.send(frame)
            back.append(_received(wire))
    return back


def _received(wire: socket.socket) -> bytes:
    try:
        while True:
            data, where = wire.recvfrom(2048)
            if where[2] != socket.PACKET_OUTGOING:
                return data
    except TimeoutError:
        return b""


def test_attached_it_answers_on_the_wire(lab: Lab) -> None:
    rng, events = Random(5), lab.folder / "events.jsonl"
    process = lab.start("run", operator_file(lab), "--once", "--events", events, "--json")
    until((PINS / lab.key / "link").exists, process)
    with inside(lab.bed.generator):
        index = find_interface(GENERATOR_SIDE).index
        generator = Generator(Builder(), stream_of([ping(rng) for _ in range(64)]), index)
    with generator:
        generator.start()
        code, out, err = finish(process)
        generator.stop()
    assert code == 0, err
    assert has_event(events, "decision")
    (told,) = json.loads(out)["interfaces"]
    rows = told["search"]["variants"]
    assert "no_ip_options=true only_protocol=1" in {row["label"] for row in rows}
    assert not [row for row in rows if row["status"] == "refused"]
    status = lab.status()
    assert status["attached"] and status["mode"] == "native" and not status["problems"]

    asked = [ping(rng), datagram(rng), ping(rng, options=[IPOption_NOP()] * 4)]
    with receiving(lab):
        assert exchange(lab, asked) == [answer_to(frame) for frame in asked]
        assert exchange(lab, [datagram(rng, source=PORT)]) == [b""], "no echo to an echo"
    assert lab.run("detach", DUT_SIDE)[0] == 0
    lab.assert_untouched()
