# SPDX-License-Identifier: GPL-2.0-only
"""bcc: compiles the C source once per variant, points as -D constants. The reference.

Compiled tables are printed as C here and go through bcc's clang like the rest. It is slower than
putting their machine code in, as the LLVM toolchain does, but it shares nothing with that: that
both toolchains decide alike on every packet is what the tests hold against the machine code.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType

from iridescent_xdp.decision.emit_c import emit_c
from iridescent_xdp.decision.ir_table import IrTable
from iridescent_xdp.decision.nodes import count_nodes
from iridescent_xdp.errors import MissingFeatureError, ToolchainError
from iridescent_xdp.template import include_flags
from iridescent_xdp.toolchain.base import ENTRY, Request, Toolchain, own_digest
from iridescent_xdp.toolchain.headers import kernel_headers
from iridescent_xdp.toolchain.tables import codes

# its LLVM takes some 0.3 ms for each, and ends the process where jumps get too long
NODES_MOST = 6_000


class BccToolchain(Toolchain):
    """See the module. Raises MissingFeatureError at once when bcc or headers are missing."""

    name = "bcc"

    def __init__(self) -> None:
        self._bcc = _import_bcc()
        self._headers = kernel_headers()

    @property
    def version(self) -> str:
        """bcc's version."""
        return f"bcc {self._bcc.__version__} {own_digest()}"

    def compile(self, request: Request) -> bytes:
        """Compile with bcc and take the instructions before they are loaded."""
        text = request.template.path.read_text() + _tables(request)
        flags = [f"-DSPEC_VALUE_{name}={value}u" for name, value in request.constants().items()]
        flags += [f"-D{name}={value}" for name, value in request.defines().items()]
        flags += ["-DIRIDESCENT_BCC", "-w", *include_flags(request.template.path)]
        os.environ["BCC_KERNEL_SOURCE"] = str(self._headers)
        with _captured_stderr() as diagnostics:
            try:
                insns = self._bcc.BPF(text=text.encode(), cflags=flags).dump_func(ENTRY.encode())
            except Exception as error:  # bcc raises bare Exception; told on with its words
                lines = [s for s in diagnostics() if "error:" in s]
                reason = lines[0] if lines else str(error)
                raise ToolchainError(
                    f"bcc refuses {request.template.path.name}: {reason}"
                ) from error
        if not insns:
            raise ToolchainError("bcc gave no program", cure="end it with SPEC_PROGRAM(...)")
        return bytes(insns)


def _tables(request: Request) -> str:
    """The compiled tables as C. Raises ToolchainError for what C cannot say, or takes too long."""
    text = ""
    for table, code in codes(request):
        if isinstance(code, IrTable):
            raise ToolchainError(
                f"not built: table '{table.name}' is written in LLVM IR, bcc compiles C only",
                cure='use toolchain = "llvm"',
            )
        nodes = count_nodes(code)
        if nodes > NODES_MOST:
            raise ToolchainError(
                f"not built: table '{table.name}' has {nodes:,} tests and results, with bcc at "
                f"most {NODES_MOST:,} are compiled: it takes seconds",
                cure='use toolchain = "llvm"',
            )
        text += "\n" + emit_c(code, function=table.name, key_struct=table.key)
    return text


def _import_bcc() -> ModuleType:
    try:
        module = import_module("bcc")
    except ImportError as error:
        raise MissingFeatureError(
            "bcc's Python module is missing", cure="apt-get install python3-bpfcc; make setup"
        ) from error
    if not hasattr(module, "BPF"):
        raise MissingFeatureError(
            "a package called 'bcc' that is not the BPF Compiler Collection shadows it",
            cure="pip uninstall bcc; apt-get install python3-bpfcc",
        )
    return module


@contextlib.contextmanager
def _captured_stderr() -> Iterator[Callable[[], list[str]]]:
    """bcc's compiler writes to descriptor 2 itself; keep it and hand it out as lines."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink:

        def lines() -> list[str]:
            sink.seek(0)
            return sink.read().decode(errors="replace").splitlines()

        os.dup2(sink.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)
