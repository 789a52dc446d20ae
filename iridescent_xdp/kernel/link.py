# SPDX-License-Identifier: GPL-2.0-only
"""XDP links: attach, adopt, swap by naming what is expected. Linux 5.9."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Self

from iridescent_xdp.errors import AttachError
from iridescent_xdp.kernel import bpf
from iridescent_xdp.kernel.netlink import Interface, program_name
from iridescent_xdp.kernel.program import Program

MODES: dict[str, tuple[tuple[str, int], ...]] = {
    "native": (("native", bpf.XDP_FLAGS_DRV_MODE),),
    "generic": (("generic", bpf.XDP_FLAGS_SKB_MODE),),
    "native-then-generic": (
        ("native", bpf.XDP_FLAGS_DRV_MODE),
        ("generic", bpf.XDP_FLAGS_SKB_MODE),
    ),
}


class Link:
    """A bpf_link that holds a program on an interface; owns its descriptor."""

    def __init__(self, fd: int, mode: str) -> None:
        self.fd = fd
        self.mode = mode

    @classmethod
    def attach(cls, program: Program, interface: Interface, mode: str) -> Self:
        """Attach in the first mode that the driver takes.

        Raises AttachError that names the reason; nothing is changed then.
        """
        if interface.xdp_prog_id:
            raise _foreign(interface)
        failures: list[str] = []
        for name, flags in MODES[mode]:
            try:
                return cls(bpf.link_create(program.fd, interface.index, flags), name)
            except OSError as error:
                failures.append(f"{name}: {_reason(error, interface)}")
        raise AttachError(
            f"cannot attach to '{interface.name}': {'; '.join(failures)}",
            cure=_cure(failures, mode),
        )

    @classmethod
    def adopt(cls, path: Path, mode: str) -> Self:
        """A pinned link."""
        return cls(bpf.obj_get(path), mode)

    @property
    def info(self) -> bpf.LinkInfo:
        """Interface and program as the kernel says."""
        return bpf.link_info(self.fd)

    def pin(self, path: Path) -> None:
        """Keep the attachment beyond this process."""
        bpf.obj_pin(self.fd, path)

    def replace(self, new: Program, old: Program) -> None:
        """Swap programs, if ``old`` is what the link holds. Raises AttachError if it is not."""
        try:
            bpf.link_update(self.fd, new.fd, old.fd)
        except OSError as error:
            raise AttachError(
                f"the link does not hold '{old.name}' any more: {error.strerror}",
                cure="somebody else changed it; see 'iridescent status'",
            ) from error

    def detach(self) -> None:
        """Take the program off the interface now, whoever else holds the link."""
        bpf.link_detach(self.fd)

    def close(self) -> None:
        """Give the descriptor back; a pinned link stays attached."""
        if self.fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self.fd)
            self.fd = -1


def _foreign(interface: Interface) -> AttachError:
    name = program_name(interface.xdp_prog_id)
    return AttachError(
        f"'{interface.name}' already runs XDP program '{name}' (id {interface.xdp_prog_id}, "
        f"{interface.xdp_mode} mode), which is not ours",
        cure=f"detach it with its own tool, or 'ip link set {interface.name} xdp off'",
    )


def _reason(error: OSError, interface: Interface) -> str:
    if error.errno == errno.ERANGE or (error.errno == errno.EINVAL and interface.mtu > 3506):
        return f"the MTU of {interface.mtu} is too large for a one-page frame"
    reasons = {
        errno.EOPNOTSUPP: f"the {interface.kind} driver has no native XDP",
        errno.EBUSY: "another XDP program is attached",
        errno.EPERM: "not permitted",
        errno.EEXIST: "another XDP program is attached in the other mode",
    }
    return reasons.get(error.errno or 0, error.strerror or "unknown error")


def _cure(failures: list[str], mode: str) -> str:
    text = " ".join(failures)
    if "MTU" in text:
        return "lower it, e.g. 'ip link set DEV mtu 1500'"
    if "not permitted" in text:
        return "run as root, or grant CAP_BPF and CAP_NET_ADMIN"
    return 'set mode = "generic"' if mode == "native" else "see 'iridescent doctor'"
