# SPDX-License-Identifier: GPL-2.0-only
"""Runs QEMU with a cable between two of its NICs: a process in a network namespace of its own.

    unshare --net python -m vagrant.vm.wires RUN_FOLDER QEMU ARGUMENTS...

Two TAP devices with several queues, in a bridge that knows nothing else. The namespace and all in
it is gone when this process is, however it ends. What the cable lost is written to ``wire.json``;
``tcpdump``, where the host has it, records the cable.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

from pyroute2 import IPRoute

from vagrant.vm.qemu import VIRTIO_NICS

BRIDGE, TAP_DEVICE = "cable", Path("/dev/net/tun")
QUEUE_PACKETS = 65_536  # of each queue; a TAP device drops what does not fit
CABLE_MTU = 9000
CAPTURE_BYTES, CAPTURE_MB, CAPTURE_FILES = 128, 16, 4
# pktgen's own packets begin with this word: a million of them would push out everything else
CAPTURE_FILTER = "not (udp and udp[8:4] = 0xbe9be955)"
# <linux/if_tun.h>
_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TAP, _IFF_NO_PI, _IFF_MULTI_QUEUE, _IFF_VNET_HDR = 0x0002, 0x1000, 0x0100, 0x4000


def tap_refusal() -> str:
    """Why this machine has no TAP device for us; empty when it has."""
    try:
        os.close(os.open(TAP_DEVICE, os.O_RDWR))
    except OSError as error:
        return f"{TAP_DEVICE}: {error.strerror}"
    return ""


def lay_cable(names: Sequence[str]) -> None:
    """TAP devices of these names, joined; in the network namespace of this process."""
    for scope in ("all", "default"):  # the host has nothing to say on this cable
        switch = Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6")
        with suppress(FileNotFoundError):
            switch.write_text("1\n")
    for name in names:
        _make_tap(name)
    with IPRoute() as netlink:
        netlink.link("add", ifname=BRIDGE, kind="bridge", br_stp_state=0, br_mcast_snooping=0)
        bridge = netlink.link_lookup(ifname=BRIDGE)[0]
        for name in names:
            tap = netlink.link_lookup(ifname=name)[0]
            netlink.link("set", index=tap, mtu=CABLE_MTU, txqlen=QUEUE_PACKETS)
            netlink.link("set", index=tap, master=bridge, state="up")
            # a cable does not mind who sends from where: an echo may come back under any address
            netlink.brport("set", index=tap, learning=0, unicast_flood=1, mcast_flood=1)
        netlink.link("set", index=bridge, state="up")


def losses(names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Packets that each NIC's end of the cable carried and lost."""
    found = {}
    with IPRoute() as netlink:
        for link in netlink.get_links():
            name, counts = link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_STATS64")
            if name in names:
                lost = counts["tx_dropped"] + counts["rx_dropped"] + counts["rx_errors"]
                found[name] = {
                    "to_guest": counts["tx_packets"],
                    "from_guest": counts["rx_packets"],
                    "lost": lost,
                }
    return found


def _make_tap(name: str) -> None:
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_MULTI_QUEUE | _IFF_VNET_HDR
    with TAP_DEVICE.open("r+b", buffering=0) as device:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(device, _TUNSETPERSIST, 1)


@contextmanager
def _capture(folder: Path, name: str) -> Iterator[None]:
    """Record the cable while the block runs; the oldest file is overwritten."""
    if shutil.which("tcpdump") is None:
        yield
        return
    limits = ("-s", str(CAPTURE_BYTES), "-C", str(CAPTURE_MB), "-W", str(CAPTURE_FILES))
    command = ("tcpdump", "-q", "-n", "-U", "-Z", "root", "-i", name, *limits)
    target = str(folder / "wire.pcap")
    with (folder / "tcpdump.log").open("w") as log:
        process = _child((*command, "-w", target, CAPTURE_FILTER), stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def _child(command: Sequence[str], stderr: IO[str] | None = None) -> subprocess.Popen[bytes]:
    """A process that is killed when this one dies."""
    words = ("setpriv", "--pdeathsig", "KILL", "--", *command)
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=stderr)


def main(arguments: Sequence[str]) -> int:
    """Lay the cable, run QEMU to its end, tell what was lost. Returns QEMU's exit code."""
    folder, command = Path(arguments[0]), list(arguments[1:])
    names = list(VIRTIO_NICS)

    def stop(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    lay_cable(names)
    with _capture(folder, names[-1]):
        qemu = _child(command)
        try:
            code = qemu.wait()
        finally:
            qemu.kill()
            qemu.wait()
            (folder / "wire.json").write_text(json.dumps(losses(names)))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
