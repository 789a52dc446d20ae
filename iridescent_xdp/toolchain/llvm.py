# SPDX-License-Identifier: GPL-2.0-only
"""LLVM in the process: clang once per template, then constants are linked in per variant.

The template's bitcode (optimization passes off) is kept on disk by content digest. Per variant
a small module defines the point constants and the compiled tables; it is linked in, everything
but the entry becomes internal, and the O2 pipeline folds what can be folded.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from iridescent_xdp.decision.emit_ir import emit_ir
from iridescent_xdp.decision.nodes import Field
from iridescent_xdp.errors import MissingFeatureError, ToolchainError
from iridescent_xdp.template import Template, include_flags
from iridescent_xdp.toolchain.base import ENTRY, Request, Toolchain, source_digest
from iridescent_xdp.toolchain.cache import cache_directory, store

TRIPLE, CPU = "bpfel", "v3"
OLDEST_CLANG = 16  # older ones write typed pointers, which LLVM 22 cannot read
_NAMES = ("clang-19", *(f"clang-{n}" for n in range(22, OLDEST_CLANG - 1, -1)), "clang")
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-pass-failed")


@lru_cache(maxsize=1)
def find_clang() -> str:
    """The clang to use. Raises MissingFeatureError with the cure."""
    for name in _NAMES:
        path = shutil.which(name)
        if path and _major(path) >= OLDEST_CLANG:
            return path
    raise MissingFeatureError(
        f"no clang {OLDEST_CLANG} or newer on this machine", cure="apt-get install clang-19"
    )


def _major(clang: str) -> int:
    run = subprocess.run([clang, "-dumpversion"], capture_output=True, text=True, check=False)
    number = run.stdout.split(".")[0].strip()
    return int(number) if number.isdecimal() else 0


@lru_cache(maxsize=1)
def clang_version() -> str:
    """The first line of ``clang --version``."""
    run = subprocess.run([find_clang(), "--version"], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[0]


def clang_flags(path: Path) -> list[str]:
    """Flags that both the bitcode and hand-written programs are compiled with."""
    return ["-target", "bpf", f"-mcpu={CPU}", "-O2", "-g0", *WARNINGS, *include_flags(path)]


class LlvmToolchain(Toolchain):
    """See the module."""

    name = "llvm"

    def __init__(self) -> None:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        self._machine = llvm.Target.from_triple(TRIPLE).create_target_machine(
            cpu=CPU, opt=2, reloc="static"
        )
        self._modules: dict[str, llvm.ModuleRef] = {}

    @property
    def version(self) -> str:
        """llvmlite's and LLVM's versions."""
        return f"llvmlite {llvmlite.__version__} llvm {llvm.llvm_version_info}"

    def compile(self, request: Request) -> bytes:
        """Link the constants in, optimize, take the instructions out of the object."""
        try:
            module = self._template_module(request).clone()
            module.link_in(self._parse(_constants_ir(request.constants())))
            for table in request.template.tables:
                if table.name in request.tables:
                    layout = key_layout(request.template, table.key)
                    node = request.tables[table.name]
                    text = emit_ir(node, function=table.name, layout=layout)
                    module.link_in(self._parse(text))
            _internalize(module)
            self._optimize(module)
            return instructions_of(self._machine.emit_object(module))
        except RuntimeError as error:
            if isinstance(error, ToolchainError):
                raise
            name = request.template.name
            raise ToolchainError(f"LLVM refuses template '{name}': {error}") from error

    def _parse(self, text: str) -> llvm.ModuleRef:
        return llvm.parse_assembly(text)

    def _template_module(self, request: Request) -> llvm.ModuleRef:
        digest = source_digest(request.template.path)
        if digest not in self._modules:
            module = llvm.parse_bitcode(template_bitcode(request))
            module.triple = TRIPLE
            self._modules[digest] = module
        return self._modules[digest]

    def _optimize(self, module: llvm.ModuleRef) -> None:
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_unrolling = True
        builder = llvm.create_pass_builder(self._machine, options)
        builder.getModulePassManager().run(module, builder)


def template_bitcode(request: Request) -> bytes:
    """The template as bitcode, from the cache or from clang. Raises ToolchainError."""
    path = request.template.path
    key = f"{source_digest(path)}-{clang_version().split()[-1]}"
    kept = cache_directory() / f"{path.name}-{key[:40]}.bc"
    if kept.is_file():
        return kept.read_bytes()
    defines = [f"-D{name}={value}" for name, value in request.defines().items()]
    flags = ["-Xclang", "-disable-llvm-passes", "-emit-llvm", "-c", "-o", "-", str(path)]
    run = subprocess.run(
        [find_clang(), *clang_flags(path), *defines, *flags], capture_output=True, check=False
    )
    if run.returncode != 0:
        lines = [s for s in run.stderr.decode(errors="replace").splitlines() if "error" in s]
        raise ToolchainError(f"clang refuses {path.name}: {lines[0] if lines else 'unknown error'}")
    store(kept, run.stdout)
    return run.stdout


def _constants_ir(constants: Mapping[str, int]) -> str:
    lines = [f"@{name} = constant i32 {value}" for name, value in constants.items()]
    return "\n".join(lines) + "\n"


def key_layout(template: Template, key: str) -> dict[Field, tuple[int, int]]:
    """Offset and size in bytes of every member of a table's key struct."""
    layout: dict[Field, tuple[int, int]] = {}
    fields: Mapping[str, Any] = template.structs[key].fields or {}
    for name, entry in fields.items():
        kind, offset = entry[0], int(entry[1])
        for index in range(kind.shape[0] if kind.shape else 1):
            size = kind.base.itemsize
            layout[Field(name, index)] = (offset + index * size, size)
    return layout


def _internalize(module: llvm.ModuleRef) -> None:
    for value in (*module.functions, *module.global_variables):
        if not value.is_declaration and value.name != ENTRY and not value.name.startswith("llvm."):
            value.linkage = "internal"


def instructions_of(image: bytes) -> bytes:
    """The program's instructions from an object; ToolchainError when it needs relocations."""
    found = b""
    for section in llvm.ObjectFileRef.from_data(image).sections():
        raw = section.name()
        name = raw.decode() if isinstance(raw, bytes) else str(raw)
        if name == "xdp":
            found = bytes(section.data())
        if name.startswith((".rel", ".text", ".rodata", ".data", ".bss")) and section.size():
            raise ToolchainError(
                f"the object has a {name} section: a table or function did not fold into the code",
                cure="mark functions __always_inline; keep look-up tables in maps or small",
            )
    if not found:
        raise ToolchainError("the object has no xdp section", cure="end it with SPEC_PROGRAM(...)")
    return found
