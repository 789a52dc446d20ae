# SPDX-License-Identifier: GPL-2.0-only
"""State outlives code: the controller creates the maps of a template, pins and adopts them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from iridescent_xdp.errors import MissingFeatureError
from iridescent_xdp.kernel import bpf, syscall
from iridescent_xdp.kernel.maps import Map
from iridescent_xdp.kernel.program import Program, patch
from iridescent_xdp.template import MapSpec, Template
from iridescent_xdp.toolchain.base import MAP_FD_BASE

BPFFS = Path("/sys/fs/bpf")
PINS = BPFFS / "iridescent"
NONE: frozenset[str] = frozenset()
NO_SIZES: Mapping[str, int] = {}
KEPT_PROGRAMS = 32


class State:
    """The maps of one template on one interface, or of a sandbox that is never pinned."""

    def __init__(self, template: Template, maps: dict[str, Map]) -> None:
        self.template = template
        self.maps = maps
        self._kept: OrderedDict[tuple[bytes, int], Program] = OrderedDict()

    @classmethod
    def create(
        cls, template: Template, *helpers: Template, entries: Mapping[str, int] = NO_SIZES
    ) -> Self:
        """New, empty maps: the template's, and those of the programs around it.

        ``entries`` gives some of them another size than declared.
        """
        maps: dict[str, Map] = {}
        try:
            for owner, spec in _declared(entries, template, *helpers):
                maps[spec.name] = Map.create(spec, owner.structs.get(spec.value_type))
        except OSError:
            for made in maps.values():
                made.close()
            raise
        return cls(template, maps)

    @classmethod
    def adopt(
        cls,
        directory: Path,
        template: Template,
        *helpers: Template,
        fresh: frozenset[str] = NONE,
        entries: Mapping[str, int] = NO_SIZES,
    ) -> Self:
        """The maps pinned in ``directory``; those in ``fresh`` are made anew, and not yet pinned.

        Control-plane tables are fresh: new code is loaded onto the new table and swapped in, so
        that no packet sees a table half written. Raises StateError for another shape.
        """
        maps: dict[str, Map] = {}
        try:
            for owner, spec in _declared(entries, template, *helpers):
                dtype = owner.structs.get(spec.value_type)
                if spec.name in fresh:
                    maps[spec.name] = Map.create(spec, dtype)
                else:
                    maps[spec.name] = Map.adopt(spec, directory / f"map_{spec.name}", dtype)
        except OSError:
            for made in maps.values():
                made.close()
            raise
        return cls(template, maps)

    def pin(self, directory: Path, names: frozenset[str] | None = None) -> None:
        """Keep maps beyond this process: all, or ``names`` in place of what is pinned."""
        for name, held in self.maps.items():
            path = directory / f"map_{name}"
            if names is None:
                held.pin(path)
            elif name in names:
                path.unlink(missing_ok=True)
                held.pin(path)

    def load(
        self, insns: bytes, name: str, *, arm: int = 0, template: Template | None = None
    ) -> Program:
        """Load instructions onto these maps; ``arm`` is where the program counts itself.

        ``template`` is whose program it is, when not the function's. Raises VerifierError.
        """
        declared = (template or self.template).maps
        by_index = {spec.index: self.maps[spec.name].fd for spec in declared}
        code = patch(insns, map_fd=lambda n: by_index[n - MAP_FD_BASE], numbers={0: arm})
        return Program.load(code, name)

    def load_kept(self, insns: bytes, name: str, *, arm: int = 0) -> Program:
        """As ``load``, but the program stays loaded and belongs to this state: what ran before is
        live again without the verifier. The caller does not close it. Raises VerifierError.
        """
        key = (hashlib.sha256(insns).digest(), arm)
        if key not in self._kept:
            self._kept[key] = self.load(insns, name, arm=arm)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_PROGRAMS:
            self._kept.popitem(last=False)[1].close()
        return self._kept[key]

    def __getitem__(self, name: str) -> Map:
        return self.maps[name]

    def close(self) -> None:
        """Give all descriptors back; pinned maps stay."""
        for program in self._kept.values():
            program.close()
        self._kept.clear()
        for held in self.maps.values():
            held.close()


def _declared(entries: Mapping[str, int], *templates: Template) -> list[tuple[Template, MapSpec]]:
    seen: dict[str, tuple[Template, MapSpec]] = {}
    for owner in templates:
        for spec in owner.maps:
            sized = replace(spec, entries=entries.get(spec.name, spec.entries))
            seen.setdefault(spec.name, (owner, sized))
    return list(seen.values())


def pinned_entries(directory: Path, *templates: Template) -> dict[str, int]:
    """The sizes of pinned maps, by name: those of some follow from tables and policy."""
    found: dict[str, int] = {}
    for owner in templates:
        for spec in owner.maps:
            with contextlib.suppress(FileNotFoundError):
                fd = bpf.obj_get(directory / f"map_{spec.name}")
                found[spec.name] = bpf.map_info(fd).entries
                os.close(fd)
    return found


def ensure_bpffs() -> None:
    """Mount a bpf file system at /sys/fs/bpf when there is none, as bpftool does.

    Raises MissingFeatureError with the cure.
    """
    if syscall.is_bpffs(BPFFS):
        return
    try:
        syscall.mount_bpffs(BPFFS)
    except OSError as error:
        cure = "run as root" if error.errno == errno.EPERM else f"mount -t bpf bpf {BPFFS}"
        raise MissingFeatureError(f"no bpf file system at {BPFFS}", cure=cure) from error
