# SPDX-License-Identifier: GPL-2.0-only
"""The machine that the figures come from."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from iridescent_xdp.errors import IridescentError

_VULNERABILITIES = Path("/sys/devices/system/cpu/vulnerabilities")
_SYSCTLS = Path("/proc/sys/net/core")
MISSING = "missing"


def environment(*, quick: bool) -> dict[str, object]:
    """Kernel, processor, compilers, and what else figures depend on; asked before the suites."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "kernel": platform.release(),
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
        "llvm": _version(_llvm),
        "clang": _version(_clang),
        "bcc": _version(_bcc),
        "jit": {name: _line(_SYSCTLS / name) for name in ("bpf_jit_enable", "bpf_jit_harden")},
        "mitigations": _mitigations(),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Processor", "cpu model")):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except (IridescentError, ImportError):
        return MISSING


def _llvm() -> str:
    from iridescent_xdp.toolchain.llvm import LlvmToolchain

    return LlvmToolchain().version


def _clang() -> str:
    from iridescent_xdp.toolchain.llvm import clang_version

    return clang_version()


def _bcc() -> str:
    from iridescent_xdp.toolchain.bcc import BccToolchain

    return BccToolchain().version


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return MISSING


def _mitigations() -> dict[str, str]:
    """Vulnerabilities that the kernel works around, or does not, by name."""
    if not _VULNERABILITIES.is_dir():
        return {}
    found = {path.name: _line(path) for path in sorted(_VULNERABILITIES.iterdir())}
    return {name: text for name, text in found.items() if text != "Not affected"}
