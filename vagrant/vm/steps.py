# SPDX-License-Identifier: GPL-2.0-only
"""Long commands of an image build: one line for people, everything else in a log."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from vagrant.vm.errors import VmError

_ERROR_LINE = re.compile(r"^(E:|ERROR|error|fatal|.*Error:|setup:|provision:.*needs)", re.MULTILINE)
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
            try:
                code = subprocess.run(
                    ("setpriv", "--pdeathsig", "TERM", "--", *map(str, command)),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=env,
                    check=False,
                ).returncode
            except BaseException:
                click.echo("stopped", err=True)
                raise
        click.echo("failed" if code else f"{time.monotonic() - started:.0f} s", err=True)
        if code:
            raise VmError(f"{what}: {self._reason(where, code)}", cure=f"log: {self.log}")

    def _reason(self, where: int, code: int) -> str:
        said = self.log.read_bytes()[where:].decode(errors="replace")
        if NO_SPACE in said:
            return NO_SPACE
        found = [line for line in said.splitlines() if _ERROR_LINE.match(line)]
        return found[0] if found else f"exit code {code}"
