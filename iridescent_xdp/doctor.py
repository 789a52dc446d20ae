# SPDX-License-Identifier: GPL-2.0-only
"""What this machine has and lacks, each missing thing with what it is needed for and its cure.

Everything is tried as the other commands use it: programs are compiled, maps are made,
interfaces live for a moment in a namespace of their own. Without root it tells the same truth.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path

from iridescent_xdp.errors import IridescentError, MissingFeatureError
from iridescent_xdp.kernel.features import PROBES, Probe, probe
from iridescent_xdp.template import LIBCLANG_CURE

# the direct dependencies of pyproject.toml
DISTRIBUTIONS = (
    *("click", "jinja2", "llvmlite", "matplotlib", "numpy", "optuna"),
    *("pydantic", "pyroute2", "rich", "scapy", "scipy"),
)
PEER_FOLDERS = ("/usr/lib/*/bpf", "/usr/lib/bpf", "/usr/lib64/bpf", "/usr/local/lib/bpf")
PEER_OBJECTS = tuple(
    f"xdpfilt_{default}_{parts}.o"
    for default in ("alw", "dny")
    for parts in ("all", "eth", "ip", "tcp", "udp")
)
_SETUP = "make setup"
_BCC_COMPILES, _LLVM_COMPILES = "bcc compiles", "LLVM compiles"
_PREBUILT, _CLANG = "prebuilt templates", "clang"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at. ``cure`` is empty when it is there."""

    name: str
    ok: bool
    needed_for: str
    detail: str
    cure: str
    required: bool

    def to_json(self) -> dict[str, str | bool]:
        """For ``--json``: the members as they are."""
        return asdict(self)


def checks() -> list[Check]:
    """Look at everything; never raises for what is missing."""
    found = [_examine(name, thing) for name, thing in _things().items()]
    found.append(_one_toolchain(found))
    for feature, thing in PROBES.items():
        finding = probe(feature)
        found.append(
            Check(
                name=feature.value,
                ok=finding.ok,
                needed_for=thing.needed_for,
                detail=finding.detail,
                cure=finding.cure,
                required=thing.required,
            )
        )
    return found


def exit_code(found: Iterable[Check]) -> int:
    """0, or MissingFeatureError's code when something required is missing."""
    missing = any(check.required and not check.ok for check in found)
    return MissingFeatureError.exit_code if missing else 0


def _examine(name: str, thing: Probe) -> Check:
    detail, cure = "", thing.cure
    try:
        detail, ok = thing.attempt(), True
    except IridescentError as error:
        detail, cure, ok = error.message, error.cure or cure, False
    except (OSError, ImportError, RuntimeError, subprocess.SubprocessError) as error:
        detail, ok = str(error), False
    return Check(
        name=name,
        ok=ok,
        needed_for=thing.needed_for,
        detail=detail,
        cure="" if ok else cure,
        required=thing.required,
    )


def _one_toolchain(found: Iterable[Check]) -> Check:
    """Each toolchain alone may be missing, both may not."""
    there = {check.name for check in found if check.ok}
    working = ["bcc"] if _BCC_COMPILES in there else []
    if _LLVM_COMPILES in there:
        origins = " or ".join(name for name in (_PREBUILT, _CLANG) if name in there)
        working.insert(0, f"LLVM from {origins}" if origins else "LLVM")
    return Check(
        name="a toolchain",
        ok=bool(working),
        needed_for="building variants",
        detail=", and ".join(working) or "neither LLVM nor bcc compiles",
        cure="" if working else _SETUP,
        required=True,
    )


# -- toolchains ----------------------------------------------------------------------------


@contextmanager
def _fresh_cache() -> Iterator[None]:
    """An empty object cache, so that compilers work instead of being remembered."""
    kept = os.environ.get("IRIDESCENT_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IRIDESCENT_CACHE"] = folder
        try:
            yield
        finally:
            del os.environ["IRIDESCENT_CACHE"]
            if kept is not None:
                os.environ["IRIDESCENT_CACHE"] = kept


def _compiles(toolchain: str) -> str:
    """The smallest template that is shipped goes through the toolchain, as all others do."""
    from iridescent_xdp.builder import Builder

    with _fresh_cache():
        builder = Builder(toolchain, cached=False)
        template, insns = builder.helper("empty")
    return f"{template.path.name} became {len(insns) // 8} instructions ({builder.toolchain.name})"


