# SPDX-License-Identifier: GPL-2.0-only
"""Numbered packets, one at a time, each with what became of it and when; a process of its own.

``python -m tests.kernel.numbered NAMESPACE PINS OUT`` sends UDP datagrams to port 100 until its
stdin is closed. Before each one it notes the time, after each one it waits until the filter has
counted it, so the decision lies between two times of CLOCK_MONOTONIC. OUT gets an array of ROW.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iridescent_xdp.kernel.maps import Map
from iridescent_xdp.template import find_template, read_template
from tests.kernel.live import udp
from traffic.testbed import GENERATOR_SIDE, inside

ROW = np.dtype([("sent_ns", "<i8"), ("counted_ns", "<i8"), ("rule", "?"), ("drop", "?")])
PORT = 100
LOST_NS = 2_000_000_000
STEPS = 32  # packets between two looks at stdin
SOURCE = "10.77.0.1"


class Counts:
    """The filter's counters as they are pinned: what is asked is how often rule 0 matched, how
    often none did, and how many packets were dropped."""

    def __init__(self, pins: Path) -> None:
        template = read_template(find_template("filter"))
        spec = next(m for m in template.maps if m.name == "counters")
        self._map = Map.adopt(spec, pins / "map_counters", template.structs[spec.value_type])
        self._default = template.constants["SLOT_DEFAULT"]

    def read(self) -> tuple[int, int, int]:
        """Packets of rule 0, of no rule, and dropped ones."""
        rows = self._map.read()
        assert rows is not None
        slots = rows["slots"]["packets"]
        dropped = rows["verdicts"]["packets"][:, 1].sum()
        return int(slots[:, 0].sum()), int(slots[:, self._default].sum()), int(dropped)


def send(counts: Counts, link: socket.socket) -> NDArray[np.void]:
    """Until stdin is closed."""
    rows: list[tuple[int, int, bool, bool]] = []
    head = udp(SOURCE, PORT, size=60)[:-8]
    rule, none, dropped = counts.read()
    while len(rows) % STEPS or not select.select([sys.stdin], [], [], 0)[0]:
        sent_ns = time.monotonic_ns()
        try:
            link.send(head + len(rows).to_bytes(8, "big"))
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            continue  # the veth's ring is full of other packets: it was not sent
        while True:
            now = counts.read()
            counted_ns = time.monotonic_ns()
            if now[0] + now[1] > rule + none:
                break
            if counted_ns - sent_ns > LOST_NS:
                raise SystemExit(f"packet {len(rows)} was not counted")
        if now[0] + now[1] != rule + none + 1:
            raise SystemExit(f"packet {len(rows)} was counted twice: {(rule, none)} then {now}")
        rows.append((sent_ns, counted_ns, now[0] > rule, now[2] > dropped))
        rule, none, dropped = now
    return np.array(rows, dtype=ROW)


def main(namespace: str, pins: str, out: str) -> None:
    counts = Counts(Path(pins))
    with inside(namespace), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
        link.bind((GENERATOR_SIDE, 0))
        print("ready", flush=True)
        np.save(out, send(counts, link))


if __name__ == "__main__":
    main(*sys.argv[1:])
