# SPDX-License-Identifier: GPL-2.0-only
"""Kernel headers for bcc: found, or merged from Debian's split packages.

bcc wants one tree named by ``BCC_KERNEL_SOURCE``. Debian splits it into ``linux-headers-*-common``
(what is the same for all flavours) and ``linux-headers-*-<flavour>`` (what is generated), so
the two are merged into one tree of symbolic links. The tree lives in the virtual environment
(``<prefix>/kernel-headers/<release>``), or in the object cache where that cannot be written.
The headers need not be those of the running kernel: templates include only uapi headers.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from iridescent_xdp.errors import IridescentError, MissingFeatureError
from iridescent_xdp.toolchain.cache import cache_directory

_MODULES, _SOURCES = Path("/lib/modules"), Path("/usr/src")
_SHARED, _GENERATED = Path("include/linux/kconfig.h"), Path("include/generated/autoconf.h")
_PARTS = ("include", "arch")
_INCLUDE_LINE = re.compile(r"^include\s+(\S+)/Makefile\s*$", re.MULTILINE)


def kernel_headers(modules: Path = _MODULES, sources: Path = _SOURCES) -> Path:
    """One complete header tree for ``BCC_KERNEL_SOURCE``.

    Looks at that variable, then for the running kernel's headers, then for the newest release
    that is installed. Raises MissingFeatureError with the cure.
    """
    chosen = os.environ.get("BCC_KERNEL_SOURCE")
    if chosen:
        if not _complete(Path(chosen)):
            raise MissingFeatureError(
                f"BCC_KERNEL_SOURCE={chosen} has no {_missing(Path(chosen))}",
                cure="unset it, or name a tree with both",
            )
        return Path(chosen)
    for generated in header_trees(modules, sources):
        if _complete(generated):
            return generated
        shared = _shared_part(generated)
        if shared is not None:
            return _merged(shared, generated)
    package = f"linux-headers-{_debian_flavour()}"
    raise MissingFeatureError(
        "no kernel headers that bcc can compile against", cure=f"apt-get install {package}"
    )


def header_trees(modules: Path, sources: Path) -> list[Path]:
    """Trees with a kernel's generated headers: the running kernel's, then newest first."""
    running = modules / platform.release() / "build"
    others = sorted(sources.glob("linux-headers-*"), key=_release_order, reverse=True)
    return [tree for tree in (running, *others) if (tree / _GENERATED).is_file()]


def merge_trees(parts: Iterable[Path], target: Path) -> None:
    """Make ``target`` a folder that shows all ``parts`` at once, with few symbolic links.

    A name in only one part is linked as it is; folders of the same name are merged; of files
    of the same name the later part's is shown.
    """
    target.mkdir(parents=True, exist_ok=True)
    owners: dict[str, list[Path]] = {}
    for part in parts:
        for entry in part.iterdir():
            owners.setdefault(entry.name, []).append(entry)
    for name, entries in owners.items():
        folders = [entry for entry in entries if entry.is_dir()]
        if len(folders) > 1:
            merge_trees(folders, target / name)
        else:
            (target / name).symlink_to(entries[-1].resolve())


def _merged(shared: Path, generated: Path) -> Path:
    """The merged tree of two parts: made once, then found again."""
    name = generated.resolve().name.removeprefix("linux-headers-")
    places = [Path(sys.prefix) / "kernel-headers" / name, cache_directory() / "headers" / name]
    if sys.prefix == sys.base_prefix:
        places.pop(0)  # no virtual environment: nothing is written into the system's Python
    for place in places:
        if _complete(place):
            return place
    refusal = ""
    for place in places:
        try:
            _build(shared, generated, place)
        except OSError as error:
            refusal = str(error)
        else:
            return place
    raise MissingFeatureError(
        f"the merged kernel headers cannot be written: {refusal}",
        cure="run 'make setup', or set IRIDESCENT_CACHE to a folder that can be written",
    )


def _build(shared: Path, generated: Path, place: Path) -> None:
    """Merge beside ``place``, then rename, so that nobody sees half a tree."""
    place.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=place.parent, prefix=".merging-"))
    scratch.chmod(0o755)
    try:
        for part in _PARTS:
            merge_trees([tree / part for tree in (shared, generated)], scratch / part)
        if not _complete(scratch):
            raise FileNotFoundError(f"{shared} and {generated} lack {_missing(scratch)}")
        if place.exists() and not _complete(place):  # its packages were removed or replaced
            shutil.rmtree(place)
        if not place.exists():
            scratch.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _shared_part(generated: Path) -> Path | None:
    """The common tree: the kernel's ``source`` link, else what the flavour's Makefile includes."""
    candidates = [generated.parent / "source"]
    makefile = generated / "Makefile"
    if makefile.is_file():
        found = _INCLUDE_LINE.search(makefile.read_text(errors="replace"))
        candidates += [Path(found[1])] if found else []
    return next((tree for tree in candidates if (tree / _SHARED).is_file()), None)


def _complete(tree: Path) -> bool:
    return (tree / _SHARED).is_file() and (tree / _GENERATED).is_file()


def _missing(tree: Path) -> str:
    return " and ".join(str(p) for p in (_SHARED, _GENERATED) if not (tree / p).is_file())


def _release_order(tree: Path) -> tuple[list[int], int]:
    """Numeric order of ``linux-headers-6.1.0-56-amd64``; of one release, -rt and -cloud first."""
    release = tree.name.removeprefix("linux-headers-")
    return [int(digits) for digits in re.findall(r"\d+", release)], -release.count("-")


def _debian_flavour() -> str:
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "powerpc64le"}.get(machine, machine)


def main() -> int:
    """Print the tree; used by the set-up. Returns the exit code."""
    try:
        print(kernel_headers())
    except IridescentError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