def _bcc() -> str:
    module = import_module("bcc")
    if not hasattr(module, "BPF"):
        raise MissingFeatureError(
            f"{module.__file__} is another package of that name, not the BPF Compiler Collection",
            cure=".venv/bin/python -m pip uninstall bcc; apt-get install python3-bpfcc",
        )
    return f"{module.__version__} at {module.__file__}"


def _headers() -> str:
    from iridescent_xdp.toolchain.headers import kernel_headers

    return str(kernel_headers())


def _llvmlite() -> str:
    import llvmlite
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    try:
        llvm.Target.from_triple("bpfel")
    except RuntimeError as error:
        raise MissingFeatureError(f"llvmlite has no BPF target: {error}", cure=_SETUP) from error
    return f"llvmlite {llvmlite.__version__}, LLVM {'.'.join(map(str, llvm.llvm_version_info))}"


def _clang() -> str:
    from iridescent_xdp.toolchain.llvm import clang_version, find_clang

    return f"{find_clang()}: {clang_version()}"


def _prebuilt() -> str:
    from iridescent_xdp.toolchain import prebuilt

    found = prebuilt.inventory()
    if found.stale:
        raise MissingFeatureError(
            f"not as they were when the package was built: {', '.join(found.stale)}",
            cure="install the package again; or apt-get install clang-19",
        )
    if not found.fresh:
        raise MissingFeatureError("the package carries none: it is a source tree")
    return f"{', '.join(found.fresh)} by {found.compiler}"


def _libclang() -> str:
    from iridescent_xdp.template import find_template
    from iridescent_xdp.template_source import parse_template

    parse_template(find_template("empty"))
    return f"libclang {metadata.version('libclang')}"


# -- everything else -----------------------------------------------------------------------


def _dependencies() -> str:
    versions, missing = [], []
    for name in DISTRIBUTIONS:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise MissingFeatureError(f"not installed: {', '.join(missing)}", cure=_SETUP)
    return ", ".join(versions)


def _cache() -> str:
    from iridescent_xdp.toolchain.cache import cache_directory

    folder = cache_directory()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"?")
    return str(folder)


def _peers() -> str:
    folders = [f for pattern in PEER_FOLDERS for f in Path("/").glob(pattern.lstrip("/"))]
    best: list[str] = list(PEER_OBJECTS)
    for folder in folders:
        missing = [name for name in PEER_OBJECTS if not (folder / name).is_file()]
        if not missing:
            return f"{len(PEER_OBJECTS)} xdp-filter objects in {folder}"
        best = min(best, missing, key=len)
    raise MissingFeatureError(f"xdp-filter objects not found: {', '.join(best)}")


def _things() -> dict[str, Probe]:
    def thing(
        attempt: Callable[[], str], needed_for: str, cure: str, required: bool = False
    ) -> Probe:
        return Probe(attempt=attempt, needed_for=needed_for, cure=cure, required=required)

    return {
        "Python dependencies": thing(_dependencies, "everything", _SETUP, required=True),
        "bcc module": thing(_bcc, "toolchain bcc", "apt-get install python3-bpfcc; make setup"),
        "kernel headers": thing(_headers, "toolchain bcc", _SETUP),
        _BCC_COMPILES: thing(lambda: _compiles("bcc"), "toolchain bcc", _SETUP),
        "LLVM library": thing(_llvmlite, "toolchain llvm", _SETUP),
        _PREBUILT: thing(
            _prebuilt, "toolchain llvm without clang", "install a wheel (docs/packaging.md)"
        ),
        _CLANG: thing(
            _clang, "toolchain llvm, templates that are not prebuilt", "apt-get install clang-19"
        ),
        "libclang": thing(_libclang, "reading templates that are not prebuilt", LIBCLANG_CURE),
        _LLVM_COMPILES: thing(lambda: _compiles("llvm"), "toolchain llvm", _SETUP),
        "object cache": thing(
            _cache, "variants that were built before", "set IRIDESCENT_CACHE to a folder of yours"
        ),
        "xdp-filter objects": thing(_peers, "bench peers", "apt-get install xdp-tools"),
    }
