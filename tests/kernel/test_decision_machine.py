# SPDX-License-Identifier: GPL-2.0-only
"""Tables embedded as machine code: the verifier takes them, and they decide as the model."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import llvmlite.binding as llvm
import pytest

from iridescent_xdp.decision.embed import EmbeddedTable
from iridescent_xdp.decision.nodes import Decision
from iridescent_xdp.decision.splice import splice
from iridescent_xdp.functions.filter_layouts import PACKET_KEY_LAYOUT, chain, tree
from iridescent_xdp.functions.rules import Rule
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.toolchain.llvm import find_clang
from tests.unit.filter_cases import (
    exact_rules,
    expected,
    many_rules,
    mixed_rules,
    near_key,
    packed,
    random_rules,
)

# takes a key from the packet, puts the decision there
CALLER = """
#include <linux/types.h>
#include <linux/bpf.h>
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
struct packet_key {
	__u32 source[4], destination[4];
	__u16 source_port, destination_port;
	__u8 family, protocol, tcp_flags, has_ports;
};
DECIDE
__attribute__((section("xdp"), used)) int caller(struct xdp_md *ctx)
{
	struct packet_key *in = (void *)(long)ctx->data, key;

	if ((void *)(in + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	key = *in;
	in->source[0] = decide(&key);
	return XDP_PASS;
}
"""
TABLES = {
    "mixed": mixed_rules(),
    "exact": exact_rules(1_000),
    "many": many_rules(1_000),
    "random": random_rules(60, seed=1),
    "few": random_rules(5, seed=2),
    "none": [],
}
LAYOUTS: dict[str, Callable[[Sequence[Rule]], Decision]] = {"chain": chain, "tree": tree}
CASES = [(t, n) for t in TABLES for n in LAYOUTS]


@pytest.fixture(params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[Sequence[Rule], Decision]:
    """A table, and the graph of one of its layouts."""
    table, layout = request.param
    return TABLES[table], LAYOUTS[layout](TABLES[table])


def _bitcode(source: str, directory: Path) -> bytes:
    """The caller as clang sees it, not optimized."""
    file = directory / "caller.c"
    file.write_text(CALLER.replace("DECIDE", source))
    flags = ["-target", "bpf", "-mcpu=v3", "-O2", "-Wall", "-Wextra", "-Werror"]
    include = f"-I/usr/include/{_multiarch()}"
    output = ["-Xclang", "-disable-llvm-passes", "-emit-llvm", "-c", "-o", "-", str(file)]
    run = subprocess.run([find_clang(), *flags, include, *output], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr[:2_000]
    return run.stdout


def _multiarch() -> str:
    run = subprocess.run(
        [find_clang(), "-print-multiarch"], capture_output=True, text=True, check=False
    )
    return run.stdout.strip() or "x86_64-linux-gnu"


@pytest.fixture(scope="module")
def machine() -> llvm.TargetMachine:
    """The machine that variants are compiled for."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("bpfel")
    return target.create_target_machine(cpu="v3", opt=2, reloc="static")


@pytest.fixture
def program(
    case: tuple[Sequence[Rule], Decision],
    machine: llvm.TargetMachine,
    tmp_path: Path,
) -> Iterator[Program]:
    """The caller with the table in it, loaded."""
    table = EmbeddedTable(case[1], layout=PACKET_KEY_LAYOUT)
    declared = "extern __u32 decide(const struct packet_key *);"
    module = llvm.parse_bitcode(_bitcode(declared, tmp_path))
    module.link_in(llvm.parse_assembly(table.ir(function="decide")))
    module.get_function("decide").linkage = "internal"
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    compiled = _section(machine.emit_object(module), "xdp")
    loaded = Program.load(splice(compiled, table.bodies), "embedded")
    yield loaded
    loaded.close()


def _section(image: bytes, wanted: str) -> bytes:
    for section in llvm.ObjectFileRef.from_data(image).sections():
        name = section.name()
        if (name.decode() if isinstance(name, bytes) else name) == wanted:
            return bytes(section.data())
    raise AssertionError(f"no section {wanted}")


def test_an_embedded_table_decides_as_the_model(
    case: tuple[Sequence[Rule], Decision], program: Program
) -> None:
    table, rng = case[0], Random(7)
    runner = program.runner()
    for _ in range(2_000):
        key = near_key(rng, table)
        run = runner.run(packed(key))
        assert int.from_bytes(run.data[:4], "little") == expected(table, key), key
