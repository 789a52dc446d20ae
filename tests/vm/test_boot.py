# SPDX-License-Identifier: GPL-2.0-only
"""After a boot there is nothing but the operator file: it attaches again from that alone.

What a boot does to us, an empty /run and an empty bpf file system, is done here by hand; then the
machine is really booted again, and test_after_reboot.py does the same with what survived.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from iridescent_xdp.runtime import RUN
from iridescent_xdp.state import PINS
from tests.vm.rig import Rig
from tests.vm.sites import Site, filter_site

KEPT = Path("/var/lib/iridescent-vm-suite")  # survives a boot


def test_attached_again_from_the_operator_file(rig: Rig, site: Site) -> None:
    path = site.write(seconds=1)
    first = site.facts("run", path, "--once")
    assert first["exit_code"] == 0 and rig.xdp()[0] == "native"
    boot_by_hand(rig)
    assert rig.xdp() == ("none", 0), "nothing holds the link any more"
    again = site.facts("run", path, "--once")
    assert again["exit_code"] == 0 and rig.xdp()[0] == "native"
    (told,) = again["interfaces"]
    assert told["interface"] == rig.dut.interface


def test_the_next_boot_is_asked_for(rig: Rig) -> None:
    """The runner boots again only when the whole suite went well."""
    KEPT.mkdir(exist_ok=True)
    (KEPT / "site.toml").write_text(filter_site(rig.dut.interface, seconds=1))
    (rig.results / "reboot").touch()


def boot_by_hand(rig: Rig) -> None:
    """What lives in memory goes."""
    for pin in (PINS / rig.key).iterdir():
        pin.unlink()
    (PINS / rig.key).rmdir()
    shutil.rmtree(RUN / rig.key)
