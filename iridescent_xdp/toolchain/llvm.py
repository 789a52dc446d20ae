# SPDX-License-Identifier: GPL-2.0-only
"""LLVM in the process: clang once per template, then constants are linked in per variant.

The template's bitcode (optimization passes off) comes with the package, or is made by clang and
kept on disk by content digest; it is inlined and simplified once per process for each job that a
program can have (``Request.job``). Per variant a small module defines the point constants; it is
linked in, everything but the entry becomes internal, and the O2 pipeline folds what can be folded.
Variants without loops get the first half of O2 only: in the second half loops are unrolled and
vectorized, and functions are looked at together. Generic code always gets all of it.

Compiled tables pass LLVM as calls only; their machine code is put in afterwards
(``decision/embed.py``): a run of O2 over hundreds of blocks would take longer than all the rest.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from iridescent_xdp.decision.ir_table import IrTable
from iridescent_xdp.decision.splice import splice
from iridescent_xdp.errors import MissingFeatureError, ToolchainError
from iridescent_xdp.template import include_flags, source_digest
from iridescent_xdp.toolchain import prebuilt
from iridescent_xdp.toolchain.base import ENTRY, Request, Toolchain, own_digest
from iridescent_xdp.toolchain.cache import cache_directory, store
from iridescent_xdp.toolchain.tables import bodies, codes, embedded

TRIPLE, CPU = "bpfel", "v3"
# Once per template and job, what does not need the constants, so that O2 finds less to do.
# Jumps are threaded before simplify_cfg can make selects of them, which the verifier follows badly;
# instruction_combine here would do the same.
PREPARE = (
    *("ipsccp", "always_inliner", "global_dead_code_eliminate", "sroa", "ipsccp"),
    *("jump_threading", "simplify_cfg"),
)
FOLD = ("ipsccp", "simplify_cfg")  # per variant: dead branches go before anything looks at them
TABLES_IN = ("always_inliner", "global_dead_code_eliminate")
CLEAN = ("simplify_cfg", "global_dead_code_eliminate")  # after the first half of O2
LOOP_MARK = "llvm.loop"  # clang's metadata, on each loop's jump back
OLDEST_CLANG = 16  # older ones write typed pointers, which LLVM 22 cannot read
_NAMES = ("clang-19", *(f"clang-{n}" for n in range(22, OLDEST_CLANG - 1, -1)), "clang")
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-pass-failed")


@lru_cache(maxsize=1)
def find_clang() -> str:
    """The clang to use. Raises MissingFeatureError with what was found, and the cure."""
    found: list[str] = []
    for name in _NAMES:
        path = shutil.which(name)
        if path is None:
            continue
        line = _version_of(path)
        number = re.search(r"version (\d+)", line)
        if number is not None and int(number[1]) >= OLDEST_CLANG:
            return path
        found.append(f"{name}: {line or 'does not run'}")
    told = f": {'; '.join(found)}" if found else ""
    raise MissingFeatureError(
        f"no clang {OLDEST_CLANG} or newer on this machine{told}", cure="apt-get install clang-19"
    )


def _version_of(clang: str) -> str:
    run = subprocess.run([clang, "--version"], capture_output=True, text=True, check=False)
    return (run.stdout.splitlines() or [""])[0] if run.returncode == 0 else ""


@lru_cache(maxsize=1)
def clang_version() -> str:
    """The first line of ``clang --version``."""
    return _version_of(find_clang())


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
        llvm_version = ".".join(map(str, llvm.llvm_version_info))
        return f"llvmlite {llvmlite.__version__} llvm {llvm_version} {own_digest()}"

    def compile(self, request: Request) -> bytes:
        """Link the constants in, optimize, take the instructions out of the object."""
        try:
            module = self._template_module(request).clone()
            module.link_in(llvm.parse_assembly(_constants_ir(request.variant.values)))
            tables = embedded(request)
            for name, table in tables.items():
                module.link_in(llvm.parse_assembly(table.ir(function=name)))
            for _, code in codes(request):
                if isinstance(code, IrTable):
                    module.link_in(checked_ir(code))
            _internalize(module)
            self._optimize(module, whole=bool(request.job()["spec_whole"]))
            insns = instructions_of(self._machine.emit_object(module))
            return splice(insns, bodies(tables))
        except RuntimeError as error:
            if isinstance(error, ToolchainError):
                raise
            name = request.template.name
            raise ToolchainError(f"LLVM refuses template '{name}': {error}") from error

    def _template_module(self, request: Request) -> llvm.ModuleRef:
        job = _constants_ir(request.job().items())
        key = f"{source_digest(request.template.path)} {job}"
        if key not in self._modules:
            module = llvm.parse_bitcode(template_bitcode(request))
            module.triple = TRIPLE
            module.link_in(llvm.parse_assembly(job))
            _internalize(module)
            self._passes(module, PREPARE)
            self._modules[key] = module
        return self._modules[key]

    def _builder(self) -> llvm.PassBuilder:
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_unrolling = True
        return llvm.create_pass_builder(self._machine, options)

    def _optimize(self, module: llvm.ModuleRef, *, whole: bool) -> None:
        self._passes(module, FOLD)
        builder = self._builder()
        if not whole and LOOP_MARK not in str(module):
            self._passes(module, TABLES_IN)
            functions = [f for f in module.functions if not f.is_declaration]
            if len(functions) == 1:
                builder.getFunctionPassManager().run(functions[0], builder)
                self._passes(module, CLEAN)
                return
        builder.getModulePassManager().run(module, builder)

    def _passes(self, module: llvm.ModuleRef, names: Sequence[str]) -> None:
        manager = llvm.create_new_module_pass_manager()
        for name in names:
            getattr(manager, f"add_{name}_pass")()
        manager.run(module, self._builder())


def template_bitcode(request: Request) -> bytes:
    """The template as bitcode: from the package, else from the cache or from clang.

    Raises ToolchainError, and MissingFeatureError when only clang could do it and is not there.
    """
    path = request.template.path
    carried = prebuilt.bitcode(path)
    if carried is not None:
        return carried
    try:
        find_clang()
    except MissingFeatureError as error:
        raise prebuilt.missing(path, f"clang ({error.message})", error.cure) from error
    return clang_bitcode(request)


def clang_bitcode(request: Request) -> bytes:
    """The template as bitcode, from the cache or from clang. Raises ToolchainError."""
    path = request.template.path
    key = hashlib.sha256(f"{source_digest(path)} {clang_version()}".encode()).hexdigest()
    kept = cache_directory() / f"{path.name}-{key[:32]}.bc"
    if kept.is_file():
        return kept.read_bytes()
    defines = [f"-D{name}={value}" for name, value in request.defines().items()]
    # the bitcode keeps the file's name as it is given: it must not tell where it was built
    flags = ["-Xclang", "-disable-llvm-passes", "-emit-llvm", "-c", "-o", "-", path.name]
    command = [find_clang(), *clang_flags(path), *defines, *flags]
    run = subprocess.run(command, capture_output=True, check=False, cwd=path.parent)
    if run.returncode != 0:
        lines = [s for s in run.stderr.decode(errors="replace").splitlines() if "error" in s]
        raise ToolchainError(f"clang refuses {path.name}: {lines[0] if lines else 'unknown error'}")
    store(kept, run.stdout)
    return run.stdout


def _constants_ir(constants: Iterable[tuple[str, int]]) -> str:
    lines = [f"@{name} = constant i32 {value}" for name, value in constants]
    return "\n".join(lines) + "\n"


def checked_ir(table: IrTable) -> llvm.ModuleRef:
    """The module of a table that is written in LLVM IR.

    Raises ToolchainError when it is not valid, lacks the function, or needs more than code.
    """
    name = table.function
    try:
        module = llvm.parse_assembly(table.text)
        module.verify()
    except RuntimeError as error:
        line = next((s for s in str(error).splitlines() if s.strip()), "")
        raise ToolchainError(f"the IR of table '{name}' is not valid: {line}") from error
    defined = {f.name for f in module.functions if not f.is_declaration}
    if name not in defined:
        raise ToolchainError(f"the IR of table '{name}' does not define a function of that name")
    unknown = [
        f.name
        for f in module.functions
        if f.is_declaration and f.name not in table.graphs and not f.name.startswith("llvm.")
    ]
    if unknown:
        raise ToolchainError(
            f"the IR of table '{name}' calls '{unknown[0]}', which nobody defines",
            cure="call decision graphs of its own, or write it out",
        )
    for variable in module.global_variables:
        raise ToolchainError(
            f"the IR of table '{name}' has a global variable '{variable.name}'",
            cure="a program has no memory of its own: put numbers into the code",
        )
    return module


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
