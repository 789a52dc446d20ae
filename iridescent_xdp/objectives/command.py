# SPDX-License-Identifier: GPL-2.0-only
"""Objective ``command``: a program of the operator measures and prints one number.

It is started without a shell, with IRIDESCENT_INTERFACE and IRIDESCENT_VARIANT in its
environment, while only that variant meets packets. It ends with exit code 0 and nothing but the
number on its standard output, or the measurement has failed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from typing import IO

from iridescent_xdp.config.objective import CommandConfig
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.objectives.base import Turn
from iridescent_xdp.objectives.outside import OutsideObjective, number_of

MOST_BYTES = 4096  # of output; a number needs less
POLL_S = 0.05


class Command(OutsideObjective):
    """What the operator's command prints, in the operator's unit."""

    name = "command"

    def __init__(self, config: CommandConfig) -> None:
        super().__init__(config)
        self._argv = config.command

    def measure(self, turn: Turn) -> float:
        """Run it once; with its children it is killed at the time-out."""
        here = {"IRIDESCENT_INTERFACE": turn.interface, "IRIDESCENT_VARIANT": turn.variant}
        try:
            process = subprocess.Popen(
                self._argv,
                env=os.environ | here,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise MeasurementError(f"{self._argv[0]} cannot be run: {error.strerror}") from error
        with process:
            try:
                return self._answer(process, turn)
            finally:
                if process.returncode is None:  # not waited for, so the number is still its own
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)

    def _answer(self, process: subprocess.Popen[bytes], turn: Turn) -> float:
        assert process.stdout is not None and process.stderr is not None
        deadline = time.monotonic() + self.timeout_s
        out, complaint = self._read(process.stdout, process.stderr, deadline, turn)
        try:
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self._late() from None
        if code:
            last = complaint.decode(errors="replace").strip().splitlines()[-1:]
            told = f": {last[0]}" if last else ""
            raise MeasurementError(f"{self._argv[0]} ended with exit code {code}{told}")
        return number_of(out.decode(errors="replace"), self._argv[0])

    def _read(
        self, out: IO[bytes], err: IO[bytes], deadline: float, turn: Turn
    ) -> tuple[bytes, bytes]:
        """Both outputs to their ends; of the second one the last part."""
        held = {out: b"", err: b""}
        with selectors.DefaultSelector() as waiting:
            for pipe in held:
                waiting.register(pipe, selectors.EVENT_READ)
            while waiting.get_map():
                if time.monotonic() > deadline:
                    raise self._late()
                if turn.stop():
                    raise MeasurementError("interrupted")
                for key, _ in waiting.select(POLL_S):
                    pipe = out if key.fileobj is out else err
                    more = os.read(pipe.fileno(), MOST_BYTES)
                    if not more:
                        waiting.unregister(pipe)
                    held[pipe] = (held[pipe] + more)[-MOST_BYTES - 1 :]
                if len(held[out]) > MOST_BYTES:
                    raise MeasurementError(f"{self._argv[0]} prints more than one number")
        return held[out], held[err]

    def _late(self) -> MeasurementError:
        return MeasurementError(
            f"{self._argv[0]} took longer than timeout_s = {self.timeout_s:g}",
            cure="raise timeout_s",
        )
