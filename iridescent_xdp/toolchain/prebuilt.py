# SPDX-License-Identifier: GPL-2.0-only
"""What a package carries so that a host needs no compiler: bitcode and descriptions.

``scripts/hatch_build.py`` makes them when a wheel is built, with clang and libclang. Per template
there is ``NAME.bc``, the bitcode, and ``NAME.json``, the description, which names the digest of
the sources and of the bitcode. They are used only for a template whose sources (headers
included) have that digest: an edited template is never run as what it was before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from iridescent_xdp.errors import MissingFeatureError
from iridescent_xdp.template import Template, bpf_directory, source_digest
from iridescent_xdp.template_json import from_json, to_json

FORMAT = 1  # of these files; others are not read


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The names of the templates that the package carries, by whether they can be used."""

    fresh: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    compiler: str = ""


def directory() -> Path:
    """Where a wheel has them. A source tree has none: it is where templates are edited."""
    return Path(__file__).resolve().parent.parent / "prebuilt"


def write(folder: Path, template: Template, bitcode: bytes, compiler: str) -> None:
    """Keep a template; ``compiler`` is the version of what made the bitcode."""
    facts = {
        "format": FORMAT,
        "source": source_digest(template.path),
        "bitcode": hashlib.sha256(bitcode).hexdigest(),
        "compiler": compiler,
        "template": to_json(template),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{template.name}.bc").write_bytes(bitcode)
    (folder / f"{template.name}.json").write_text(json.dumps(facts, separators=(",", ":")))


def description(path: Path) -> Template | None:
    """The template at ``path``, when it is as it was when the package was built; else None."""
    facts = _fresh(path)
    return None if facts is None else from_json(facts["template"], path)


def bitcode(path: Path) -> bytes | None:
    """Its bitcode, on the same condition."""
    facts = _fresh(path)
    return None if facts is None else (directory() / f"{_name(path)}.bc").read_bytes()


def inventory() -> Inventory:
    """What there is for the templates of the package."""
    found: dict[bool, list[str]] = {True: [], False: []}
    compilers = set()
    for path in sorted(bpf_directory().glob("*.bpf.c")):
        facts = _facts(_name(path))
        if facts is not None:
            found[_fresh(path) is not None].append(_name(path))
            compilers.add(str(facts["compiler"]))
    return Inventory(
        fresh=tuple(found[True]), stale=tuple(found[False]), compiler=", ".join(sorted(compilers))
    )


def missing(path: Path, tool: str, cure: str) -> MissingFeatureError:
    """The error for a template that needs ``tool`` on a host that lacks it, with the reason."""
    if _facts(_name(path)) is None:
        reason = f"the package does not carry {path.name} ready to use"
    else:
        reason = f"{path}, or a header of it, is not as it was when the package was built"
        cure = f"{cure}; or install the package again"
    return MissingFeatureError(f"{reason}, and there is no {tool} to read it anew", cure=cure)


def _name(path: Path) -> str:
    return path.name.removesuffix(".c").removesuffix(".bpf")


def _fresh(path: Path) -> Mapping[str, Any] | None:
    facts = _facts(_name(path))
    return facts if facts is not None and facts["source"] == source_digest(path) else None


def _facts(name: str) -> Mapping[str, Any] | None:
    """What is written beside a template's bitcode; None when either is missing or damaged."""
    files = [directory() / f"{name}.{ending}" for ending in ("json", "bc")]
    try:
        stamps = tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in files)
    except OSError:
        return None
    return _read(stamps)


@lru_cache(maxsize=64)
def _read(stamps: tuple[tuple[str, int, int], ...]) -> Mapping[str, Any] | None:
    (described, _, _), (code, _, _) = stamps
    try:
        facts = json.loads(Path(described).read_bytes())
    except ValueError:
        return None
    whole = isinstance(facts, dict) and {"source", "bitcode", "compiler", "template"} <= set(facts)
    if not whole or facts.get("format") != FORMAT:
        return None
    seal = hashlib.sha256(Path(code).read_bytes()).hexdigest()
    return facts if facts["bitcode"] == seal else None
