# SPDX-License-Identifier: GPL-2.0-only
"""Long commands of an image build: one line for people, everything else in a log."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from vagrant.vm.errors import VmError

_ERROR_LINE = re.compile(r"^(E:|ERROR|error|fatal|.*Error:|setup:|provision:.*needs)", re.MULTILINE)
# killed with this process; what it mounts is seen by nobody else, and gone when it is
_PREFIX = ("setpriv", "--pdeathsig", "TERM", "--", "unshare", "--mount", "--")
_STOP_S = 10.0
_FULL_BYTES = 64 << 20  # what failed with less than that left failed for that
NO_SPACE = "No space left on device"


class Steps:
    """Runs commands one after the other; their output goes to ``log``."""

    def __init__(self, log: Path) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")

    def run(
        self, what: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None
    ) -> None:
        """Run it to its end. Raises VmError with the last error line of its output."""
        click.echo(f"vm: {what} ... ", nl=False, err=True)
        started, where = time.monotonic(), self.log.stat().st_size
        with self.log.open("a") as log:
            log.write(f"+ {' '.join(map(str, command))}\n")
            log.flush()
            process = subprocess.Popen(
                (*_PREFIX, *map(str, command)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
            try:
                code = process.wait()
            except BaseException:
                click.echo("stopped", err=True)
                _stop(process)
                raise
        click.echo("failed" if code else f"{time.monotonic() - started:.0f} s", err=True)
        if code:
            raise VmError(f"{what}: {self._reason(where, code)}", cure=f"log: {self.log}")

    def _reason(self, where: int, code: int) -> str:
        said = self.log.read_bytes()[where:].decode(errors="replace")
        full = shutil.disk_usage(self.log.parent).free < _FULL_BYTES
        if NO_SPACE in said or full:
            return NO_SPACE
        found = [line for line in said.splitlines() if _ERROR_LINE.match(line)]
        return found[0] if found else f"exit code {code}"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """All of its session: politely, so that it removes its temporary files, then not."""
    for number, wait_s in ((signal.SIGTERM, _STOP_S), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
