# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the guest: what this kernel and these NICs can do, by trying, as one JSON document.

``doctor`` tells what it knows on any machine; the rest needs the guest's NICs.
"""

from __future__ import annotations

import json
import os
import platform
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import IPRoute, NetlinkError

from iridescent_xdp.errors import IridescentError
from iridescent_xdp.kernel import bpf
from iridescent_xdp.kernel.netdev import Transmitters
from iridescent_xdp.kernel.netlink import find_interface
from traffic.testbed import inside

BTF, PKTGEN = Path("/sys/kernel/btf/vmlinux"), Path("/proc/net/pktgen/pgctrl")
METADATA = (b"bpf_xdp_metadata_rx_timestamp", b"bpf_xdp_metadata_rx_hash")
_XDP_PASS, _REPLACE = 2, 1 << 4  # XDP_FLAGS_REPLACE of <linux/if_link.h>
NATIVE, GENERIC = bpf.XDP_FLAGS_DRV_MODE, bpf.XDP_FLAGS_SKB_MODE


def main() -> int:
    """Print the document. Exit code 0, also when features are missing."""
    doctor = subprocess.run(
        (sys.executable, "-m", "iridescent_xdp.cli", "doctor", "--json"),
        capture_output=True,
        text=True,
        check=False,
    )
    if not doctor.stdout.strip():
        print(f"doctor printed nothing: {doctor.stderr}", file=sys.stderr)
        return 1
    checks = json.loads(doctor.stdout)
    found = {c["name"]: {"ok": c["ok"], "detail": c["detail"]} for c in checks["checks"]}
    found |= {name: attempt(probe) for name, probe in PROBES.items()}
    document = {"release": platform.release(), "required": checks["ok"], "features": found}
    print(json.dumps(document, indent=1))
    return 0


def attempt(probe: Callable[[], str]) -> dict[str, bool | str]:
    """What a probe saw, or why it was refused."""
    try:
        return {"ok": True, "detail": probe()}
    except NetlinkError as error:
        return {"ok": False, "detail": os.strerror(error.code)}
    except OSError as error:
        return {"ok": False, "detail": error.strerror or str(error)}
    except IridescentError as error:
        return {"ok": False, "detail": error.message}


@contextmanager
def _program() -> Iterator[int]:
    code = struct.pack("<BBhiBBhi", 0xB7, 0, 0, _XDP_PASS, 0x95, 0, 0, 0)
    fd, _ = bpf.prog_load(code, name="probe")
    try:
        yield fd
    finally:
        os.close(fd)


def _link(variable: str, flags: int) -> str:
    """A link on the NIC, its program replaced by compare-and-swap."""
    with inside(os.environ["VM_DUT_NS"]), _program() as fd, _program() as other:
        link = bpf.link_create(fd, find_interface(os.environ[variable]).index, flags)
        try:
            bpf.link_update(link, other, fd)
        finally:
            bpf.link_detach(link)
            os.close(link)
    return "attached, replaced by compare-and-swap, detached"


def _netlink() -> str:
    """A program on the virtio NIC, replaced only by who names it, then taken off."""
    with inside(os.environ["VM_DUT_NS"]), _program() as fd, _program() as other, IPRoute() as nl:
        index = find_interface(os.environ["VM_DUT_IF"]).index

        def put(new: int, *more: tuple[str, int], flags: int = NATIVE) -> None:
            attrs = [("IFLA_XDP_FD", new), ("IFLA_XDP_FLAGS", flags), *more]
            nl.link("set", index=index, IFLA_XDP={"attrs": attrs})

        put(fd)
        try:
            put(other, ("IFLA_XDP_EXPECTED_FD", fd), flags=NATIVE | _REPLACE)
            try:
                put(fd, ("IFLA_XDP_EXPECTED_FD", fd), flags=NATIVE | _REPLACE)
            except NetlinkError:
                return "a program was replaced by who named it, and by nobody else"
            raise OSError("a wrong expectation was accepted")
        finally:
            put(-1)


def _metadata() -> str:
    """The kernel's type information names the functions."""
    names = BTF.read_bytes()
    missing = [name.decode() for name in METADATA if b"\0" + name + b"\0" not in names]
    if missing:
        raise OSError(f"the kernel has no {', '.join(missing)}")
    return "the kernel has them"


def _redirect_targets() -> str:
    with inside(os.environ["VM_DUT_NS"]):
        known = dict(Transmitters().all())
        index = find_interface(os.environ["VM_DUT_IF"]).index
    if index not in known:
        raise OSError("the kernel does not tell")
    return "told for each interface"


def _pktgen() -> str:
    return PKTGEN.read_text().splitlines()[0]


PROBES: dict[str, Callable[[], str]] = {
    "link native virtio": lambda: _link("VM_DUT_IF", NATIVE),
    "netlink native virtio": _netlink,
    "link native e1000e": lambda: _link("VM_E1000E_DUT_IF", NATIVE),
    "link generic e1000e": lambda: _link("VM_E1000E_DUT_IF", GENERIC),
    "metadata kfuncs": _metadata,
    "redirect targets": _redirect_targets,
    "pktgen": _pktgen,
}

if __name__ == "__main__":
    sys.exit(main())
