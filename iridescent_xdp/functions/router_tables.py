# SPDX-License-Identifier: GPL-2.0-only
"""Routes as an operator or the kernel gives them: inert, and checked when they are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal, get_args

from iridescent_xdp.errors import ConfigError

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
Kind = Literal["forward", "local", "blackhole"]
MAC_BYTES = 6


@dataclass(frozen=True, kw_only=True)
class Hop:
    """Where packets go: ``mac`` is None while the neighbour is unknown; ``mtu`` in bytes."""

    ifindex: int
    mac: bytes | None
    source_mac: bytes
    mtu: int


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where packets to ``prefix`` go.

    ``via`` is the next hop: its MAC address (six bytes), or its IP address, which the kernel's
    neighbour table resolves when the route is made live; None: packets go to the kernel's stack
    until a neighbour is known. ``hop`` is what that comes to, when it is known already. Raises
    ConfigError when the fields do not fit together.
    """

    prefix: Network
    kind: Kind = "forward"
    interface: str = ""
    via: bytes | Address | None = None
    hop: Hop | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if (self.kind == "forward") != bool(self.interface):
            rule = "needs an" if self.kind == "forward" else "has no"
            raise ConfigError(
                f"a route of kind '{self.kind}' {rule} interface, got {self.interface!r}"
            )
        if isinstance(self.via, bytes) and len(self.via) != MAC_BYTES:
            raise ConfigError(f"a MAC address has {MAC_BYTES} bytes, got {self.via!r}")
        if self.kind != "forward" and self.via is not None:
            via = self.via.hex(":") if isinstance(self.via, bytes) else str(self.via)
            raise ConfigError(f"a route of kind '{self.kind}' has no next hop, got {via!r}")


@dataclass(frozen=True, kw_only=True)
class RouterTables:
    """All routes, one for each prefix; or those of the kernel, followed as they change.

    ``ingress`` is the interface that the router is on; packets that the kernel would send back by
    it are left to the kernel. ``left`` says, for people, what the kernel forwards and these routes
    leave to it; empty when there is no such thing.
    """

    routes: tuple[Route, ...] = field(default=(), repr=False)
    from_kernel: bool = False
    ingress: str = ""
    left: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SetRoute:
    """A change: this route instead of the one to the same prefix, if there is one."""

    route: Route


@dataclass(frozen=True, kw_only=True)
class DeleteRoute:
    """A change: no route to ``prefix`` any more; it must be there."""

    prefix: Network


@dataclass(frozen=True, kw_only=True)
class LeftToKernel:
    """A change: what the kernel forwards and its mirror leaves to it is this now, for people."""

    reasons: tuple[str, ...]
