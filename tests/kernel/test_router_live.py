# SPDX-License-Identifier: GPL-2.0-only
"""The router between two real interfaces: frames in by one veth pair, out by another."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.campaign import Campaign
from iridescent_xdp.config.reader import load_config
from iridescent_xdp.controller import Controller
from iridescent_xdp.events import EventLog
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.plan import make_plan
from iridescent_xdp.toolchain.base import Role
from tests.kernel.live import stream_of
from tests.kernel.route_lab import RouteLab
from tests.unit.router_model import ones_sum
from traffic.corpus_routes import ip_frame
from traffic.generator import Generator
from traffic.testbed import inside

PASS = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)  # r0 = XDP_PASS; exit
NEIGHBOUR = "02:00:00:00:0b:01"
CONFIG = """
[interface.in0]
function = "router"
[interface.in0.search]
max_seconds = 8
[interface.in0.search.points]
checksum_update = "incremental"
hot_keys = ["0", "4"]
[interface.in0.policy]
sample_shift = 1
[[interface.in0.routes]]
prefix = "198.51.100.0/24"
interface = "out0"
via = "10.1.0.9"
[[interface.in0.routes]]
prefix = "198.51.100.128/25"
kind = "blackhole"
[[interface.in0.routes]]
prefix = "2001:db8:99::/48"
interface = "out0"
via = "02:00:00:00:0b:01"
[[interface.in0.routes]]
prefix = "203.0.113.0/24"
interface = "out0"
via = "10.1.0.77"
"""


@pytest.fixture
def lab() -> Iterator[RouteLab]:
    with RouteLab(("in0", "out0")) as made:
        made.batch([f"neigh add 10.1.0.9 lladdr {NEIGHBOUR} dev out0 nud permanent"])
        with inside(made.far), Program.load(PASS, "pass_all") as program:
            # a redirect into a veth whose peer has no XDP program is lost
            link = Link.attach(program, find_interface("far-out0"), "native")
            with contextlib.closing(link):
                yield made


@pytest.fixture
def controller(lab: RouteLab, tmp_path: Path) -> Iterator[Controller]:
    path = tmp_path / "router.toml"
    path.write_text(CONFIG)
    (config,) = load_config(path).interfaces
    with inside(lab.name):
        made = Controller(make_plan(config, path), Builder("llvm"), EventLog(None))
        try:
            yield made
        finally:
            made.release()


def listener(lab: RouteLab, interface: str) -> socket.socket:
    """A raw socket that hears every frame of an interface of the far namespace."""
    with inside(lab.far):
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        heard.bind((interface, 0))
        heard.settimeout(2)
        return heard


def exchanged(lab: RouteLab, frame: bytes, interface: str = "far-out0") -> list[bytes]:
    """What arrives at ``interface`` after the frame was sent into the router."""
    with contextlib.closing(listener(lab, interface)) as out:
        with contextlib.closing(listener(lab, "far-in0")) as into:
            into.send(frame)
        found: list[bytes] = []
        until = time.monotonic() + 0.3
        out.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while time.monotonic() < until:
                found.append(out.recv(2048))
        return found


def mac_of(lab: RouteLab, interface: str) -> bytes:
    (link,) = lab.show("link", "show", interface)
    return bytes.fromhex(link["address"].replace(":", ""))


def number(text: str) -> int:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return int.from_bytes(socket.inet_pton(family, text), "big")


def check_forwarding(lab: RouteLab) -> None:
    macs = bytes.fromhex(NEIGHBOUR.replace(":", "")) + mac_of(lab, "out0")
    sent = ip_frame(4, number("198.51.100.7"))
    (got,) = (f for f in exchanged(lab, sent) if f[:6] == macs[:6])
    assert got[:14] == macs + b"\x08\x00"
    assert got[22] == sent[22] - 1 and ones_sum(got[14:34]) == 0xFFFF
    assert got[14:22] + got[26:] == sent[14:22] + sent[26:]
    sent = ip_frame(6, number("2001:db8:99::5"), size=60)
    (got,) = (f for f in exchanged(lab, sent) if f[:6] == macs[:6])
    assert got == macs + sent[12:21] + bytes([sent[21] - 1]) + sent[22:]
    for elsewhere in ("198.51.100.200", "203.0.113.1", "192.0.2.200"):
        frames = exchanged(lab, ip_frame(4, number(elsewhere)))
        assert not [f for f in frames if f[:6] == macs[:6]], elsewhere


def test_frames_are_forwarded_by_generic_and_by_a_variant(
    lab: RouteLab, controller: Controller
) -> None:
    check_forwarding(lab)
    plan = controller.plan
    variant = plan.generic.with_values(lookup=2, checksum_update=1)
    insns = controller.builder.variant(plan.function, variant, Role.STEADY)
    controller.swap(variant, insns, reason="a test")
    check_forwarding(lab)
    rows = {r.name: r.packets for r in plan.function.counters(controller.state)}
    assert rows["blackhole"] == 2 and rows["neighbour unknown: to the kernel"] == 2
    assert rows["verdict redirect"] == 4


def test_an_expired_packet_is_answered_by_the_kernel(lab: RouteLab, controller: Controller) -> None:
    lab.batch(
        [
            "neigh add 10.0.0.2 lladdr 02:00:00:00:0a:02 dev in0 nud permanent",
            "route add 198.51.100.0/24 via 10.1.0.9",
        ]
    )
    lab.run("ip", "netns", "exec", lab.name, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    frame = bytearray(ip_frame(4, number("198.51.100.7"), ttl=1))
    frame[0:6] = mac_of(lab, "in0")
    frame[26:30] = socket.inet_aton("10.0.0.2")
    frame[24:26] = bytes(2)
    frame[24:26] = struct.pack(">H", 0xFFFF - ones_sum(bytes(frame[14:34])))
    told = [f for f in exchanged(lab, bytes(frame), "far-in0") if f[23:24] == b"\x01"]
    assert any(f[34] == 11 for f in told), "no ICMP time exceeded came back"  # RFC 792


def test_a_search_ends_with_a_variant_that_forwards(lab: RouteLab, controller: Controller) -> None:
    frames = tuple(ip_frame(4, number("198.51.100.0") + n) for n in range(8))
    stream = stream_of(frames, [0, 0, 1, 2, 3, 4, 5, 6] * 8192)
    with inside(lab.far):
        index = find_interface("far-in0").index
        generator = Generator(controller.builder, stream, index)
    with generator:
        generator.start(pps=300_000)
        campaign = Campaign(controller)
        try:
            summary = campaign.run()
        finally:
            campaign.close()
        generator.stop()
    measured = [row for row in summary.rows if row.status == "measured"]
    assert measured and not [row for row in summary.rows if row.status == "refused"]
    assert any("hot_keys" in row.label for row in measured)
    hot = controller.state["hot_table"].read()
    assert hot is not None and number("198.51.100.0") in hot["slot"]["address"]
    check_forwarding(lab)
