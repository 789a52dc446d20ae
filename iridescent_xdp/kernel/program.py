# SPDX-License-Identifier: GPL-2.0-only
"""Live programs: placeholders become descriptors, then the kernel's verifier decides."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Self

import numpy as np

from iridescent_xdp.errors import VerifierError
from iridescent_xdp.kernel import bpf
from iridescent_xdp.kernel.testrun import TestRun, TestRunner, run_on

_LD_IMM64 = 0x18
_PSEUDO_MAP, _PSEUDO_VALUE, _PSEUDO_CONST = 1, 2, 15
_TOTALS = ("processed ", "verification time", "stack depth")  # how a verifier log ends
_INSN = np.dtype([("code", "u1"), ("regs", "u1"), ("off", "<i2"), ("imm", "<i4")])


def patch(insns: bytes, *, map_fd: Callable[[int], int], numbers: Mapping[int, int]) -> bytes:
    """Replace placeholders: ``map_fd`` gives a descriptor for a placeholder; ``numbers`` the
    load-time constants by their id."""
    code = np.frombuffer(insns, dtype=_INSN).copy()
    wide = code["code"] == _LD_IMM64
    for at in np.flatnonzero(wide):
        kind = int(code["regs"][at]) >> 4
        if kind in (_PSEUDO_MAP, _PSEUDO_VALUE):
            code["imm"][at] = map_fd(int(code["imm"][at]))
        elif kind == _PSEUDO_CONST:
            code["imm"][at] = numbers[int(code["imm"][at])]
            code["regs"][at] &= 0x0F
    return code.tobytes()


class Program:
    """A loaded XDP program; owns its descriptor."""

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        self.info = bpf.prog_info(fd)

    @classmethod
    def load(cls, insns: bytes, name: str) -> Self:
        """Load patched instructions; without a log first, with one on failure.

        Raises VerifierError: one line in the message, the whole log in ``log``.
        """
        try:
            return cls(bpf.prog_load(insns, name=name)[0], name)
        except OSError as first:
            try:
                return cls(bpf.prog_load(insns, name=name, log=True)[0], name)
            except OSError as error:
                log = str(getattr(error, "bpf_log", ""))
                if not log:
                    raise VerifierError(f"cannot load '{name}': {first.strerror}") from error
                raise VerifierError(
                    f"the verifier refuses '{name}': {summary(log)}", log=log
                ) from error

    def runner(self, ingress: int = 0) -> TestRunner:
        """For test runs on many packets, which come in by interface ``ingress``."""
        return TestRunner(self.fd, ingress=ingress)

    def run(self, data: bytes) -> TestRun:
        """One test run on one packet."""
        return run_on(self.fd, data)

    def time_ns(self, data: bytes, repeat: int) -> int:
        """Mean nanoseconds per run over ``repeat`` runs on one packet."""
        return run_on(self.fd, data, repeat=repeat).duration_ns

    def close(self) -> None:
        """Give the descriptor back; the program stays while something else holds it."""
        if self.fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def summary(log: str) -> str:
    """The line of a verifier log that says what is wrong: the last before the totals."""
    lines = [s.strip() for s in log.splitlines() if s.strip()]
    told = [s for s in lines if not s.startswith(_TOTALS)]
    return told[-1] if told else "no reason given"
