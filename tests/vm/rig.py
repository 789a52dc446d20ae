# SPDX-License-Identifier: GPL-2.0-only
"""Where the suite runs: two interfaces joined by a wire, as docs/vm.md promises them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from iridescent_xdp.kernel.netlink import find_interface, namespace_key
from tests.kernel.functional_bed import FunctionalBed
from traffic.functional_ports import Place
from traffic.testbed import inside

ROOT = Path(__file__).resolve().parents[2]
EMULATED = 10.0  # times as patient where the processor is emulated


@dataclass(frozen=True, kw_only=True)
class Rig:
    """The interface under test, the one at the other end, and what else the runner says."""

    dut: Place
    gen: Place
    emulated: bool
    boot: int
    results: Path
    veth: bool

    @classmethod
    def from_environment(cls) -> Self:
        """As the runner's variables say. Raises KeyError for one that is missing."""
        dut = Place(os.environ.get("VM_DUT_NS", "dut"), os.environ["VM_DUT_IF"])
        with inside(dut.namespace):
            veth = find_interface(dut.interface).kind == "veth"
        return cls(
            dut=dut,
            gen=Place(os.environ.get("VM_GEN_NS", "gen"), os.environ["VM_GEN_IF"]),
            emulated=os.environ.get("VM_ACCEL") == "tcg",
            boot=int(os.environ.get("VM_BOOT", "1")),
            results=Path(os.environ.get("VM_RESULTS", "/results")),
            veth=veth,
        )

    @property
    def slow(self) -> float:
        """What deadlines are multiplied by."""
        return EMULATED if self.emulated else 1.0

    @property
    def functional(self) -> FunctionalBed:
        """For functional streams."""
        return self.functional_at(self.dut, self.gen)

    def functional_at(self, dut: Place, gen: Place) -> FunctionalBed:
        """The same between two other interfaces."""
        return FunctionalBed(
            under_test=dut,
            sender=gen,
            veth=self.veth,
            patience_s=3.0 * self.slow,
            quiet_s=0.1 * self.slow,
        )

    @property
    def key(self) -> str:
        """What pins and records of the interface under test are called."""
        with inside(self.dut.namespace):
            return namespace_key(self.dut.interface)

    def xdp(self) -> tuple[str, int]:
        """Mode and program of the interface under test, as the kernel says."""
        with inside(self.dut.namespace):
            found = find_interface(self.dut.interface)
        return found.xdp_mode, found.xdp_prog_id
