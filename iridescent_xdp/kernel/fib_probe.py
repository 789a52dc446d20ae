# SPDX-License-Identifier: GPL-2.0-only
"""Whether bpf_fib_lookup can be relied on, and be met in test runs as on the interface."""

from __future__ import annotations

import errno
import os
import struct

from iridescent_xdp.kernel import bpf
from iridescent_xdp.kernel.testrun import TestRunner

_FRAME, _LOOPBACK = bytes(64), 1
_AF_INET, _SKIP_NEIGH = 2, 4  # BPF_FIB_LOOKUP_SKIP_NEIGH
_FIB_LOOKUP, _PARAMS_BYTES, _IFINDEX_AT, _INGRESS_AT = 69, 64, 8, 12


def try_fib_lookup() -> str:
    """A look-up from an interface that a test run names, with the flag SKIP_NEIGH.

    The flag came together with the rule that a neighbour which failed is no answer (Linux 6.3);
    older kernels give its last address. That a test run may name its interface came with 5.14.
    """
    fd, _ = bpf.prog_load(_asking(), name="probe")
    try:
        answer = TestRunner(fd, ingress=_LOOPBACK).run(_FRAME).verdict
    finally:
        os.close(fd)
    if answer >= 1 << 31:  # a negative number
        reason = "the kernel gives the address of a neighbour that failed"
        raise OSError(errno.EOPNOTSUPP, reason)
    return f"answers {answer} for the loopback"


def _asking() -> bytes:
    """``params = {AF_INET, .ifindex = ctx->ingress_ifindex}; return bpf_fib_lookup(...)``."""
    at = -_PARAMS_BYTES
    code = [_insn(0x7A, 10, 0, at + place, 0) for place in range(0, _PARAMS_BYTES, 8)]
    code += [
        _insn(0x72, 10, 0, at, _AF_INET),  # *(u8 *)(fp - 64) =
        _insn(0x61, 2, 1, _INGRESS_AT, 0),  # r2 = ctx->ingress_ifindex
        _insn(0x63, 10, 2, at + _IFINDEX_AT, 0),  # params.ifindex = r2
        _insn(0xBF, 2, 10, 0, 0),
        _insn(0x07, 2, 0, 0, at),  # r2 = fp - 64
        _insn(0xB7, 3, 0, 0, _PARAMS_BYTES),
        _insn(0xB7, 4, 0, 0, _SKIP_NEIGH),
        _insn(0x85, 0, 0, 0, _FIB_LOOKUP),
        _insn(0x95, 0, 0, 0, 0),
    ]
    return b"".join(code)


def _insn(code: int, to: int, source: int, offset: int, number: int) -> bytes:
    return struct.pack("<BBhi", code, source << 4 | to, offset, number)
