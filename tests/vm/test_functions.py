# SPDX-License-Identifier: GPL-2.0-only
"""Every function of bpf/ attached natively to the NIC, and what it does with every packet."""

from __future__ import annotations

from pathlib import Path

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.config.registry import known_functions
from tests.kernel.functional_bed import SCENES, specialize
from tests.vm.rig import Rig
from tests.vm.sites import Site


def test_no_function_is_left_out() -> None:
    assert set(known_functions()) <= set(SCENES)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.smoke if n == "filter" else ()) for n in SCENES]
)
def test_every_packet_meets_its_fate(rig: Rig, site: Site, name: str) -> None:
    check(rig, site.folder, name, Builder("llvm"))


def test_built_by_bcc_against_the_headers_of_this_kernel(rig: Rig, site: Site) -> None:
    check(rig, site.folder, "filter", Builder("bcc"))


def check(rig: Rig, folder: Path, name: str, builder: Builder) -> None:
    """Generic and specialized code, natively; what was sent and heard is kept when it is wrong."""
    bed = rig.functional
    with bed.wired() as ports:
        scene = SCENES[name](bed.ends, "native")
        with bed.controlled(scene, folder, builder) as controller:
            assert controller.board.link.mode == rig.xdp()[0] == "native"
            for code in ("generic", "specialized"):
                if code == "specialized":
                    specialize(controller, scene)
                report = bed.run(scene, ports)
                if not report.ok:
                    kept = rig.results / f"{name}-{code}.pcap"
                    report.save(kept)
                    pytest.fail(f"{name}, {code}: {report.problems}; see {kept}")
