# SPDX-License-Identifier: GPL-2.0-only
"""A testbed without a NIC: two network namespaces joined by a veth pair.

Packets are sent into ``GENERATOR_SIDE`` and arrive at ``DUT_SIDE``, where the program under test
is. Names are random; everything goes when the testbed is closed, and ``sweep`` takes away
what a crashed process left.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pyroute2 import IPRoute, netns

from iridescent_xdp import runtime
from iridescent_xdp.errors import MissingFeatureError
from iridescent_xdp.kernel import syscall
from iridescent_xdp.state import PINS

PREFIX = "irdx"
DUT_SIDE, GENERATOR_SIDE = "dut0", "gen0"


def _fd(name: str) -> int:
    return os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """The calling thread is in a named network namespace, then back where it was.

    Only the network namespace is entered, so /sys and the bpf file system stay as they are.
    """
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = _fd(name)
        try:
            syscall.setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            syscall.setns(back)
    finally:
        os.close(back)


class Testbed:
    """Two namespaces and a veth pair; a context manager."""

    __test__ = False

    def __init__(self, *, mtu: int = 1500) -> None:
        self.tag = f"{PREFIX}-{os.getpid()}-{secrets.token_hex(3)}"
        self.dut, self.generator = f"{self.tag}-d", f"{self.tag}-g"
        try:
            self._create(mtu)
        except OSError as error:
            self.close()
            raise MissingFeatureError(
                f"cannot make the testbed: {error.strerror or error}",
                cure="run as root on a kernel with veth and network namespaces",
            ) from error

    def _create(self, mtu: int) -> None:
        netns.create(self.dut)
        netns.create(self.generator)
        with inside(self.generator):
            _quiet_ipv6()
            there = _fd(self.dut)
            try:
                with IPRoute() as route:
                    peer = {"ifname": DUT_SIDE, "net_ns_fd": there, "mtu": mtu}
                    route.link("add", ifname=GENERATOR_SIDE, kind="veth", mtu=mtu, peer=peer)
                    route.link("set", index=_index(route, GENERATOR_SIDE), state="up", arp=False)
            finally:
                os.close(there)
        with inside(self.dut):
            _quiet_ipv6()
            with IPRoute() as route:
                index = _index(route, DUT_SIDE)
                Path(f"/proc/sys/net/ipv6/conf/{DUT_SIDE}/disable_ipv6").write_text("1")
                route.link("set", index=index, state="up", arp=False)
                route.link("set", index=_index(route, "lo"), state="up")

    def close(self) -> None:
        """Remove the namespaces; the veth pair goes with them, and pins of that interface."""
        for name in (self.dut, self.generator):
            with contextlib.suppress(OSError):
                inode = os.stat(f"/run/netns/{name}").st_ino
                _remove_pins(f"@{inode}")
            with contextlib.suppress(OSError):
                netns.remove(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _index(route: IPRoute, name: str) -> int:
    found = route.link_lookup(ifname=name)
    return int(found[0])


def _quiet_ipv6() -> None:
    """No neighbour discovery of the kernel's own, which would be counted as traffic."""
    for scope in ("all", "default"):
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("1")


def _remove_pins(suffix: str) -> None:
    """Pins of interfaces of one namespace, and what their controllers left in /run."""
    if PINS.is_dir():
        for directory in PINS.glob(f"*{suffix}"):
            for pin in directory.iterdir():
                pin.unlink()
            directory.rmdir()
    for directory in runtime.RUN.glob(f"*{suffix}"):
        shutil.rmtree(directory, ignore_errors=True)


def sweep() -> list[str]:
    """Remove testbeds whose process is gone; returns the names of their namespaces."""
    removed: list[str] = []
    for name in netns.listnetns():
        parts = name.split("-")
        if parts[0] != PREFIX or len(parts) < 4 or Path(f"/proc/{parts[1]}").exists():
            continue
        with contextlib.suppress(OSError):
            _remove_pins(f"@{os.stat(f'/run/netns/{name}').st_ino}")
        with contextlib.suppress(OSError):
            netns.remove(name)
            removed.append(name)
    return removed
