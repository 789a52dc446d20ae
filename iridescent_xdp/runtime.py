# SPDX-License-Identifier: GPL-2.0-only
"""What a controller leaves for `status` and for its successor, one folder per interface.

The kernel is the truth: which program runs is read from the slots. The record only says what
the program ids stand for, so it is written *before* a program goes live.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Self

from iridescent_xdp.errors import StateError
from iridescent_xdp.state import PINS

RUN = Path("/run/iridescent")


@dataclass(kw_only=True)
class Record:
    """One interface's record; ``programs`` maps a program id to what it is.

    ``notes`` is what the function says about its tables. ``roots`` are the root programs that may
    be on the link: while one controller takes over from another there are two.
    """

    interface: str
    function: str
    template: str
    mode: str
    toolchain: str
    root_id: int = 0
    pid: int = 0
    phase: str = "starting"
    events: str = ""
    tables: str = ""
    notes: list[str] = field(default_factory=list)
    programs: dict[str, dict[str, object]] = field(default_factory=dict)
    roots: list[int] = field(default_factory=list)

    def save(self, key: str) -> None:
        """Write atomically."""
        path = record_path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(asdict(self), indent=1))
        temporary.replace(path)

    @classmethod
    def load(cls, key: str) -> Self | None:
        """The record of an interface; None when there is none or it is damaged."""
        try:
            return cls(**json.loads(record_path(key).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def alive(self) -> bool:
        """Whether the controller that wrote it still runs."""
        return self.pid > 0 and Path(f"/proc/{self.pid}").exists()


def record_path(key: str) -> Path:
    """Where the record of an interface is."""
    return RUN / key / "record.json"


def events_path(key: str) -> Path:
    """Where events go when the operator names no file."""
    return RUN / key / "events.jsonl"


def forget(key: str) -> None:
    """Remove what an interface left in /run; its event log stays."""
    record_path(key).unlink(missing_ok=True)
    (RUN / key / "lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (RUN / key).rmdir()


def known_keys() -> list[str]:
    """Interfaces that have pins or a record."""
    found = {p.name for p in PINS.iterdir()} if PINS.is_dir() else set()
    found |= {p.parent.name for p in RUN.glob("*/record.json")}
    return sorted(found)


class Lock:
    """One controller per interface; the kernel frees the lock when the process dies."""

    def __init__(self, key: str) -> None:
        path = RUN / key / "lock"
        self._file = self._taken(path, key)
        while not self._same(path):  # a leaving controller removed the file that we locked
            self._file.close()
            self._file = self._taken(path, key)

    @staticmethod
    def _taken(path: Path, key: str) -> IO[str]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("w")
        except OSError as error:
            raise StateError(f"cannot lock {path}: {error.strerror}", cure="run as root") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            record = Record.load(key)
            who = f" (process {record.pid})" if record is not None else ""
            raise StateError(
                f"another controller runs on '{key}'{who}", cure="stop it first, e.g. with Ctrl-C"
            ) from error
        return file

    def _same(self, path: Path) -> bool:
        try:
            return path.stat().st_ino == os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Let the next controller in."""
        self._file.close()
