# SPDX-License-Identifier: GPL-2.0-only
"""Functional streams between two namespaces, whatever the wire between them is.

The same code serves a veth pair (tests/kernel) and virtio NICs in a virtual machine (tests/vm).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import IPRoute

from iridescent_xdp.builder import Builder
from iridescent_xdp.config.reader import load_config
from iridescent_xdp.controller import Controller
from iridescent_xdp.events import EventLog
from iridescent_xdp.plan import make_plan
from iridescent_xdp.toolchain.base import Role
from tests.kernel.live import Events
from traffic import functional_echo, functional_filter, functional_l4lb, functional_router
from traffic.functional import StreamReport, run_stream
from traffic.functional_ports import Place, Ports, mac_of, receiving_from_xdp
from traffic.functional_scene import OUT, Ends, Scene
from traffic.testbed import inside

ROOT = Path(__file__).resolve().parents[2]
ECHO = ROOT / "examples" / "echo.bpf.c"
OUT_SIDE, SINK_SIDE = "out0", "sink0"
MakeScene = Callable[[Ends, str], Scene]
SCENES: dict[str, MakeScene] = {
    "filter": functional_filter.scene,
    "router": functional_router.scene,
    "l4lb": functional_l4lb.scene,
    "echo": lambda ends, mode: functional_echo.scene(ends, ECHO, mode),
}


@dataclass(frozen=True, kw_only=True)
class FunctionalBed:
    """Who sends, who is tested, and how patient one has to be here."""

    under_test: Place
    sender: Place
    veth: bool
    patience_s: float = 5.0
    quiet_s: float = 0.1

    @property
    def ends(self) -> Ends:
        out = Place(self.under_test.namespace, OUT_SIDE)
        return Ends(
            interface=self.under_test.interface,
            mac=mac_of(self.under_test),
            far_mac=mac_of(self.sender),
            out=OUT_SIDE,
            out_mac=mac_of(out),
        )

    @contextlib.contextmanager
    def wired(self) -> Iterator[Ports]:
        """An interface to forward to, and sockets at all ends."""
        sink = Place(self.sender.namespace, SINK_SIDE)
        with contextlib.ExitStack() as stack:
            stack.enter_context(out_pair(self.under_test.namespace, self.sender.namespace))
            stack.enter_context(receiving_from_xdp(sink, *([self.sender] if self.veth else [])))
            ports = Ports.open(self.sender, self.under_test, {OUT: sink})
            yield stack.enter_context(ports)

    @contextlib.contextmanager
    def controlled(
        self, scene: Scene, folder: Path, builder: Builder, events: Events | None = None
    ) -> Iterator[Controller]:
        """The scene's function on the interface under test, from its operator file."""
        path = folder / f"{scene.function}.toml"
        path.write_text(scene.site)
        (config,) = load_config(path).interfaces
        with inside(self.under_test.namespace):
            controller = Controller(make_plan(config, path), builder, EventLog(None, events))
        try:
            yield controller
        finally:
            controller.release()

    def run(self, scene: Scene, ports: Ports) -> StreamReport:
        return run_stream(scene.cases, ports, patience_s=self.patience_s, quiet_s=self.quiet_s)


def specialize(controller: Controller, scene: Scene) -> None:
    """The scene's narrow variant goes live."""
    variant = controller.plan.generic.with_values(**scene.narrow)
    insns = controller.builder.variant(controller.plan.function, variant, Role.STEADY)
    controller.swap(variant, insns, reason="functional test")
    assert controller.live_variant == variant


@contextlib.contextmanager
def out_pair(near: str, far: str) -> Iterator[None]:
    """A veth pair from one namespace to the other, without a word of its own on it.

    The far end has a queue for each CPU: one queue that several CPUs fill runs over (256 packets).
    (The kernel looks at the near end's attributes to know whether queues were asked for.)
    """
    with inside(near):
        _quiet()
        there = os.open(f"/run/netns/{far}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with IPRoute() as route:
                queues = os.cpu_count() or 1
                peer = {"ifname": SINK_SIDE, "net_ns_fd": there, "num_rx_queues": queues}
                route.link("add", ifname=OUT_SIDE, kind="veth", num_rx_queues=queues, peer=peer)
        finally:
            os.close(there)
        _up(OUT_SIDE)
    with inside(far):
        _quiet()
        _up(SINK_SIDE)
    try:
        yield
    finally:
        with inside(near), IPRoute() as route:
            for index in route.link_lookup(ifname=OUT_SIDE):
                route.link("del", index=index)


def _up(interface: str) -> None:
    with IPRoute() as route:
        (index,) = route.link_lookup(ifname=interface)
        route.link("set", index=index, state="up", arp=False)


def _quiet() -> None:
    for scope in ("all", "default"):
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")


def failures(reports: Sequence[StreamReport]) -> str:
    """All problems of some reports, for an assertion's message."""
    return "\n".join(problem for report in reports for problem in report.problems)
