# SPDX-License-Identifier: GPL-2.0-only
"""Finds representations, and gives SPEC_CUSTOM points their values.

A representation is a Python file that defines ``REPRESENTATION``: in this package, or in the
folder that the environment variable IRIDESCENT_REPRESENTATIONS names. The folder's files run with
the rights of whoever runs ``iridescent``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType

from iridescent_xdp.decision.ir_table import IrTable
from iridescent_xdp.decision.nodes import If, Least, Result
from iridescent_xdp.errors import ConfigError, ToolchainError
from iridescent_xdp.points import Point
from iridescent_xdp.representations.base import Representation, Table
from iridescent_xdp.template import Template
from iridescent_xdp.toolchain.base import Code
from iridescent_xdp.toolchain.tables import key_layout
from iridescent_xdp.variant import Variant

FOLDER_VARIABLE = "IRIDESCENT_REPRESENTATIONS"
_CUSTOM = "__custom__"  # POINT__custom__TABLE: how many ways the template itself has
_NOT_ONE = frozenset({"__init__", "base", "registry"})


@dataclass(frozen=True, kw_only=True)
class Custom:
    """A SPEC_CUSTOM point: the ``table`` it is about, and how many ``own`` ways there are."""

    table: str
    own: int


def custom_of(template: Template, point: str) -> Custom | None:
    """What SPEC_CUSTOM declared beside a point; None for any other point."""
    start = point + _CUSTOM
    for name, own in template.constants.items():
        if name.startswith(start):
            return Custom(table=name.removeprefix(start), own=own)
    return None


def with_representations(template: Template) -> Template:
    """The template, its SPEC_CUSTOM points with a value for each representation there is."""
    points = tuple(_extended(template, point) for point in template.points)
    return template if points == template.points else replace(template, points=points)


def _extended(template: Template, point: Point) -> Point:
    custom = custom_of(template, point.name)
    if custom is None:
        return point
    names = [r.name for r in representations_of(template, point.name)]
    labels = (*point.labels[: custom.own], *names)
    if len(set(labels)) < len(labels):
        raise ConfigError(f"point '{point.name}' has a value twice: {', '.join(labels)}")
    return replace(point, labels=labels, domain=tuple(range(len(labels))))


def representations_of(template: Template, point: str) -> list[Representation]:
    """Those that are for a point, in the order of its values."""
    wanted = f"{template.name}.{point}"
    return [r for r in everything() if wanted in r.points]


def chosen(template: Template, point: str, value: int) -> Representation | None:
    """The representation behind a point's value; None for the template's own ways."""
    custom = custom_of(template, point)
    if custom is None or value < custom.own:
        return None
    return representations_of(template, point)[value - custom.own]


def table_of(template: Template, point: str, entries: object) -> Table:
    """The table of a SPEC_CUSTOM point, to be handed to a representation."""
    custom = custom_of(template, point)
    assert custom is not None, point
    key = next(table.key for table in template.tables if table.name == custom.table)
    layout = key_layout(template, key)
    return Table(function=custom.table, layout=layout, entries=entries)


def digest_of(representation: Representation) -> str:
    """Its name and what all files say, in short; part of an object's digest. All, because they
    may use each other."""
    told = [representation.name.encode(), *(file.read_bytes() for file in _files())]
    return hashlib.sha256(b"\0".join(told)).hexdigest()


def llvm_only(template: Template, point: str) -> tuple[str, ...]:
    """The values of a point that only the LLVM toolchain can fold."""
    if custom_of(template, point) is None:
        return ()
    return tuple(r.name for r in representations_of(template, point) if r.llvm_only)


def only_llvm(template: Template, variant: Variant) -> str | None:
    """Why no other toolchain than LLVM can build a variant; None when others can."""
    for point in template.points:
        representation = chosen(template, point.name, variant[point.name])
        if representation is not None and representation.llvm_only:
            return (
                f"{point.name}={representation.name} is written in LLVM IR, "
                f"which only the LLVM toolchain can fold"
            )
    return None


def build(representation: Representation, table: Table) -> Code:
    """The code of a table. Raises ToolchainError for whatever is wrong with it."""
    told = f"representation '{representation.name}' of table '{table.function}'"
    try:
        code = representation.build(table)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError,
            TypeError, ValueError) as error:  # fmt: skip
        raise ToolchainError(f"{told} fails: {type(error).__name__}: {error}") from error
    if isinstance(code, IrTable) and not representation.llvm_only:
        raise ToolchainError(f"{told} gives IR", cure="say llvm_only = True")
    if not isinstance(code, If | Result | Least | IrTable):
        raise ToolchainError(f"{told} gives a {type(code).__name__}, neither a graph nor IR")
    return code


def everything() -> list[Representation]:
    """All representations, by name. Raises ConfigError for a file that is none."""
    return list(_load(tuple((str(f), f.stat().st_mtime_ns) for f in _files())))


def _files() -> list[Path]:
    return sorted(f for folder in _folders() for f in folder.glob("*.py"))


def _folders() -> Iterator[Path]:
    yield Path(__file__).resolve().parent
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        folder = Path(named)
        if not folder.is_dir():
            raise ConfigError(
                f"{FOLDER_VARIABLE} names no folder: {named}", cure="correct or unset it"
            )
        yield folder


@lru_cache(maxsize=8)
def _load(files: tuple[tuple[str, int], ...]) -> tuple[Representation, ...]:
    found: dict[str, tuple[Representation, str]] = {}
    for file, _ in files:
        if Path(file).stem in _NOT_ONE:
            continue
        made = getattr(_module(Path(file)), "REPRESENTATION", None)
        if not isinstance(made, Representation):
            raise ConfigError(
                f"{file} is no representation",
                cure="define REPRESENTATION, an instance of a subclass of Representation",
            )
        _check(made, file)
        if made.name in found:
            raise ConfigError(
                f"a representation's name is used once, got '{made.name}' in "
                f"{found[made.name][1]} and {file}"
            )
        found[made.name] = (made, file)
    return tuple(made for _, (made, _) in sorted(found.items()))


def _check(made: Representation, file: str) -> None:
    name = getattr(made, "name", None)
    if not isinstance(name, str) or not name.isidentifier() or name != name.lower():
        raise ConfigError(
            f"{file}: a representation's name is an identifier in lower case, got {name!r}"
        )
    points: frozenset[str] = getattr(made, "points", frozenset())
    if not points or not all(p.count(".") == 1 for p in points):
        raise ConfigError(f"{file}: points must name template.point, got {sorted(points)}")


def _module(file: Path) -> ModuleType:
    digest = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"iridescent_representation_{digest}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError, ArithmeticError, LookupError, TypeError, ValueError,
            AttributeError, NameError, OSError) as error:  # fmt: skip
        raise ConfigError(f"{file} does not load: {type(error).__name__}: {error}") from error
    return module
