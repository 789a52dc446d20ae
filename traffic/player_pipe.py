# SPDX-License-Identifier: GPL-2.0-only
"""The sending process as its parent has it: a plan goes in, what happened comes out."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from iridescent_xdp.errors import TrafficError
from traffic.player_process import PlayPlan

Event = dict[str, Any]

LOOK_S = 0.02  # how often somebody who waits for an event can look at something else
READ_BYTES = 65_536
START_S = 30.0  # for the process to come up on a busy machine


class SenderProcess:
    """Runs traffic/player_process.py; ready when it is made. It ends with this process."""

    def __init__(self, plan: PlayPlan, descriptors: Sequence[int]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "traffic.player_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=descriptors,
        )
        self.pid = self._process.pid
        self.events = self._read()
        try:
            self._write(json.dumps(plan).encode() + b"\n")
            self._expect_ready()
        except BaseException:
            self.end()
            raise

    def go(self) -> None:
        """Begin to send. Raises TrafficError when the process is gone."""
        self._write(b"g")

    def stop(self) -> None:
        """It ends after the live run that is on, and says so."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def end(self) -> None:
        """Stop it and wait until it is gone; its last events can still be read."""
        self.stop()
        self._process.wait()

    def close(self) -> None:
        """Give the pipes back; nothing reads ``events`` any more."""
        self.end()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def gone(self) -> TrafficError:
        """What to raise when the events ended too early."""
        return TrafficError(f"the sending process ended, exit code {self._process.wait()}")

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except BrokenPipeError as error:
            raise self.gone() from error

    def _expect_ready(self) -> None:
        deadline = time.monotonic() + START_S
        for event in self.events:
            if event is not None:
                return
            if time.monotonic() > deadline:
                raise TrafficError(f"the sending process did not come up within {START_S:.0f} s")
        raise self.gone()

    def _read(self) -> Iterator[Event | None]:
        """What the process tells, until it ends; None where nothing comes for LOOK_S."""
        assert self._process.stdout is not None
        out, kept = self._process.stdout.fileno(), b""
        while True:
            if not select.select([out], [], [], LOOK_S)[0]:
                yield None
                continue
            data = os.read(out, READ_BYTES)
            if not data:
                return
            *lines, kept = (kept + data).split(b"\n")
            for line in lines:
                yield json.loads(line)
