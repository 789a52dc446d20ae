# SPDX-License-Identifier: GPL-2.0-only
"""What the kernel knows about next hops: interfaces and neighbours, asked over netlink."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from pyroute2 import IPRoute

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.router_tables import Address, Route

# NUD_REACHABLE, NUD_STALE, NUD_DELAY, NUD_PROBE, NUD_NOARP, NUD_PERMANENT of <linux/neighbour.h>
_USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80


@dataclass(frozen=True, kw_only=True)
class Hop:
    """Where packets go: ``mac`` is None while the neighbour is unknown; ``mtu`` in bytes."""

    ifindex: int
    mac: bytes | None
    source_mac: bytes
    mtu: int


@dataclass(frozen=True, kw_only=True)
class _Link:
    index: int
    mac: bytes
    mtu: int


class Links:
    """The interfaces and neighbours of the current network namespace, as they are now."""

    def __init__(self) -> None:
        with IPRoute() as netlink:
            self._links = {
                str(m.get_attr("IFLA_IFNAME")): _Link(
                    index=int(m["index"]),
                    mac=_mac(m.get_attr("IFLA_ADDRESS")),
                    mtu=int(m.get_attr("IFLA_MTU")),
                )
                for m in netlink.get_links()
            }
            self._neighbours: dict[tuple[int, Address], bytes] = {
                (int(m["ifindex"]), ip_address(m.get_attr("NDA_DST"))): _mac(
                    m.get_attr("NDA_LLADDR")
                )
                for m in netlink.get_neighbours()
                if m["state"] & _USABLE and m.get_attr("NDA_LLADDR")
            }

    def hop(self, route: Route) -> Hop:
        """The next hop of a route that forwards. Raises ConfigError for an unknown interface."""
        link = self._links.get(route.interface)
        if link is None:
            raise ConfigError(
                f"route {route.prefix}: there is no interface '{route.interface}'",
                cure=f"there is {', '.join(sorted(self._links))}",
            )
        via = route.via
        mac = via if via is None or isinstance(via, bytes) else self._mac_of(link, via)
        return Hop(ifindex=link.index, mac=mac, source_mac=link.mac, mtu=link.mtu)

    def _mac_of(self, link: _Link, address: Address) -> bytes | None:
        return self._neighbours.get((link.index, address))


def _mac(text: str | None) -> bytes:
    return bytes.fromhex(text.replace(":", "")) if text else bytes(6)
