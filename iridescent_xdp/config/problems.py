# SPDX-License-Identifier: GPL-2.0-only
"""What is wrong in an operator file: key paths, plain sentences, and the error that holds them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from iridescent_xdp.errors import ConfigError

KeyPath = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_CHARACTERS = 60
_SHOWN_BITS = 128
_SHOWN_ITEMS = 4


class Plain(ValueError):
    """One value breaks one rule: ``what`` continues "KEY: …", ``cure`` says how to mend it."""

    def __init__(self, what: str, cure: str) -> None:
        self.what = what
        self.cure = cure
        super().__init__(f"{what}; {cure}")


class ConfigFileError(ConfigError):
    """An operator file breaks at least one rule.

    ``problems`` has one line for each, ``FILE: key.path: what is wrong, got VALUE; cure``;
    ``str()`` is the first of them and says how many more there are.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        more = len(self.problems) - 1
        tail = f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
        super().__init__(f"{self.problems[0]}{tail}")


class Problems:
    """Collects everything that is wrong in one file, so that one run tells it all."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: list[str] = []

    def add(self, at: KeyPath, what: str, cure: str) -> None:
        """Note that the value at ``at`` breaks a rule; an empty ``at`` means the whole file."""
        where = f"{show_path(at)}: " if at else ""
        self.lines.append(f"{show_file(self.file)}: {where}{what}; {cure}")

    def raise_if_any(self) -> None:
        """Raise ConfigFileError when anything was noted."""
        if self.lines:
            raise ConfigFileError(self.lines)


def show_path(at: KeyPath) -> str:
    """A key path as in the file: ``interface."eth0.7".rules[3].source``."""
    shown = ""
    for part in at:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            shown += ("." if shown else "") + (part if _BARE_KEY.fullmatch(part) else quote(part))
    return shown


def show_file(file: Path) -> str:
    """A file name on one line."""
    return str(file) if str(file).isprintable() else quote(str(file))


def show_value(value: object) -> str:
    """A value as TOML spells it, on one line and shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        shown = [show_value(item) for item in value[:_SHOWN_ITEMS]]
        return f"[{', '.join(shown + ['…'] * (len(value) > _SHOWN_ITEMS))}]"
    return quote(value) if isinstance(value, str) else str(value)


def quote(text: str) -> str:
    """A string in double quotes on one line, shortened; what cannot be printed is escaped."""
    short = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
    return json.dumps(short, ensure_ascii=not short.isprintable())


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that ``word`` probably meant, if one is close enough."""
    near = difflib.get_close_matches(word.lower(), list(choices), n=1)
    return near[0] if near else None
