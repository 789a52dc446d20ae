# SPDX-License-Identifier: GPL-2.0-only
"""Prefixes and long lists of them; 100,000 are read in well under a second."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from iridescent_xdp.config.problems import KeyPath, Plain, Problems, show_file, show_value

Network = IPv4Network | IPv6Network
IPV4_BITS, IPV6_BITS = 32, 128
# Address bits (32 or 128), address, prefix length: cheap to make and to hash.
PrefixKey = tuple[int, int, int]

_SHOWN_MISTAKES = 5
_EXAMPLES = 'write it like "192.0.2.0/24" or "2001:db8::/32"'


@dataclass(frozen=True, kw_only=True)
class PrefixSource:
    """Where a list of prefixes stands: an array at ``at``, or the lines of ``file``."""

    at: KeyPath
    file: Path | None = None

    def place(self, index: int) -> str:
        """Entry ``index`` (counted from 0 in an array, from 1 in a file) in words."""
        return f"line {index} of {show_file(self.file)}" if self.file else f"{self.at[-1]}[{index}]"

    def report(self, index: int, what: str, cure: str, problems: Problems) -> None:
        """Note that entry ``index`` is wrong."""
        if self.file:
            problems.add(self.at, f"{self.place(index)}: {what}", cure)
        else:
            problems.add((*self.at, index), what, cure)


PrefixPlaces = dict[PrefixKey, tuple[PrefixSource, int]]


def parse_prefix(value: object) -> Network:
    """The network that a prefix or plain address names. Raises Plain; host bits are a mistake."""
    return to_network(prefix_key(value))


def to_network(key: PrefixKey) -> Network:
    """The network behind a key."""
    bits, number, length = key
    return IPv4Network((number, length)) if bits == IPV4_BITS else IPv6Network((number, length))


def prefix_key(value: object) -> PrefixKey:
    """A prefix or plain address as a key. Raises Plain with the cure."""
    if not isinstance(value, str):
        raise Plain(f"must be a prefix in quotes, got {show_value(value)}", _EXAMPLES)
    address, slash, size = value.partition("/")
    six = ":" in address
    bits = IPV6_BITS if six else IPV4_BITS
    try:
        packed = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, address)
    except (OSError, ValueError):
        raise _not_an_address(value) from None
    number = int.from_bytes(packed, "big")
    length = _length(value, size, bits) if slash else bits
    if number & ((1 << (bits - length)) - 1):
        network = ipaddress.ip_network(value, strict=False)
        raise Plain(
            f"has address bits set beyond the prefix length, got {show_value(value)}",
            f'write "{network}"',
        )
    return bits, number, length


def _length(value: str, size: str, bits: int) -> int:
    if size.isascii() and size.isdecimal() and int(size[:4]) <= bits:
        return int(size[:4])
    cure = f'write it like "{value.partition("/")[0]}/{bits}"'
    with contextlib.suppress(ValueError):
        # A netmask, "10.0.0.0/255.0.0.0": tell the same network in the right spelling.
        cure = f'write "{ipaddress.ip_network(value, strict=False)}"'
    raise Plain(
        f"must have a prefix length from 0 to {bits} after the '/', got {show_value(value)}", cure
    )


def _not_an_address(value: str) -> Plain:
    cure = "leave the key out to match every address" if value in ("any", "*", "") else _EXAMPLES
    return Plain(f"is not an IPv4 or IPv6 prefix, got {show_value(value)}", cure)


def read_prefixes(
    source: PrefixSource,
    entries: Iterable[tuple[int, object]],
    into: PrefixPlaces,
    problems: Problems,
) -> None:
    """Add the ``entries`` (index, text) to ``into``; the first few mistakes are told one by one."""
    mistakes = 0
    for index, text in entries:
        try:
            key = prefix_key(text)
            if key in into:
                earlier, at = into[key]
                raise Plain(
                    f"is there twice, got {show_value(text)} as in {earlier.place(at)}",
                    "remove one of the two",
                )
        except Plain as error:
            mistakes += 1
            if mistakes <= _SHOWN_MISTAKES:
                source.report(index, error.what, error.cure, problems)
        else:
            into[key] = (source, index)
    if mistakes > _SHOWN_MISTAKES:
        more = mistakes - _SHOWN_MISTAKES
        problems.add(source.at, f"has {more:,} more wrong entries", "mend them in the same way")


def lines_of(source: PrefixSource, problems: Problems) -> list[tuple[int, object]]:
    """The numbered entries of a list file: one prefix per line, ``#`` starts a comment."""
    if source.file is None:
        return []
    try:
        lines = source.file.read_bytes().decode().split("\n")
    except OSError as error:
        what = f"cannot read {show_file(source.file)}: {error.strerror}"
        problems.add(source.at, what, "a relative path starts at the configuration file")
        return []
    except UnicodeDecodeError as error:
        what = f"{show_file(source.file)} is not UTF-8 text at byte {error.start}"
        problems.add(source.at, what, "save it as UTF-8")
        return []
    texts = ((number, line.partition("#")[0].strip()) for number, line in enumerate(lines, 1))
    return [(number, text) for number, text in texts if text]
