# SPDX-License-Identifier: GPL-2.0-only
"""The hand-specialized programs, compiled by clang as a template's bitcode is."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.errors import MissingFeatureError, ToolchainError
from iridescent_xdp.toolchain.base import Request, Role
from iridescent_xdp.toolchain.llvm import clang_flags, find_clang, instructions_of

NOTHING: Mapping[str, str] = {}


def compile_handwritten(rig: Rig, *, headers: Mapping[str, str] = NOTHING, **defines: int) -> bytes:
    """Instructions of the subject's program for the maps of ``rig``.

    ``headers`` are what it includes and nobody writes by hand, by name. Raises MissingFeatureError
    outside of the source tree, and ToolchainError.
    """
    source = rig.subject.handwritten
    if not source.is_file():
        raise MissingFeatureError(
            f"no hand-written program at {source}", cure="run the benchmarks in the source tree"
        )
    request = Request(template=rig.function.template, variant=rig.variant, role=Role.STEADY)
    flags = [f"-D{name}={value}" for name, value in {**request.defines(), **defines}.items()]
    with tempfile.TemporaryDirectory(prefix="iridescent-bench-") as folder:
        for name, text in headers.items():
            (Path(folder) / name).write_text(text)
        flags += ["-I", folder, "-c", "-o", "-"]
        command = [find_clang(), *clang_flags(source), *flags, str(source)]
        run = subprocess.run(command, capture_output=True, check=False)
    if run.returncode != 0:
        lines = [s for s in run.stderr.decode(errors="replace").splitlines() if "error" in s]
        raise ToolchainError(f"clang refuses {source.name}: {lines[0] if lines else 'no reason'}")
    return instructions_of(run.stdout)
