# SPDX-License-Identifier: GPL-2.0-only
"""Where packets go that a program under test has handled: a sink that counts and drops them.

Redirected packets go into a second veth pair, whose other end is in a namespace of its own; packets
sent back out arrive at the generator's end of the first one. A veth takes such packets only if
its peer has an XDP program, which the sink is.
"""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack
from typing import Self

import numpy as np
from pyroute2 import IPRoute, netns

from iridescent_xdp.bench.subject import BENCH, LOOPBACK, Egress, Leaves
from iridescent_xdp.builder import Builder
from iridescent_xdp.functions.base import Function
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.state import State
from iridescent_xdp.template import read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.testbed import GENERATOR_SIDE, PREFIX, Testbed, inside
from traffic.threaded_napi import thread_napi

OUT_SIDE, SINK_SIDE = "out0", "sink0"


class Wiring:
    """A testbed and its sink; a context manager.

    ``egress`` is what redirects go to. With ``threaded`` the sink's end is a kernel thread on
    ``cpu``, so that its time is not that of the program's.
    """

    def __init__(self, builder: Builder, leaves: Leaves, *, threaded: bool, cpu: int) -> None:
        self.egress = LOOPBACK
        self._state: State | None = None
        with ExitStack() as stack:
            self.testbed = stack.enter_context(Testbed())
            if leaves is Leaves.BACK:
                self._sink(builder, stack, self.testbed.generator, GENERATOR_SIDE)
                if threaded:
                    thread_napi(self.testbed.generator, GENERATOR_SIDE, cpu)
            elif leaves is Leaves.THROUGH:
                namespace = self._second_pair(stack)
                self._sink(builder, stack, namespace, SINK_SIDE)
                if threaded:
                    thread_napi(namespace, SINK_SIDE, cpu)
            self._stack = stack.pop_all()

    def _second_pair(self, stack: ExitStack) -> str:
        name = f"{PREFIX}-{os.getpid()}-{secrets.token_hex(3)}-s"
        netns.create(name)
        stack.callback(netns.remove, name)
        there = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with inside(self.testbed.dut), IPRoute() as route:
                peer = {"ifname": SINK_SIDE, "net_ns_fd": there}
                route.link("add", ifname=OUT_SIDE, kind="veth", peer=peer)
                index = find_interface(OUT_SIDE).index
                route.link("set", index=index, state="up", arp=False)
                mac = str(route.get_links(index)[0].get("address"))
        finally:
            os.close(there)
        with inside(name), IPRoute() as route:
            route.link("set", index=find_interface(SINK_SIDE).index, state="up", arp=False)
        self.egress = Egress(name=OUT_SIDE, index=index, mac=bytes.fromhex(mac.replace(":", "")))
        return name

    def _sink(self, builder: Builder, stack: ExitStack, namespace: str, interface: str) -> None:
        template = read_template(BENCH / "sink.bpf.c")
        self._state = State.create(template)
        stack.callback(self._state.close)
        variant = Variant.generic(template.points)
        code = builder.variant(Function(template), variant, Role.STEADY)
        program = stack.enter_context(self._state.load(code, "sink"))
        with inside(namespace):
            link = Link.attach(program, find_interface(interface), "native")
        stack.callback(link.close)

    @property
    def arrived(self) -> int:
        """Packets that the sink has seen."""
        rows = self._state["arrived"].read() if self._state is not None else None
        return int(np.frombuffer(rows.tobytes(), dtype="<u8").sum()) if rows is not None else 0

    def close(self) -> None:
        """Remove everything."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
