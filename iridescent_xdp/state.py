# SPDX-License-Identifier: GPL-2.0-only
"""State outlives code: the controller creates the maps of a template, pins and adopts them."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Self

from iridescent_xdp.errors import MissingFeatureError
from iridescent_xdp.kernel import bpf
from iridescent_xdp.kernel.maps import Map
from iridescent_xdp.kernel.program import Program, patch
from iridescent_xdp.template import Template
from iridescent_xdp.toolchain.base import MAP_FD_BASE

BPFFS = Path("/sys/fs/bpf")
PINS = BPFFS / "iridescent"


class State:
    """The maps of one template on one interface, or of a sandbox that is never pinned."""

    def __init__(self, template: Template, maps: dict[str, Map]) -> None:
        self.template = template
        self.maps = maps

    @classmethod
    def create(cls, template: Template) -> Self:
        """New, empty maps."""
        maps: dict[str, Map] = {}
        try:
            for spec in template.maps:
                maps[spec.name] = Map.create(spec, template.structs.get(spec.value_type))
        except OSError:
            for made in maps.values():
                made.close()
            raise
        return cls(template, maps)

    @classmethod
    def adopt(cls, template: Template, directory: Path) -> Self:
        """The maps pinned in ``directory``; StateError when one has another shape."""
        maps: dict[str, Map] = {}
        try:
            for spec in template.maps:
                dtype = template.structs.get(spec.value_type)
                maps[spec.name] = Map.adopt(spec, directory / f"map_{spec.name}", dtype)
        except OSError:
            for made in maps.values():
                made.close()
            raise
        return cls(template, maps)

    def pin(self, directory: Path) -> None:
        """Keep all maps beyond this process."""
        for name, held in self.maps.items():
            held.pin(directory / f"map_{name}")

    def load(self, insns: bytes, name: str, *, arm: int = 0) -> Program:
        """Load instructions onto these maps. Raises VerifierError."""
        by_index = {spec.index: self.maps[spec.name].fd for spec in self.template.maps}
        code = patch(insns, map_fd=lambda n: by_index[n - MAP_FD_BASE], numbers={0: arm})
        return Program.load(code, name)

    def __getitem__(self, name: str) -> Map:
        return self.maps[name]

    def close(self) -> None:
        """Give all descriptors back; pinned maps stay."""
        for held in self.maps.values():
            held.close()


def ensure_bpffs() -> None:
    """Mount a bpf file system at /sys/fs/bpf when there is none, as bpftool does.

    Raises MissingFeatureError with the cure.
    """
    if bpf.is_bpffs(BPFFS):
        return
    try:
        bpf.mount_bpffs(BPFFS)
    except OSError as error:
        cure = "run as root" if error.errno == errno.EPERM else f"mount -t bpf bpf {BPFFS}"
        raise MissingFeatureError(f"no bpf file system at {BPFFS}", cure=cure) from error
