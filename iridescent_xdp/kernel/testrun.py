# SPDX-License-Identifier: GPL-2.0-only
"""BPF_PROG_TEST_RUN: a program on a packet of ours, or on live frames."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from iridescent_xdp.kernel.syscall import address, bpf, buffer, copy, zeros

PROG_TEST_RUN = 10
F_LIVE_FRAMES = 1 << 1  # BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18
CONTEXT_BYTES = 24  # struct xdp_md
LIVE_BATCH, MAX_LIVE_BATCH = 64, 256  # packets in a row; the kernel takes no more


@dataclass(frozen=True, kw_only=True)
class TestRun:
    """What BPF_PROG_TEST_RUN gave: verdict, bytes out, mean nanoseconds per run."""

    __test__ = False
    verdict: int
    data: bytes
    duration_ns: int


class TestRunner:
    """Test runs of one program with buffers that are made once; for thousands of packets.

    Packets come in by the interface with index ``ingress`` (Linux 5.14), else by the loopback; of
    the calling thread's network namespace.
    """

    __test__ = False
    ROOM_BYTES = 256  # what a packet may grow

    def __init__(self, fd: int, *, largest_bytes: int = 4096, ingress: int = 0) -> None:
        self._fd = fd
        self._ingress = ingress
        self._context = zeros(CONTEXT_BYTES)
        self._source = zeros(largest_bytes)
        self._out = zeros(largest_bytes + self.ROOM_BYTES)
        self._attr = zeros(80)
        self._addresses = (address(self._source), address(self._out))

    def run(self, data: bytes, *, repeat: int = 1) -> TestRun:
        """Run on ``data`` (14 bytes or more); it is not restored between repeats."""
        size = len(data)
        copy(self._source, data)
        struct.pack_into(
            *("<IIIIQQII", self._attr, 0, self._fd, 0, size, size + self.ROOM_BYTES),
            *(*self._addresses, repeat, 0),
        )
        if self._ingress:  # data, data_end, data_meta, ingress_ifindex
            struct.pack_into("<IIII", self._context, 0, 0, size, 0, self._ingress)
            struct.pack_into("<IIQ", self._attr, 40, CONTEXT_BYTES, 0, address(self._context))
        bpf(PROG_TEST_RUN, self._attr, "test run")
        verdict, _, size_out = struct.unpack_from("<III", self._attr, 4)
        (duration,) = struct.unpack_from("<I", self._attr, 36)
        return TestRun(verdict=verdict, data=self._out.raw[:size_out], duration_ns=duration)


def run_on(fd: int, data: bytes, *, repeat: int = 1) -> TestRun:
    """BPF_PROG_TEST_RUN, once or ``repeat`` times on ``data`` (14 bytes or more)."""
    return TestRunner(fd, largest_bytes=len(data)).run(data, repeat=repeat)


def run_live(fd: int, data: bytes, *, repeat: int, batch: int = LIVE_BATCH) -> None:
    """Run ``repeat`` times on real frames that are redirected or passed (Linux 5.18).

    The kernel makes ``batch`` packets, then lets a receiver on the same CPU run, and keeps as many
    pages in a pool. A veth's ring takes 256.
    """
    source = buffer(data)
    attr = struct.pack(
        "<IIIIQQIIIIQQIII4x",
        *(fd, 0, len(data), 0, address(source), 0, repeat, 0, 0, 0, 0, 0),
        *(F_LIVE_FRAMES, 0, batch),
    )
    bpf(PROG_TEST_RUN, attr, "live run")
