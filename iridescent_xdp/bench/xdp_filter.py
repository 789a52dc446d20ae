# SPDX-License-Identifier: GPL-2.0-only
"""xdp-filter of xdp-tools, set up as its own command does, without its command.

It comes as ten prebuilt objects. Each says in a section what it has been built with, and
``xdp-filter load`` takes the first that has the features asked for. ``alw`` objects let pass what
no entry matches, which is what a list of blocked ports or addresses needs.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

import llvmlite.binding as llvm

from iridescent_xdp.doctor import PEER_FOLDERS, PEER_OBJECTS
from iridescent_xdp.errors import MissingFeatureError
from iridescent_xdp.kernel import bpf
from iridescent_xdp.kernel.libbpf import ForeignObject

# bits of the objects' section "features", of xdp-filter/common_kern_user.h in xdp-tools 1.3
TCP, UDP, IPV6, IPV4, ETHERNET, DEFAULT_ALLOW, DEFAULT_DENY = (1 << bit for bit in range(7))
# bits of a map's values, from the same file; the counter of the entry stands above them
_SOURCE, _DESTINATION, _TCP, _UDP = (1 << bit for bit in range(4))


def smallest_object(features: int) -> Path:
    """The object with the fewest instructions among those that have ``features``.

    Raises MissingFeatureError when xdp-tools is not installed.
    """
    sizes = {path: _describe(path) for path in _objects()}
    fitting = [path for path, (have, _) in sizes.items() if have & features == features]
    if not fitting:
        raise MissingFeatureError(
            "the objects of xdp-filter are missing", cure="apt-get install xdp-tools"
        )
    return min(fitting, key=lambda path: sizes[path][1])


def _objects() -> list[Path]:
    root = Path("/")
    folders = [folder for pattern in PEER_FOLDERS for folder in root.glob(pattern.lstrip("/"))]
    found = [folder / name for folder in folders for name in PEER_OBJECTS]
    return [path for path in found if path.is_file()]


def _describe(path: Path) -> tuple[int, int]:
    """The features of an object, and how many instructions it has."""
    features = size = 0
    for section in llvm.ObjectFileRef.from_data(path.read_bytes()).sections():
        raw = section.name()
        name = raw.decode() if isinstance(raw, bytes) else str(raw)
        if name == "features":
            (features,) = struct.unpack_from("<I", bytes(section.data()))
        if name == "xdp":
            size = len(bytes(section.data())) // 8
    return features, size


def block_udp_ports(peer: ForeignObject, ports: Iterable[int]) -> None:
    """As ``xdp-filter port PORT -m dst -p udp`` does."""
    for port in ports:
        key = struct.pack("<I", socket.htons(port))
        _write(peer, "filter_ports", key, _DESTINATION | _UDP)


def block_sources(peer: ForeignObject, addresses: Iterable[IPv4Address]) -> None:
    """As ``xdp-filter ip ADDRESS -m src`` does."""
    for address in addresses:
        _write(peer, "filter_ipv4", address.packed, _SOURCE)


def _write(peer: ForeignObject, name: str, key: bytes, flags: int) -> None:
    """The same flags on every CPU, all counters 0."""
    bpf.map_update(peer.map_fd(name), key, struct.pack("<Q", flags) * bpf.possible_cpus())
