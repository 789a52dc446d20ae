# SPDX-License-Identifier: GPL-2.0-only
"""When the router may ask the kernel's own tables for a hop (bpf_fib_lookup), and when not.

It is right only where it gives what the mirrored routes give. So the routes must be mirrored, and
nothing left to the kernel that it would forward; the interface must be one of this namespace, by
which the look-ups of packets and of test runs alike are made; and the kernel must say what it
would do. Everything else is refused, with the reason.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path

from iridescent_xdp.functions.router_tables import Route
from iridescent_xdp.functions.router_verdicts import is_martian
from iridescent_xdp.kernel.features import Feature, probe

_SYSCTLS = Path("/proc/sys/net")
_LINKDOWN = "ipv[46]/conf/*/ignore_routes_with_linkdown"


def namespace() -> int:
    """What tells the network namespace of this thread from others."""
    return os.stat("/proc/thread-self/ns/net").st_ino


def ingress_index(name: str, inode: int) -> int:
    """The index of interface ``name``; 0 when it is not in this thread's namespace, or when that is
    not ``inode``."""
    try:
        return socket.if_nametoindex(name) if name and inode == namespace() else 0
    except OSError:
        return 0


def forwarding_families(routes: Iterable[Route]) -> frozenset[int]:
    """The IP versions in which some route may forward packets."""
    found: set[int] = set()
    for route in routes:
        prefix = route.prefix
        key = prefix.version, int(prefix.network_address), prefix.prefixlen
        if prefix.version not in found and route.kind == "forward" and not is_martian(key):
            found.add(prefix.version)
            if len(found) == 2:
                break
    return frozenset(found)


def why_not(
    ingress: str, inode: int, left: tuple[str, ...], families: frozenset[int]
) -> str | None:
    """Why packets of ``families`` cannot be asked about for the mirrored routes; None: they can."""
    if left:
        return f"the kernel would forward what its mirror does not: {left[0]}"
    if not ingress_index(ingress, inode):
        return f"the kernel looks up by interface, and '{ingress}' is not in this namespace"
    for version in sorted(families):
        switch = f"ipv{version}/conf/{ingress}/forwarding"
        if _read(_SYSCTLS / switch) != "1":
            return f"the kernel does not forward from '{ingress}': set net/{switch} to 1"
    for path in _SYSCTLS.glob(_LINKDOWN):
        if _read(path) not in ("", "0"):
            return f"{path.relative_to(_SYSCTLS.parent)} is set, which the mirror does not know"
    finding = probe(Feature.FIB_LOOKUP)
    return None if finding.ok else f"bpf_fib_lookup: {finding.detail} ({finding.cure})"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
