# SPDX-License-Identifier: GPL-2.0-only
"""Traffic files: a packet mix as TOML, for every generator; and the mixes that have names.

The keys are the members of ``traffic.mix_spec.Mix``; its ``hits`` are ``rules``, written as the
filter has them in an operator file::

    flows = 256
    protocol_shares = { udp = 1 }
    size_bytes = [[60, 0.5], [1514, 0.5]]
    ipv6_share = 0.25
    [[rules]]
    protocol = "udp"
    destination_port = 53
    action = "drop"
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from iridescent_xdp.config.check import KeyHints, checked
from iridescent_xdp.config.document import read_document
from iridescent_xdp.config.model import Section
from iridescent_xdp.config.problems import Problems
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.filter_config import read_tables
from traffic.mix_shares import Locality
from traffic.mix_spec import BREAK_KINDS, IMIX, BreakKind, Mix

SUFFIX = ".toml"
NAMED: Mapping[str, Mix] = {
    mix.name: mix
    for mix in (
        Mix(name="plain"),
        Mix(name="high", locality="high"),
        Mix(name="low", locality="low"),
        Mix(name="imix", size_bytes=IMIX),
        Mix(name="ipv6", ipv6_share=0.5),
        Mix(name="tagged", vlan_shares=(0.2, 0.6, 0.2)),
        Mix(
            name="mixed",
            ipv6_share=0.2,
            protocol_shares=(0.5, 0.3, 0.1, 0.1),
            vlan_shares=(0.8, 0.15, 0.05),
            ip_options_share=0.02,
            break_share=0.05,
        ),
        Mix(name="udp", protocol_shares=(0.0, 1.0, 0.0, 0.0)),
    )
}
_PROTOCOLS = ("tcp", "udp", "icmp", "other")


class _Protocols(Section):
    tcp: float = Field(default=0, description="a share")
    udp: float = Field(default=0, description="a share")
    icmp: float = Field(default=0, description="a share")
    other: float = Field(default=0, description="a share")


class _MixSection(Section):
    """A traffic file; ranges are checked by Mix itself."""

    flows: int = Field(default=1024, description="a number", examples=[256])
    locality: Locality = Field(default="none", examples=["high"])
    size_bytes: int | list[tuple[int, float]] = Field(
        default=60, description="a size, or pairs of size and share", examples=[60]
    )
    protocol_shares: _Protocols = Field(
        default=_Protocols(tcp=0.7, udp=0.3),
        description="a table of shares: tcp, udp, icmp, other",
        examples=[{"udp": 1.0}],
    )
    ipv6_share: float = Field(default=0, description="a share", examples=[0.25])
    vlan_shares: list[float] = Field(
        default=[1, 0, 0], description="shares of 0, 1 and 2 tags", examples=[[0.5, 0.5, 0]]
    )
    ip_options_share: float = Field(default=0, description="a share", examples=[0.02])
    fragment_share: float = Field(default=0, description="a share", examples=[0.02])
    default_share: float = Field(default=0, description="a share", examples=[0.5])
    break_share: float = Field(default=0, description="a share", examples=[0.05])
    break_kinds: tuple[BreakKind, ...] = Field(
        default=BREAK_KINDS, description=f"some of {', '.join(BREAK_KINDS)}", examples=[["vlan"]]
    )
    seed: int = Field(default=0, description="a number", examples=[7])


def mix_of(text: str) -> Mix:
    """A mix by its name, or from the traffic file of that path. Raises ConfigError."""
    if text in NAMED:
        return NAMED[text]
    if text.endswith(SUFFIX):
        return read_mix(Path(text))
    raise ConfigError(
        f"there is no mix '{text}'",
        cure=f"give one of {', '.join(NAMED)}, or the path of a traffic file (*{SUFFIX})",
    )


def read_mix(path: Path) -> Mix:
    """Read a traffic file; the mix is called like it.

    Raises ConfigFileError with everything that is wrong, TrafficError for values out of range.
    """
    problems = Problems(path)
    document = _listed(read_document(problems))
    problems.raise_if_any()
    rules = read_tables({"rules": document.pop("rules", [])}, (), problems).rules
    section = checked(_MixSection, document, (), problems, KeyHints(known=("rules",)))
    problems.raise_if_any()
    assert section is not None
    values = {name: getattr(section, name) for name in type(section).model_fields}
    size = section.size_bytes
    values |= {
        "protocol_shares": tuple(getattr(section.protocol_shares, name) for name in _PROTOCOLS),
        "vlan_shares": tuple(section.vlan_shares),
        "size_bytes": size if isinstance(size, int) else tuple(size),
    }
    return Mix(name=path.stem, hits=rules, **values)


def _listed(document: dict[str, Any]) -> dict[str, Any]:
    """TOML's lists as tuples where the strict model wants those."""
    changed = dict(document)
    if isinstance(changed.get("break_kinds"), list):
        changed["break_kinds"] = tuple(changed["break_kinds"])
    sizes = changed.get("size_bytes")
    if isinstance(sizes, list):
        changed["size_bytes"] = [tuple(pair) if isinstance(pair, list) else pair for pair in sizes]
    return changed
