# SPDX-License-Identifier: GPL-2.0-only
"""What happened and why: every change and decision is a JSON line with its numbers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Self, TextIO

import numpy as np

from iridescent_xdp.errors import StateError

Listener = Callable[[dict[str, Any]], None]


class EventLog:
    """Appends to a file and tells listeners; ``elapsed_s`` counts from the log's beginning.

    Any thread may tell; one at a time does.
    """

    def __init__(self, path: Path | None, listener: Listener | None = None) -> None:
        self.path = path
        self._listener = listener
        self._began = time.monotonic()
        self._lock = threading.RLock()
        self._file: TextIO | None = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = path.open("a", encoding="utf-8")
            except OSError as error:
                raise StateError(
                    f"cannot write events to {path}: {error.strerror}", cure="choose --events FILE"
                ) from error

    def tell(self, event: str, **numbers: object) -> None:
        """Write one event at once, so that it survives a kill."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "elapsed_s": round(time.monotonic() - self._began, 4),
            "event": event,
            **{name: _plain(value) for name, value in numbers.items()},
        }
        with self._lock:
            if self._file is not None:
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
            if self._listener is not None:
                self._listener(line)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {k: _plain(v) for k, v in asdict(value).items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
