# SPDX-License-Identifier: GPL-2.0-only
"""The tables of a scenario file, checked one by one as those of an operator file are.

Each key is declared once, here: its type, default, range, the words that describe it in an error
(``description``) and a right value (``examples``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, get_args

from pydantic import Field, PlainValidator

from iridescent_xdp.config.model import MAX_SEED, Section
from iridescent_xdp.config.problems import Plain, nearest, show_value
from traffic.mix_shares import Locality
from traffic.mix_spec import BREAK_KINDS, IMIX, MAX_BREAK_SHARE, MAX_PACKETS, MIN_SIZE_BYTES
from traffic.packet_build import MAX_FRAME_BYTES

FunctionName = Literal["filter", "router", "l4lb"]
Tcp = Literal["established", "syn"]
FUNCTIONS: tuple[FunctionName, ...] = get_args(FunctionName)
MAX_PHASES = 256  # after rounds and lists of hot sets
MAX_SECONDS = 86_400.0
MAX_HOT = 9_999
_NOT_NUMBERS = (bool, str)
_SHARE = "a share from 0 to 1"


def parse_hot(value: object) -> tuple[int, ...]:
    """The seeds of hot sets, from one or a list of them. Raises Plain."""
    values = value if isinstance(value, list) else [value]
    for one in values or [None]:
        if isinstance(one, bool) or not isinstance(one, int) or not 0 <= one <= MAX_HOT:
            raise Plain(
                f"must be an integer from 0 to {MAX_HOT}, or a list of them, "
                f"got {show_value(value)}",
                "for example `hot = 3`, or `hot = [1, 2, 3]` for three phases one after the other",
            )
    return tuple(values)


def parse_size(value: object) -> int | tuple[tuple[int, float], ...]:
    """The size of frames, from a number or "imix". Raises Plain."""
    if value == "imix":
        return IMIX
    number = value if isinstance(value, int) and not isinstance(value, bool) else 0
    if MIN_SIZE_BYTES <= number <= MAX_FRAME_BYTES:
        return number
    raise Plain(
        f'must be an integer from {MIN_SIZE_BYTES} to {MAX_FRAME_BYTES}, or "imix", '
        f"got {show_value(value)}",
        "the size of a frame without its FCS: 60 is a 64-byte packet",
    )


def parse_kinds(value: object) -> tuple[str, ...]:
    """What breaking packets are like. Raises Plain."""
    listed = value if isinstance(value, list) and value else [value]
    for kind in listed:
        if kind not in BREAK_KINDS:
            near = nearest(kind, BREAK_KINDS) if isinstance(kind, str) else None
            raise Plain(
                f"must be a list of some of {', '.join(BREAK_KINDS)}, got {show_value(value)}",
                f'did you mean "{near}"?' if near else 'for example ["vlan", "ipv6"]',
            )
    return tuple(listed)


def _shares(*names: str) -> Callable[[object], tuple[float, ...]]:
    def parse(value: object) -> tuple[float, ...]:
        numbers = value if isinstance(value, list) else []
        right = len(numbers) == len(names) and all(
            isinstance(n, int | float) and not isinstance(n, _NOT_NUMBERS) and n >= 0
            for n in numbers
        )
        if not right or abs(sum(numbers) - 1) > 1e-6:
            raise Plain(
                f"must be {len(names)} numbers, none negative, that add up to 1 "
                f"({', '.join(names)}), got {show_value(value)}",
                f"for example [1.0{', 0.0' * (len(names) - 1)}]",
            )
        return tuple(float(n) for n in numbers)

    return parse


class ScenarioSection(Section):
    """The keys at the top of the file."""

    name: str = Field(description="a text in quotes", examples=["steady"])
    description: str = Field(description="a text in quotes", examples=["the same all the time"])
    function: FunctionName = Field(examples=["filter"])
    seed: int = Field(
        default=0, ge=0, le=MAX_SEED, description="an integer from 0 to 2^63 - 1", examples=[7]
    )
    rounds: int = Field(
        default=1,
        ge=1,
        le=MAX_PHASES,
        description=f"an integer from 1 to {MAX_PHASES}",
        examples=[2],
    )


class PhaseSection(Section):
    """One ``[[phase]]``, without its tables."""

    name: str = Field(description="a text in quotes", examples=["morning"])
    seconds: float = Field(
        gt=0,
        le=MAX_SECONDS,
        description=f"a number of seconds greater than 0 and at most {MAX_SECONDS:,.0f}",
        examples=[10],
    )
    rate: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="a share of full speed, greater than 0 and at most 1",
        examples=[0.2],
    )
    hot: Annotated[tuple[int, ...], PlainValidator(parse_hot)] = (0,)


def _share(default: float, most: float = 1) -> float:
    text = _SHARE if most == 1 else f"a share from 0 to {most}"
    made: float = Field(default=default, ge=0, le=most, description=text, examples=[0.1])
    return made


class MixSection(Section):
    """``[mix]`` and ``[phase.mix]``: what is set here differs from the mix around it."""

    flows: int = Field(
        default=1024,
        ge=1,
        le=MAX_PACKETS,
        description=f"an integer from 1 to {MAX_PACKETS}",
        examples=[1024],
    )
    locality: Locality = Field(default="low", examples=["high"])
    size_bytes: Annotated[int | tuple[tuple[int, float], ...], PlainValidator(parse_size)] = 60
    protocol_shares: Annotated[
        tuple[float, ...], PlainValidator(_shares("TCP", "UDP", "ICMP", "other"))
    ] = (0.6, 0.38, 0.02, 0.0)
    ipv6_share: float = _share(0.0)
    vlan_shares: Annotated[
        tuple[float, ...], PlainValidator(_shares("no tag", "one tag", "two tags"))
    ] = (1.0, 0.0, 0.0)
    ip_options_share: float = _share(0.0)
    fragment_share: float = _share(0.0)
    default_share: float = _share(0.0)
    break_share: float = _share(0.0, MAX_BREAK_SHARE)
    break_kinds: Annotated[tuple[str, ...], PlainValidator(parse_kinds)] = BREAK_KINDS
    first: int | None = Field(
        default=None, ge=1, description="an integer greater than 0", examples=[8]
    )
    tcp: Tcp = Field(default="established", examples=["syn"])


class ExtraSection(MixSection):
    """One ``[[phase.extra]]``: more traffic beside the phase's mix."""

    share: float = Field(
        gt=0, lt=1, description="a share greater than 0 and less than 1", examples=[0.3]
    )
    hot: int | None = Field(
        default=None,
        ge=0,
        le=MAX_HOT,
        description=f"an integer from 0 to {MAX_HOT}",
        examples=[3],
    )


# what the suites' traffic is like, where a scenario says nothing else
BASES: dict[FunctionName, dict[str, object]] = {
    "filter": {
        "ipv6_share": 0.1,
        "default_share": 0.8,
        "break_kinds": ("vlan", "qinq", "ip_options", "fragment"),
    },
    "router": {"break_kinds": ("ip_options",)},
    "l4lb": {"break_kinds": ("ip_options",)},
}
