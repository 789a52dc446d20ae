# SPDX-License-Identifier: GPL-2.0-only
"""The hand-specialized program, compiled by clang as the template's bitcode is."""

from __future__ import annotations

import subprocess
from pathlib import Path

from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.errors import MissingFeatureError, ToolchainError
from iridescent_xdp.toolchain.base import Request, Role
from iridescent_xdp.toolchain.llvm import clang_flags, find_clang, instructions_of

SOURCE = Path(__file__).resolve().parents[2] / "bench" / "handwritten_filter.bpf.c"


def compile_handwritten(rig: Rig, *, default_drop: bool) -> bytes:
    """Instructions for the maps of ``rig``.

    Raises MissingFeatureError outside of the source tree, and ToolchainError.
    """
    if not SOURCE.is_file():
        raise MissingFeatureError(
            f"no hand-written program at {SOURCE}", cure="run the benchmarks in the source tree"
        )
    request = Request(template=rig.function.template, variant=rig.variant, role=Role.STEADY)
    defines = {**request.defines(), "DEFAULT_DROP": int(default_drop)}
    flags = [f"-D{name}={value}" for name, value in defines.items()]
    command = [find_clang(), *clang_flags(SOURCE), *flags, "-c", "-o", "-", str(SOURCE)]
    run = subprocess.run(command, capture_output=True, check=False)
    if run.returncode != 0:
        lines = [s for s in run.stderr.decode(errors="replace").splitlines() if "error" in s]
        raise ToolchainError(f"clang refuses {SOURCE.name}: {lines[0] if lines else 'no reason'}")
    return instructions_of(run.stdout)
