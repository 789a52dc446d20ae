# SPDX-License-Identifier: GPL-2.0-only
"""Which functions there are, and who reads the tables that only one of them has.

A function NAME is a template ``NAME.bpf.c``. If the module ``iridescent_xdp.functions.NAME_config``
exists, its ``TABLES`` reads the function's own keys of ``[interface.X]`` (the filter's rules, for
instance); a function without such a module has no keys of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import iridescent_xdp.functions
from iridescent_xdp.config.problems import KeyPath, Problems
from iridescent_xdp.template import bpf_directory

TEMPLATE_SUFFIX = ".bpf.c"
_COMPANION_SUFFIX = "_config"
# The programs around the fast paths are templates too, but nothing in them can be searched.
_SEARCHED_POINT = re.compile(r"^SPEC_(ASSUME\(|[A-Z]+\((tuning|narrowing)\b)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class TableReader:
    """Reads the ``keys`` of ``[interface.X]`` that belong to one function.

    ``read`` gets those of them that the file sets, the key path of the interface, and where to
    report problems; paths in the file are relative to ``problems.file``. It must not raise.
    ``derived_points`` names policy points whose values follow from the tables, so that the
    operator cannot set them.
    """

    keys: tuple[str, ...]
    derived_points: tuple[str, ...] = ()
    read: Callable[[Mapping[str, object], KeyPath, Problems], object]


def function_of(function: str) -> str:
    """The bare name of a function that is given by name or by the path of its template."""
    return Path(function).name.removesuffix(TEMPLATE_SUFFIX)


def known_functions() -> tuple[str, ...]:
    """Every function that can be given by its name: templates with a point to search."""
    return tuple(
        function_of(file.name)
        for file in sorted(bpf_directory().glob(f"*{TEMPLATE_SUFFIX}"))
        if _SEARCHED_POINT.search(file.read_text(encoding="utf-8"))
    )


def table_reader(function: str) -> TableReader | None:
    """Who reads the own tables of ``function`` (name or path), None if it has none."""
    name = function_of(function)
    if name not in _companions():
        return None
    package = iridescent_xdp.functions.__name__
    reader = importlib.import_module(f"{package}.{name}{_COMPANION_SUFFIX}").TABLES
    if not isinstance(reader, TableReader):
        raise TypeError(f"TABLES of function '{name}' must be a TableReader, got {reader!r}")
    return reader


def table_keys() -> frozenset[str]:
    """The keys of all functions' own tables."""
    readers = [table_reader(name) for name in _companions()]
    return frozenset(key for reader in readers if reader for key in reader.keys)


def _companions() -> list[str]:
    modules = pkgutil.iter_modules(iridescent_xdp.functions.__path__)
    names = [module.name for module in modules if module.name.endswith(_COMPANION_SUFFIX)]
    return [name.removesuffix(_COMPANION_SUFFIX) for name in names]
