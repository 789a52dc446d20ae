# SPDX-License-Identifier: GPL-2.0-only
"""Debian's side of an image: sources, whether a kernel package exists, wheels for its Python."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from vagrant.vm.errors import VmError
from vagrant.vm.host import mirror
from vagrant.vm.kernels import KERNELS, Kernel
from vagrant.vm.steps import Steps
from vagrant.vm.tree import ROOT

PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
_EDITABLE = "editables"  # what hatchling wants for an editable installation
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


def sources(release: str, suite: str = "") -> list[str]:
    """Lines of an apt source list: the release with its updates, and ``suite`` if it is another."""
    base = mirror()
    suites = [release, f"{release}-updates"] + ([suite] if suite not in ("", release) else [])
    security = f"{base.rstrip('/')}-security"
    lines = [f"deb {base} {name} main" for name in suites]
    return [*lines, f"deb {security} {release}-security main"]


def python_of(release: str) -> str:
    """The version of Debian's Python. Raises VmError for a release that is not known here."""
    if release not in PYTHONS:
        raise VmError(f"Debian {release} is not known here", cure=f"one of {', '.join(PYTHONS)}")
    return PYTHONS[release]


def requirements() -> list[str]:
    """Everything that pip will be asked for inside, in one list."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = list(project["project"]["dependencies"])
    wanted += project["project"]["optional-dependencies"]["dev"]
    return [*wanted, *project["build-system"]["requires"], _EDITABLE]


def fetch_wheels(release: str, target: Path, steps: Steps) -> None:
    """Download wheels into ``target`` with this machine's pip and its configuration."""
    pip = (sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet")
    choice = ("--only-binary", ":all:", "--python-version", python_of(release))
    command = (*pip, *choice, "--dest", str(target), *dict.fromkeys(requirements()))
    steps.run(f"wheels for Python {python_of(release)}", command)


def check_kernel(kernel: Kernel, folder: Path, steps: Steps) -> str:
    """The version of the kernel's package, from package lists of its own under ``folder``.

    Raises VmError when Debian has no such package, before anything is built.
    """
    python_of(kernel.release)
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache").mkdir()
    listed = [line.replace("deb ", f"deb [signed-by={_KEYS}] ") for line in _lines(kernel)]
    (folder / "sources.list").write_text("\n".join(listed) + "\n")
    places = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/nonexistent",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Architecture": "amd64",
    }
    options = [word for key, value in places.items() for word in ("-o", f"{key}={value}")]
    steps.run(f"package lists of {kernel.suite}", ("apt-get", "-q", *options, "update"))
    command = ("apt-cache", *options, "madison", kernel.package)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [[part.strip() for part in line.split("|")] for line in done.stdout.splitlines()]
    wanted = [row for row in rows if len(row) > 2 and _of_suite(row[2], kernel)]
    if not wanted:
        raise VmError(
            f"Debian {kernel.suite} has no package {kernel.package}",
            cure=f"one of {', '.join(KERNELS)}, or SUITE:PACKAGE, named by "
            "apt-cache search --names-only linux-image on that release",
        )
    return wanted[0][1]


def _lines(kernel: Kernel) -> list[str]:
    return sources(kernel.release, kernel.suite)


def _of_suite(origin: str, kernel: Kernel) -> bool:
    """Whether a line of ``madison`` is from the suite; a release has updates and security too."""
    suite = origin.split()[1].partition("/")[0]
    if kernel.suite != kernel.release:
        return suite == kernel.suite
    return suite in (kernel.release, f"{kernel.release}-updates", f"{kernel.release}-security")
