# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's command line for one guest: stock kernel, virtio disks, NICs that are joined in pairs."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from iridescent_xdp.errors import ConfigError
from vagrant.vm.host import QEMU

ACCELERATORS = {"kvm": ("-cpu", "host"), "tcg": ("-cpu", "max")}
THREADS = ("multi", "single")  # of an emulator: one for each processor, or one for all
WIRES = ("tap", "hub")
_LONGEST_SOCKET_PATH = 107  # of sockaddr_un, without the byte that ends it
# interface of the guest, and the hardware address by which guest/run.sh finds it
VIRTIO_NICS = {"dut0": "02:1d:00:00:00:01", "gen0": "02:1d:00:00:00:02"}
E1000E_NICS = {"dut1": "02:1d:00:00:00:11", "gen1": "02:1d:00:00:00:12"}
_VIRTIO_HUB, _E1000E_HUB = 0, 1
# the receiver merges nothing and gets real checksums: what native XDP on virtio-net demands
_GUEST_OFFLOADS = ("guest_csum", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo")
# a panic stops the guest where it is, and an oops is a panic: the console tells, the host ends it
KERNEL_LINE = "console=ttyS0 root=/dev/vda rw net.ifnames=0 loglevel=4 oops=panic panic=0"


def threads_for(kernel_release: str, qemu_version: str) -> str:
    """How many threads emulate a guest's processors without killing it.

    Until 8.1 QEMU could translate code that another processor was just writing, and kept the
    half-written translation (8.1: "accel/tcg: Always lock pages before translation"). Linux since
    6.2 writes its code while packets come, and panics with an int3 where none should be.
    """
    kernel, qemu = _version(kernel_release), _version(qemu_version)
    return "single" if kernel >= (6, 2) and qemu < (8, 1) else "multi"


def _version(text: str) -> tuple[int, int]:
    """The first two numbers; (0, 0) where there are none."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One guest. ``run`` is the folder of the console log, ``results`` is shared with the guest."""

    kernel: Path
    initrd: Path
    disk: Path
    tree: Path
    run: Path
    results: Path
    accel: str
    threads: str = "multi"
    cpus: int = 2
    memory_mib: int = 2048
    wire: str = "tap"

    def __post_init__(self) -> None:
        if self.accel not in ACCELERATORS:
            raise ConfigError(f"accel is one of {', '.join(ACCELERATORS)}, got {self.accel!r}")
        if self.threads not in THREADS:
            raise ConfigError(f"threads is one of {', '.join(THREADS)}, got {self.threads!r}")
        if self.wire not in WIRES:
            raise ConfigError(f"wire is one of {', '.join(WIRES)}, got {self.wire!r}")
        if self.cpus < 1 or self.memory_mib < 1:
            raise ConfigError(f"cpus >= 1 and memory >= 1, got {self.cpus} and {self.memory_mib}")

    @property
    def queues(self) -> int:
        """Queue pairs of a virtio NIC: for native XDP twice the CPUs; a hub has one."""
        return 2 * self.cpus if self.wire == "tap" else 1

    @property
    def console(self) -> Path:
        """What the guest's serial console said."""
        return self.run / "console.log"

    @property
    def monitor(self) -> Path:
        """QEMU's monitor, a Unix socket: ``stop`` and ``cont`` pause the guest from outside."""
        wanted = self.run / "monitor.sock"
        if len(os.fsencode(wanted)) <= _LONGEST_SOCKET_PATH:
            return wanted
        name = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"iridescent-monitor-{name}.sock"

    def command(self) -> list[str]:
        """The command line."""
        return [
            *(QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-name", "iridescent"),
            *("-accel", f"tcg,thread={self.threads}" if self.accel == "tcg" else self.accel),
            *ACCELERATORS[self.accel],
            *("-smp", str(self.cpus), "-m", f"{self.memory_mib}M"),
            *("-kernel", str(self.kernel), "-initrd", str(self.initrd), "-append", KERNEL_LINE),
            *("-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console"),
            *("-monitor", f"unix:{self.monitor},server=on,wait=off"),
            *("-device", "virtio-rng-pci"),
            *_disk("root", self.disk, "snapshot=on"),
            *_disk("tree", self.tree, "readonly=on"),
            *("-virtfs", f"local,path={self.results},mount_tag=results,security_model=none"),
            *self._nics(),
        ]

    def _nics(self) -> list[str]:
        words: list[str] = []
        for name, address in VIRTIO_NICS.items():
            words += ["-netdev", self._netdev(name), "-device", self._virtio(name, address)]
        for name, address in E1000E_NICS.items():
            words += ["-netdev", f"hubport,id={name},hubid={_E1000E_HUB}"]
            words += ["-device", f"e1000e,netdev={name},mac={address}"]
        if self.wire == "hub":
            dump = f"filter-dump,id=dump,netdev=gen0,file={self.run / 'wire.pcap'},maxlen=128"
            words += ["-object", dump]
        return words

    def _netdev(self, name: str) -> str:
        if self.wire == "hub":
            return f"hubport,id={name},hubid={_VIRTIO_HUB}"
        return f"tap,id={name},ifname={name},queues={self.queues},script=no,downscript=no"

    def _virtio(self, name: str, address: str) -> str:
        several = f",mq=on,vectors={2 * self.queues + 2}" if self.queues > 1 else ""
        offloads = ",".join(f"{offload}=off" for offload in _GUEST_OFFLOADS)
        return f"virtio-net-pci,netdev={name},mac={address}{several},{offloads}"


def _disk(name: str, file: Path, more: str) -> tuple[str, ...]:
    drive = f"file={file},format=raw,if=none,id={name},{more}"
    return ("-drive", drive, "-device", f"virtio-blk-pci,drive={name},serial={name}")
