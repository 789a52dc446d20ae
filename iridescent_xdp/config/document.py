# SPDX-License-Identifier: GPL-2.0-only
"""Reads a TOML file into plain tables; a file that is not TOML gets a sentence and a place."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import Any

from iridescent_xdp.config.problems import KeyPath, Problems

_PLACED = re.compile(r"(?P<what>.*) \(at (?P<place>[^()]*)\)", re.DOTALL)
_TWICE = re.compile(r"Cannot declare (?P<key>\(.*\)) twice", re.DOTALL)
# How tomllib's sentence begins, and what an operator can do about it.
_CURES = (
    ("Cannot overwrite", "the key is set twice, keep one of the two"),
    ("Invalid value", 'text needs double quotes, as in mode = "native"'),
    ("Illegal character '\\n'", 'close the text with a double quote (")'),
    ("Expected '=' after a key", 'write KEY = VALUE, as in mode = "native"'),
    ("Expected ']'", "close the table's name with a bracket, as in [interface.eth0]"),
)


def read_document(problems: Problems) -> dict[str, Any]:
    """The tables of ``problems.file``; when it cannot be read, a problem and no tables."""
    try:
        text = problems.file.read_bytes().decode()
    except OSError as error:
        problems.add((), f"cannot be read: {error.strerror}", "check the path and its permissions")
    except UnicodeDecodeError as error:
        problems.add((), f"is not UTF-8 text at byte {error.start}", "save it as UTF-8")
    else:
        return _parse(text, problems)
    return {}


def _parse(text: str, problems: Problems) -> dict[str, Any]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.add(*_syntax(str(error)))
    except RecursionError:
        problems.add((), "is nested too deeply", "remove the inner brackets")
    except ValueError:
        problems.add((), "holds a number of more than 4,300 digits", "shorten it")
    else:
        if not document:
            problems.add((), "is empty", 'start with [interface.eth0] and function = "filter"')
        return document
    return {}


def _syntax(message: str) -> tuple[KeyPath, str, str]:
    """Key path, what and cure for tomllib's message ``WHAT (at line 3, column 5)``."""
    placed = _PLACED.fullmatch(message)
    what, place = (placed["what"], placed["place"]) if placed else (message, "unknown place")
    twice = _TWICE.fullmatch(what)
    if twice:
        key: KeyPath = ast.literal_eval(twice["key"])
        return key, f"is declared twice, again at {place}", "merge the two tables"
    cure = next((cure for start, cure in _CURES if what.startswith(start)), "see https://toml.io")
    what = what.replace("\n", " ")
    return (), f"{place}: not TOML: {what[:1].lower()}{what[1:]}", cure
