# SPDX-License-Identifier: GPL-2.0-only
"""A NIC whose driver has no native XDP: said so, and the generic mode does the same."""

from __future__ import annotations

import os

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import AttachError
from tests.kernel.functional_bed import SCENES
from tests.vm.rig import Rig
from tests.vm.sites import Site
from traffic.functional_ports import Place


@pytest.fixture
def places(rig: Rig) -> tuple[Place, Place]:
    names = [os.environ.get(f"VM_E1000E_{end}_IF") for end in ("DUT", "GEN")]
    if not all(names):
        pytest.skip("VM_E1000E_DUT_IF is not set: the runner has no e1000e NICs")
    return Place(rig.dut.namespace, names[0] or ""), Place(rig.gen.namespace, names[1] or "")


def test_native_is_refused_and_generic_filters(
    rig: Rig, site: Site, places: tuple[Place, Place]
) -> None:
    bed = rig.functional_at(*places)
    with bed.wired() as ports:
        refused = SCENES["filter"](bed.ends, "native")
        with (
            pytest.raises(AttachError, match="has no native XDP"),
            bed.controlled(refused, site.folder, Builder("llvm")),
        ):
            pytest.fail("a driver without XDP took a program")
        scene = SCENES["filter"](bed.ends, "native-then-generic")
        with bed.controlled(scene, site.folder, Builder("llvm")) as controller:
            assert controller.board.link.mode == "generic"
            bed.run(scene, ports).require()
