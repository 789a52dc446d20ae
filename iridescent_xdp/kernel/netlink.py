# SPDX-License-Identifier: GPL-2.0-only
"""What is on an interface, asked over netlink (pyroute2)."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from iridescent_xdp.errors import AttachError
from iridescent_xdp.kernel import bpf

# NET_NS_INIT_INO of <linux/nsfs.h>: the first namespace's inode, from Linux 6.18 on
INITIAL_NAMESPACE = 0xEFFF_FFF9
# as pyroute2 names IFLA_XDP_ATTACHED
_MODES = {
    None: "none",
    "xdp": "native",
    "xdpgeneric": "generic",
    "xdpoffload": "offload",
    "xdpmulti": "several",
}


@dataclass(frozen=True, kw_only=True)
class Interface:
    """One interface of the current network namespace."""

    name: str
    index: int
    mtu: int
    kind: str
    xdp_mode: str
    xdp_prog_id: int


def find_interface(name: str) -> Interface:
    """Look an interface up. Raises AttachError naming what there is."""
    with IPRoute() as route:
        try:
            found = route.link("get", ifname=name)
        except NetlinkError:
            found = ()
        for message in found:
            return _interface(message)
        names = sorted(m.get_attr("IFLA_IFNAME") for m in route.get_links())
    raise AttachError(
        f"there is no interface '{name}' in this network namespace",
        cure=f"it has {', '.join(names)}; see 'ip link'",
    )


def _interface(message: object) -> Interface:
    get = message.get_attr  # type: ignore[attr-defined]
    info, xdp = get("IFLA_LINKINFO"), get("IFLA_XDP")
    kind = info.get_attr("IFLA_INFO_KIND") if info is not None else None
    mode = xdp.get_attr("IFLA_XDP_ATTACHED") if xdp is not None else None
    prog_id = xdp.get_attr("IFLA_XDP_PROG_ID") if xdp is not None and mode else 0
    return Interface(
        name=str(get("IFLA_IFNAME")),
        index=int(message["index"]),  # type: ignore[index]
        mtu=int(get("IFLA_MTU")),
        kind=str(kind or "device"),
        xdp_mode=_MODES.get(mode, "unknown"),
        xdp_prog_id=int(prog_id or 0),
    )


def program_name(prog_id: int) -> str:
    """The name of a program by id, or "unknown" when this process may not ask."""
    try:
        fd = bpf.fd_by_id(bpf.PROG_GET_FD_BY_ID, prog_id)
    except OSError:
        return "unknown"
    try:
        return bpf.prog_info(fd).name or "unnamed"
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)


def namespace_key(name: str) -> str:
    """A name for files and pins: the interface, and its namespace unless it is the first one."""
    here = os.stat("/proc/thread-self/ns/net").st_ino
    try:
        first = os.stat("/proc/1/ns/net").st_ino
    except OSError:  # hidden, as in some containers
        first = INITIAL_NAMESPACE
    return name if here == first else f"{name}@{here}"
