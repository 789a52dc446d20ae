# SPDX-License-Identifier: GPL-2.0-only
"""Real texts of /proc/net/pktgen, and a tree of plain files that takes commands.

DOCUMENTED is the example of Documentation/networking/pktgen.rst.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Self

DOCUMENTED = """\
Params: count 100000  min_pkt_size: 60  max_pkt_size: 60
     frags: 0  delay: 0  clone_skb: 64  ifname: eth4@0
     flows: 0 flowlen: 0
     queue_map_min: 0  queue_map_max: 0
     dst_min: 192.168.81.2  dst_max:
     src_min:   src_max:
     src_mac: 90:e2:ba:0a:56:b4 dst_mac: 00:1b:21:3c:9d:f8
     udp_src_min: 9  udp_src_max: 109  udp_dst_min: 9  udp_dst_max: 9
     src_mac_count: 0  dst_mac_count: 0
     Flags: UDPSRC_RND  NO_TIMESTAMP  QUEUE_MAP_CPU
Current:
     pkts-sofar: 100000  errors: 0
     started: 623913381008us  stopped: 623913396439us idle: 25us
     seq_num: 100001  cur_dst_mac_offset: 0  cur_src_mac_offset: 0
     cur_saddr: 192.168.8.3  cur_daddr: 192.168.81.2
     cur_udp_dst: 9  cur_udp_src: 42
     cur_queue_map: 0
     flows: 0
Result: OK: 15430(c15405+d25) usec, 100000 (60byte,0frags)
    6480562pps 3110Mb/sec (3110669760bps) errors: 0
"""
RUNNING = DOCUMENTED.partition("Result:")[0] + "Result: Idle\n"
REFUSED = RUNNING.replace("Result: Idle", "Result: ERROR: flag invalid")
THREAD_DOCUMENTED = "Running:\nStopped: eth4@0\nResult: OK: add_device=eth4@0\n"
THREAD_BUSY = "Running: eth4@0 eth5@1 \nStopped: eth6 \nResult: OK: add_device=eth6\n"
THREAD_FREE = "Running: \nStopped: \nResult: NA\n"
VERSION = "Packet Generator for packet performance testing. Version: 2.75\n"


def tree(folder: Path, *devices: str, threads: int = 2) -> Path:
    """A folder like /proc/net/pktgen: what is written to a file stands behind its text."""
    made = folder / "pktgen"
    made.mkdir()
    (made / "pgctrl").write_text(VERSION)
    for number in range(threads):
        (made / f"kpktgend_{number}").write_text(THREAD_FREE)
    for device in devices:
        (made / device).write_text(DOCUMENTED)
    return made


class Kernel:
    """Answers to start and stop in such a tree, as the kernel does: with new times and results.

    ``late`` polls pass before it takes notice; ``endless`` devices run until they are stopped.
    """

    def __init__(self, made: Path, *, late: int = 0, endless: bool = False) -> None:
        self._made, self._late, self._endless = made, late, endless
        self._seen = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        waited = running = 0
        while not self._over.wait(0.002):
            lines = commands(self._made, "pgctrl")[self._seen :]
            if not running and "start" in lines:
                waited += 1
                if waited > self._late:
                    self._seen += len(lines)  # a stop before the start is forgotten
                    self._show("Starting", sent=17)
                    waited, running = 0, 1
            elif running and (not self._endless or "stop" in lines):
                self._seen += len(lines)
                self._show("OK: 15430(c15405+d25) usec, 100000 (60byte,0frags)", sent=100_000)
                running = 0

    def _show(self, result: str, sent: int) -> None:
        for file in self._made.iterdir():
            text = file.read_text() if "@" in file.name and file.is_file() else ""
            if not text.startswith("Params:"):
                continue
            began = int(re.search(r"started: (\d+)us", text)[1])  # type: ignore[index]
            if result == "Starting":
                text = text.replace(f"started: {began}us", f"started: {began + 1}us")
            text = re.sub(r"pkts-sofar: \d+", f"pkts-sofar: {sent}", text)
            file.write_text(re.sub(r"(?m)^Result: .*$", f"Result: {result}", text))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def commands(made: Path, name: str) -> list[str]:
    """What was written to a file of the tree."""
    text = (made / name).read_text()
    if text.startswith("Params:"):
        return text.partition("bps) errors: 0\n")[2].splitlines()
    for before in (THREAD_FREE, VERSION):
        if text.startswith(before):
            return text.removeprefix(before).splitlines()
    raise AssertionError(f"{name}: {text}")
