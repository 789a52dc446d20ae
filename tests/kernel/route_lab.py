# SPDX-License-Identifier: GPL-2.0-only
"""A namespace with routes, and iproute2 as the independent model of where packets go."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import random
import secrets
import socket
import struct
import subprocess
from array import array
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Self

from pyroute2 import netns

from iridescent_xdp.functions.router_mirror import News
from iridescent_xdp.functions.router_tables import (
    LeftToKernel,
    Network,
    Route,
    RouterTables,
    SetRoute,
)
from tests.kernel.fixtures import wait_until
from traffic.testbed import PREFIX, inside

USABLE = {"REACHABLE", "STALE", "DELAY", "PROBE", "PERMANENT"}
KERNEL, DROP = ("kernel",), ("drop",)
Answer = tuple[str, ...]


class RouteLab:
    """A router's namespace, with the other ends of its veth pairs in a second one."""

    def __init__(self, links: Sequence[str] = ("in0", "out0", "out1", "out2")) -> None:
        tag = f"{PREFIX}-{os.getpid()}-{secrets.token_hex(3)}"
        self.name, self.far = f"{tag}-r", f"{tag}-f"
        try:
            self._create(links)
        except BaseException:
            self.close()
            raise

    def _create(self, links: Sequence[str]) -> None:
        netns.create(self.name)
        netns.create(self.far)
        lines = ["link set lo up"]
        for place, link in enumerate(links):
            lines += [
                f"link add {link} type veth peer name far-{link} netns {self.far}",
                f"link set {link} up",
                f"addr add 10.{place}.0.1/24 dev {link}",
                f"addr add 2001:db8:{place}::1/64 dev {link} nodad",
            ]
        self.batch(lines)
        far = "".join(f"link set far-{link} up\n" for link in links)
        self.run("ip", "-n", self.far, "-batch", "-", text=far)
        for link in links:
            self.receive_offload(f"far-{link}", on=True)
        wait_until(self._links_run, "links that run")

    def _links_run(self) -> bool:
        """The kernel tells of a carrier a moment later."""
        return all(link["operstate"] == "UP" for link in self.show("link", "show", "type", "veth"))

    def receive_offload(self, link: str, *, on: bool) -> None:
        """GRO of a far end: without it, nothing can be redirected to the near one."""
        value = array("I", [0x2C, on])  # ETHTOOL_SGRO
        request = struct.pack("16sP16x", link.encode(), value.buffer_info()[0])
        with inside(self.far), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, 0x8946, request)  # SIOCETHTOOL

    def forward(self, on: bool = True, links: Iterable[str] = ("all",)) -> None:
        """Whether the kernel forwards what comes in by ``links``, IPv4 and IPv6."""
        with inside(self.name):
            for version, link in itertools.product((4, 6), links):
                Path(f"/proc/sys/net/ipv{version}/conf/{link}/forwarding").write_text(f"{on:d}")

    def run(self, *command: str, text: str = "", ok: bool = True) -> tuple[str, str]:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert not ok or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout, done.stderr

    def batch(self, lines: Iterable[str], *, ok: bool = True) -> None:
        force = () if ok else ("-force",)
        text = "".join(f"{line}\n" for line in lines)
        self.run("ip", *force, "-n", self.name, "-batch", "-", text=text, ok=ok)

    def show(self, *what: str) -> list[dict[str, Any]]:
        out, _ = self.run("ip", "-n", self.name, "-j", *what)
        return list(json.loads(out or "[]"))

    # -- the model: what iproute2 says about an address ---------------------------------------

    def answers(self, addresses: Sequence[str], ingress: str = "") -> dict[str, Answer]:
        """("forward", interface, MAC to, MAC from, MTU), KERNEL or DROP for each address."""
        links = {link["ifname"]: link for link in self.show("link")}
        neighbours = {
            (entry["dev"], ip_address(entry["dst"])): entry["lladdr"]
            for family in ("-4", "-6")
            for entry in self.show(family, "neigh")
            if "lladdr" in entry and USABLE & set(entry["state"])
        }
        found: dict[str, Answer] = {}
        for address, matched in zip(addresses, self._matched(addresses), strict=True):
            found[address] = _answer(address, matched, links, neighbours)
            if found[address][1:2] == (ingress,):
                found[address] = KERNEL
        return found

    def _matched(self, addresses: Sequence[str]) -> list[dict[str, Any] | None]:
        """The kernel's longest match (``ip route get fibmatch``), None: no route."""
        text = "".join(f"route get fibmatch {address}\n" for address in addresses)
        command = ("ip", "-force", "-n", self.name, "-j", "-batch", "-")
        out, err = self.run(*command, text=text, ok=False)
        failed = _failures(err)
        decoder, at = json.JSONDecoder(), 0
        found: list[dict[str, Any] | None] = []
        for place in range(len(addresses)):
            if place in failed:  # EINVAL is what a blackhole answers
                hole = failed[place].endswith("Invalid argument")
                found.append({"type": "blackhole"} if hole else None)
                continue
            at = out.index("[", at)
            told, at = decoder.raw_decode(out, at)
            found.append(told[0])
        return found

    def close(self) -> None:
        for name in (self.name, self.far):
            if Path(f"/run/netns/{name}").exists():
                netns.remove(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _failures(err: str) -> dict[int, str]:
    """What the kernel answered to the lines that failed, by their place."""
    failed, answer = {}, ""
    for line in err.splitlines():
        if line.startswith("Command failed"):
            failed[int(line.rpartition(":")[2]) - 1] = answer
        else:
            answer = line
    return failed


def _answer(
    address: str,
    matched: dict[str, Any] | None,
    links: Mapping[str, dict[str, Any]],
    neighbours: Mapping[tuple[str, Any], str],
) -> Answer:
    if matched is None:
        return KERNEL
    if matched.get("type") == "blackhole":
        return DROP
    if matched.get("type", "unicast") != "unicast" or "nexthops" in matched or "dev" not in matched:
        return KERNEL
    link = links[matched["dev"]]
    via = matched.get("gateway") or matched.get("via", {}).get("host") or address
    mac = neighbours.get((matched["dev"], ip_address(via)))
    if mac is None or not {"UP", "LOWER_UP"} <= set(link["flags"]) or link["link_type"] != "ether":
        return KERNEL
    smaller = [int(m["mtu"]) for m in matched.get("metrics", ()) if "mtu" in m]
    return "forward", matched["dev"], mac, link["address"], str(min(link["mtu"], *smaller, 1 << 16))


# -- the other side: what a table of routes says -----------------------------------------------


def table_of(tables: RouterTables) -> dict[Network, Route]:
    return {route.prefix: route for route in tables.routes}


def replay(table: dict[Network, Route], changes: Iterable[News]) -> None:
    """Changes as a router applies them: what is deleted must be there."""
    for change in changes:
        if isinstance(change, SetRoute):
            table[change.route.prefix] = change.route
        elif not isinstance(change, LeftToKernel):
            del table[change.prefix]


def told(table: Mapping[Network, Route], addresses: Iterable[str]) -> dict[str, Answer]:
    """What longest-prefix match over ``table`` says about each address."""
    return {address: _told(table, address) for address in addresses}


def _told(table: Mapping[Network, Route], address: str) -> Answer:
    bits = ip_address(address).max_prefixlen
    for length in range(bits, -1, -1):
        route = table.get(ip_network(f"{address}/{length}", strict=False))
        if route is not None:
            break
    else:
        return KERNEL
    if route.kind == "blackhole":
        return DROP
    if route.kind == "local" or route.via is None:
        return KERNEL
    assert isinstance(route.via, bytes) and route.hop is not None and route.hop.mac == route.via
    hop = route.hop
    return "forward", route.interface, route.via.hex(":"), hop.source_mac.hex(":"), str(hop.mtu)


def addresses_near(prefixes: Iterable[str], chance: random.Random, count: int) -> list[str]:
    """Addresses inside and beside prefixes, and anywhere."""
    networks = [ip_network(prefix) for prefix in prefixes]
    found: set[str] = set()
    while len(found) < count:
        network = chance.choice(networks)
        offset = chance.choice((0, 1, 2, network.num_addresses - 1, network.num_addresses))
        if chance.random() < 0.5:
            offset = chance.randrange(network.num_addresses)
        number = (int(network.network_address) + offset) % (1 << network.max_prefixlen)
        if chance.random() < 0.1:
            number = chance.getrandbits(network.max_prefixlen)
        address = type(network.network_address)(number)
        martian = address.is_multicast or address.is_loopback or address.is_link_local
        if not martian and int(str(address).split(".")[0].split(":")[0] or "0", 16) not in (
            0,
            0xFF,
        ):
            found.add(str(address))
    return sorted(found)
