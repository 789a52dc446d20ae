# SPDX-License-Identifier: GPL-2.0-only
"""A build step of the wheel: every template as bitcode and as a description.

Hatch calls it (pyproject.toml). It needs clang on the machine that builds, so that no machine that
runs the package does. A template that does not compile, or whose bitcode LLVM cannot turn into a
program, ends the build. An editable installation gets nothing: there templates are edited.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent.parent
TARGET = "iridescent_xdp/prebuilt"


class PrebuiltTemplates(BuildHookInterface[Any]):
    """See the module."""

    _folder: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the files and tell hatch where in the wheel they go."""
        if version == "editable":
            return
        self._folder = Path(tempfile.mkdtemp(prefix="iridescent-prebuilt-"))
        try:
            with _empty_cache(self._folder / "cache"):
                compiler = _fill(self._folder / "made")
        except Exception:  # hatch calls finalize() only when all went well
            self._remove()
            raise
        for file in sorted((self._folder / "made").iterdir()):
            build_data["force_include"][str(file)] = f"{TARGET}/{file.name}"
        self.app.display_info(f"templates prebuilt with {compiler}")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """They are in the wheel now."""
        self._remove()

    def _remove(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def _empty_cache(folder: Path) -> Iterator[None]:
    """Nothing that was compiled before goes into a wheel."""
    kept = os.environ.get("IRIDESCENT_CACHE")
    os.environ["IRIDESCENT_CACHE"] = str(folder)
    try:
        yield
    finally:
        del os.environ["IRIDESCENT_CACHE"]
        if kept is not None:
            os.environ["IRIDESCENT_CACHE"] = kept


def _fill(folder: Path) -> str:
    """Build all templates of this tree into ``folder``; returns the compiler's version."""
    sys.path.insert(0, str(ROOT))
    try:
        from iridescent_xdp.template import bpf_directory
        from iridescent_xdp.template_source import parse_template
        from iridescent_xdp.toolchain import prebuilt
        from iridescent_xdp.toolchain.base import Request, Role
        from iridescent_xdp.toolchain.llvm import LlvmToolchain, clang_bitcode, clang_version
        from iridescent_xdp.variant import Variant
    finally:
        sys.path.remove(str(ROOT))
    toolchain = LlvmToolchain()
    for path in sorted(bpf_directory().glob("*.bpf.c")):
        template = parse_template(path)
        generic = Variant.generic(template.points)
        request = Request(template=template, variant=generic, role=Role.STEADY)
        toolchain.compile(request)
        prebuilt.write(folder, template, clang_bitcode(request), clang_version())
    return clang_version()
