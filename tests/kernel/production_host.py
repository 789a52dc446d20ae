# SPDX-License-Identifier: GPL-2.0-only
"""A host as production has it: the wheel and the packages it asks for, and no compiler.

The wheel is built from this tree and installed into an environment of its own. The packages that
pyproject.toml asks for are linked into it from the environment of the tests, all but libclang; bcc
belongs to the distribution's packages, which the environment does not see. ``PATH`` has nothing
but the environment's own commands.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ABSENT = ("clang", "libclang", "bcc", "iridescent", "__editable__", "_iridescent")


@dataclass(frozen=True, kw_only=True)
class ProductionHost:
    """An environment; ``wheel`` is what was installed into it."""

    folder: Path
    wheel: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def package(self) -> Path:
        """The installed package's folder."""
        return _site(self.folder) / "iridescent_xdp"

    def command(self, *words: object, namespace: str = "") -> list[str]:
        """An iridescent command, in a network namespace if one is named."""
        enter = ["/usr/bin/nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
        return [*enter, str(self.folder / "bin" / "iridescent"), *map(str, words)]

    def environment(self) -> dict[str, str]:
        """All that its processes know."""
        return {
            "PATH": str(self.folder / "bin"),
            "HOME": str(self.folder),
            "IRIDESCENT_CACHE": str(self.folder / "cache"),
        }

    def run(self, command: list[str]) -> tuple[int, str, str]:
        """Exit code and what was said, of a process that ends by itself."""
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self.environment(),
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    def evaluate(self, code: str) -> str:
        """What a piece of Python prints there."""
        status, out, err = self.run([str(self.python), "-c", code])
        assert status == 0, err
        return out


def build_wheel(folder: Path) -> Path:
    """The wheel of this tree, by the packages that are installed; nothing is downloaded."""
    _do("pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> ProductionHost:
    """Make the environment and put the wheel into it."""
    _do("venv", "--without-pip", folder)
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not entry.name.startswith(ABSENT):
            (_site(folder) / entry.name).symlink_to(entry)
    _do("pip", "--python", folder / "bin/python", "install", "--no-deps", "--no-index", wheel)
    return ProductionHost(folder=folder, wheel=wheel)


def _site(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def _do(module: str, *words: object) -> None:
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stdout + done.stderr
