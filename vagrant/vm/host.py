# SPDX-License-Identifier: GPL-2.0-only
"""What the host must have, looked at before anything is started; where things are kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from iridescent_xdp.errors import MissingFeatureError
from vagrant.vm.tree import ROOT

CACHE_VARIABLE, MIRROR_VARIABLE = "IRIDESCENT_VM_CACHE", "IRIDESCENT_VM_MIRROR"
QEMU = "qemu-system-x86_64"
# programs, and the Debian packages that bring them
RUN_TOOLS = {
    QEMU: "qemu-system-x86",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "git": "git",
}
BUILD_TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "apt-get": "apt",
    "tar": "tar",
}
GIB = 1 << 30
BUILD_BYTES = 12 * GIB  # the new system as a folder and as a tar file, the image
RUN_BYTES = 2 * GIB  # what a guest writes to its disk, which is thrown away
_SPARE_MIB = 512
_PACKAGES = tuple(dict.fromkeys((*RUN_TOOLS.values(), "mmdebstrap", "e2fsprogs", "tcpdump")))


def cache_folder() -> Path:
    """Images and runs: ``$IRIDESCENT_VM_CACHE``, else build/vm of the work tree."""
    return Path(os.environ.get(CACHE_VARIABLE) or ROOT / "build" / "vm").resolve()


def mirror() -> str:
    """Where Debian's packages come from."""
    return os.environ.get(MIRROR_VARIABLE) or "http://deb.debian.org/debian"


def require_root() -> None:
    """Images are built with their files' owners, and the wire wants TAP devices."""
    if os.geteuid() != 0:
        raise MissingFeatureError(
            "a VM needs root: for the owners of files in the image, and for the wire between NICs",
            cure="use make vm-smoke, vm-test or vm-matrix, which ask sudo",
        )


def require_tools(tools: dict[str, str]) -> None:
    """Raise MissingFeatureError, with the line for apt, when a program is missing."""
    missing = [program for program in tools if shutil.which(program) is None]
    if missing:
        raise MissingFeatureError(
            f"missing: {', '.join(missing)}",
            cure=f"apt-get install --no-install-recommends {' '.join(_PACKAGES)}",
        )


def qemu_version() -> str:
    """What QEMU says of itself; empty when it cannot."""
    done = subprocess.run((QEMU, "--version"), capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def require_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise MissingFeatureError when the file system of ``folder`` has less than that."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise MissingFeatureError(
            f"{what} needs {needed_bytes / GIB:.1f} GiB in {folder}, {free / GIB:.1f} GiB are free",
            cure=f"make room, or set {CACHE_VARIABLE} to a folder elsewhere",
        )


def require_memory(wanted_mib: int, meminfo: Iterable[str] | None = None) -> None:
    """Raise MissingFeatureError when the guest would drive this machine out of memory."""
    lines = meminfo or Path("/proc/meminfo").read_text().splitlines()
    sizes = {name: int(rest.split()[0]) for name, _, rest in (x.partition(":") for x in lines)}
    available_mib = sizes["MemAvailable"] // 1024
    if available_mib < wanted_mib + _SPARE_MIB:
        raise MissingFeatureError(
            f"the guest wants {wanted_mib} MiB of memory and this machine {_SPARE_MIB} more, "
            f"{available_mib} MiB are available",
            cure="--memory MIB (1536 is enough for the suite)",
        )
