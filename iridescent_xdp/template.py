# SPDX-License-Identifier: GPL-2.0-only
"""A template's declarations: points, tables, maps, struct layouts.

Nothing that C declares is repeated in Python. They come from the description that the package
carries, if it was made from this very source, else from the source itself, by libclang.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from iridescent_xdp.errors import TemplateError
from iridescent_xdp.points import Point

MAP_TYPES = {
    "HASH": 1,
    "ARRAY": 2,
    "PROG_ARRAY": 3,
    "PERCPU_HASH": 5,
    "PERCPU_ARRAY": 6,
    "LRU_HASH": 9,
    "LRU_PERCPU_HASH": 10,
    "LPM_TRIE": 11,
    "DEVMAP": 14,
}
LIBCLANG_CURE = "pip install libclang==18.1.1"


@dataclass(frozen=True, kw_only=True)
class MapSpec:
    """A map as the template declares it; sizes in bytes."""

    name: str
    map_type: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int
    doc: str
    value_type: str
    index: int

    @property
    def per_cpu(self) -> bool:
        """Whether an entry has one value per possible CPU."""
        return self.map_type in (5, 6, 10)


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """A function that is generated from a control-plane table; ``key`` names its struct.

    ``hot``: it knows the keys only that packets look up most, and they are sampled.
    """

    name: str
    key: str
    doc: str
    hot: bool = False


@dataclass(frozen=True, kw_only=True)
class Template:
    """One fast path, as declared. Inert: reading it again gives the same on every host."""

    name: str
    path: Path
    points: tuple[Point, ...]
    tables: tuple[TableSpec, ...]
    maps: tuple[MapSpec, ...]
    structs: Mapping[str, np.dtype[np.void]] = field(repr=False, hash=False)
    constants: Mapping[str, int] = field(repr=False, hash=False)

    def point(self, name: str) -> Point:
        """The point called ``name``; TemplateError when there is none."""
        for point in self.points:
            if point.name == name:
                return point
        raise TemplateError(
            f"template '{self.name}' has no point '{name}'",
            cure="it has " + ", ".join(p.name for p in self.points),
        )

    def map(self, name: str) -> MapSpec:
        """The map called ``name``; TemplateError when there is none."""
        for spec in self.maps:
            if spec.name == name:
                return spec
        raise TemplateError(f"template '{self.name}' has no map '{name}'")

    @property
    def space_size(self) -> int:
        """How many variants the searched points span (observed values not counted)."""
        size = 1
        for point in self.points:
            size *= len(point.domain) if point.searched else 1
        return size


def bpf_directory() -> Path:
    """Where the templates that come with the package are."""
    here = Path(__file__).resolve().parent
    inside = here / "bpf"
    return inside if inside.is_dir() else here.parent / "bpf"


def find_template(name: str) -> Path:
    """The file of a template, from its function name or a path.

    Raises TemplateError naming what there is.
    """
    shipped = bpf_directory()
    path = Path(name) if name.endswith(".c") else shipped / f"{name}.bpf.c"
    if path.is_file():
        return path
    names = sorted(p.name.removesuffix(".bpf.c") for p in shipped.glob("*.bpf.c"))
    raise TemplateError(
        f"no template '{name}'", cure=f"give a path to a .bpf.c file or one of: {', '.join(names)}"
    )


def include_flags(path: Path) -> list[str]:
    """-I flags for a template: its own folder, the template language, uapi headers."""
    folders = [path.resolve().parent, bpf_directory() / "include"]
    system = Path("/usr/include") / f"{os.uname().machine}-linux-gnu"
    return [flag for folder in (*folders, system) for flag in ("-I", str(folder))]


def source_digest(path: Path) -> str:
    """The digest of a template and of every header it can see."""
    headers = sorted({*path.parent.glob("*.h"), *(bpf_directory() / "include").glob("*.h")})
    stamps = tuple((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in (path, *headers))
    return _digest(stamps)


@lru_cache(maxsize=64)
def _digest(stamps: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _, _ in stamps:
        digest.update(Path(name).read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=32)
def read_template(path: Path) -> Template:
    """What ``path`` declares. Raises TemplateError with file, line and the rule that is broken,
    and MissingFeatureError when there is neither a description of it nor libclang."""
    from iridescent_xdp.representations.registry import with_representations
    from iridescent_xdp.toolchain.prebuilt import description  # which needs this module's types

    if not path.is_file():
        raise TemplateError(f"cannot read template {path}", cure="check the path")
    return with_representations(description(path) or _from_source(path))


def _from_source(path: Path) -> Template:
    from iridescent_xdp.toolchain.prebuilt import missing

    try:
        from iridescent_xdp.template_source import parse_template
    except ImportError as error:
        raise missing(path, "libclang", LIBCLANG_CURE) from error
    return parse_template(path)
