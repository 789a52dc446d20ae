# SPDX-License-Identifier: GPL-2.0-only
"""Programs that the kernel's XDP dispatcher knows: a link changes to them in microseconds.

The kernel calls XDP programs through a piece of code with a direct jump to each one that is
attached anywhere (kernel/bpf/dispatcher.c, Linux 5.6; x86-64). When one comes or goes that code is
written anew. This takes 8 to 16 ms, a grace period included, in which nobody else can configure an
interface, and slows down the packets that come meanwhile. A program that is attached elsewhere,
too, is known already, and nothing of this happens.

So the few programs that a link goes back and forth between are attached once more, to the loopback
interfaces of network namespaces without a name, in which no packet comes by. The kernel takes all
that back when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Self

from iridescent_xdp.kernel import bpf, syscall
from iridescent_xdp.kernel.program import Program

MOST = 3  # of one interface: the dispatcher has room for 48 programs of everybody
LOOPBACK = 1  # the index of lo in each namespace


class KnownPrograms:
    """Keeps the last MOST programs that it was asked for; one for each interface."""

    def __init__(self) -> None:
        self._places: list[_Place] = []  # the one that was asked for last is the last one
        self._possible = True

    def add(self, program: Program) -> None:
        """Keep ``program``, in place of the one that was asked for longest ago.

        Slow for one that is attached nowhere. Does nothing where a namespace cannot be made
        (without CAP_SYS_ADMIN): links change slowly then.
        """
        number = program.info.prog_id
        place = next((p for p in self._places if p.number == number), None)
        try:
            if place is None:
                place = self._place_for(program)
        except (OSError, RuntimeError):  # RuntimeError: no thread can be started
            self._possible = False
            self.close()
        if place is not None:
            self._places = [*(p for p in self._places if p is not place), place]

    def _place_for(self, program: Program) -> _Place | None:
        if not self._possible:
            return None
        if len(self._places) < MOST:
            return _Place.make(program)
        oldest = self._places[0]
        oldest.replace(program)
        return oldest

    @property
    def numbers(self) -> list[int]:
        """The ids of the programs that are kept, the one that was asked for last is the last."""
        return [place.number for place in self._places]

    def close(self) -> None:
        """Keep none."""
        for place in self._places:
            place.close()
        self._places = []


class _Place:
    """A loopback interface in a namespace of its own, with a program."""

    def __init__(self, namespace: int, link: int, number: int) -> None:
        self._namespace, self._link = namespace, link
        self.number = number

    @classmethod
    def make(cls, program: Program) -> Self:
        """Raises OSError."""
        with ThreadPoolExecutor(max_workers=1) as threads:  # only that thread is elsewhere
            namespace, link = threads.submit(_attach_elsewhere, program.fd).result()
        return cls(namespace, link, program.info.prog_id)

    def replace(self, program: Program) -> None:
        """Raises OSError."""
        bpf.link_update(self._link, program.fd)
        self.number = program.info.prog_id

    def close(self) -> None:
        for fd in (self._link, self._namespace):
            with contextlib.suppress(OSError):
                os.close(fd)


def _attach_elsewhere(prog_fd: int) -> tuple[int, int]:
    """Move the calling thread to a new namespace; descriptors of that, and of the link there."""
    syscall.leave_network_namespace()
    namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return namespace, bpf.link_create(prog_fd, LOOPBACK, bpf.XDP_FLAGS_SKB_MODE)
    except OSError:
        os.close(namespace)
        raise
