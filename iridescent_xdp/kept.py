# SPDX-License-Identifier: GPL-2.0-only
"""Programs of searches that stay loaded: the verifier takes longer than a trial does.

They are apart from what ``State.load_kept`` keeps, so that many candidates never push out the
program that is live.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict

from iridescent_xdp.kernel.program import Program
from iridescent_xdp.state import State
from iridescent_xdp.template import Template

KEPT = 128  # more than one trial has; what a search needs in all of them is held
_Key = tuple[bytes, int, int]  # digest of the code, arm number, copy


class KeptPrograms:
    """Loaded programs by code, arm number and copy, the latest KEPT; they belong to this object."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._programs: OrderedDict[_Key, Program] = OrderedDict()
        self._held: set[_Key] = set()
        self._load_s: dict[bytes, float] = {}  # by digest: what the verifier took last

    def load(
        self,
        insns: bytes,
        name: str,
        *,
        arm: int = 0,
        copy: int = 0,
        template: Template | None = None,
        hold: bool = False,
    ) -> Program:
        """The caller does not close it. Each ``copy`` is loaded by itself, so that it lies at an
        address of its own. With ``hold`` it stays until ``let_go``, however many come after it.
        Raises VerifierError.
        """
        key = (hashlib.sha256(insns).digest(), arm, copy)
        if key not in self._programs:
            began = time.perf_counter()
            self._programs[key] = self._state.load(insns, name, template=template, arm=arm)
            self._load_s[key[0]] = time.perf_counter() - began
        self._programs.move_to_end(key)
        if hold:
            self._held.add(key)
        old = [other for other in self._programs if other not in self._held]
        for other in old[: max(0, len(self._programs) - KEPT)]:
            self._programs.pop(other).close()
        return self._programs[key]

    def load_s(self, insns: bytes) -> float:
        """Seconds that loading this code took; 0 when it was not loaded here yet."""
        return self._load_s.get(hashlib.sha256(insns).digest(), 0.0)

    def let_go(self) -> None:
        """Nothing is held any more."""
        self._held.clear()

    def close(self) -> None:
        """Give all of them back, before the state is closed."""
        for program in self._programs.values():
            program.close()
        self._programs.clear()
