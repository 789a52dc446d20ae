# SPDX-License-Identifier: GPL-2.0-only
"""SIGHUP to `iridescent run`: the operator file is read again, changed tables are applied."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Self

from iridescent_xdp.commands.session import Session
from iridescent_xdp.config import Config, InterfaceConfig, load_config
from iridescent_xdp.errors import ConfigError, IridescentError


class Reloader:
    """A thread that does it, so that neither a search nor a signal handler has to wait.

    All or nothing, as far as that goes: every table of every interface is checked before the first
    one is changed. Whatever is wrong is told, and then nothing is changed.
    """

    def __init__(self, loaded: Config, sessions: Sequence[Session]) -> None:
        self._loaded = loaded
        self._sessions = sessions
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()  # may be put to in a handler
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        self._kept: object = None

    def __enter__(self) -> Self:
        self._kept = signal.signal(signal.SIGHUP, self._on_signal)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGHUP, self._kept)  # type: ignore[arg-type]
        self._asked.put(False)
        self._thread.join()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._asked.put(True)

    def _run(self) -> None:
        while self._asked.get():
            self.reload()

    def reload(self) -> bool:
        """Read the file, apply the difference; whether that went well. Told to every session."""
        try:
            wanted = load_config(self._loaded.path)
            refuse_others(self._loaded, wanted)
            planned = [(s, self._changes(s, wanted)) for s in list(self._sessions)]
            for session, changes in planned:
                session.controller.change(changes)
        except (IridescentError, OSError) as error:
            self._tell("reload_refused", str(error))
            return False
        for session, changes in planned:
            told = f"{len(changes)} changes" if changes else "nothing changed"
            session.tell("reloaded", changes=len(changes), reason=told)
        return True

    def _changes(self, session: Session, wanted: Config) -> Sequence[object]:
        """What has to change on one interface; checked, not yet done."""
        (tables,) = (i.tables for i in wanted.interfaces if i.name == session.name)
        function = session.controller.plan.function
        with function.lock:
            changes = function.changes_to(tables)
            if changes:
                function.policy_for(changes)
        return changes

    def _tell(self, event: str, reason: str) -> None:
        for session in list(self._sessions):
            session.tell(event, reason=reason)


def refuse_others(before: Config, now: Config) -> None:
    """Only tables may have changed. Raises ConfigError that names each other key."""
    old = {interface.name: interface for interface in before.interfaces}
    new = {interface.name: interface for interface in now.interfaces}
    changed = sorted(old.keys() ^ new.keys())
    changed += [
        f"{name}.{key}" for name in old if name in new for key in _differing(old[name], new[name])
    ]
    if changed:
        raise ConfigError(
            f"only tables can change while it runs, but {', '.join(changed)} changed too; "
            "nothing was applied",
            cure="stop 'iridescent run' with Ctrl-C and start it again; traffic goes on meanwhile",
        )


def _differing(old: InterfaceConfig, new: InterfaceConfig) -> list[str]:
    keys = [key for key in type(old).model_fields if key != "tables"]
    return [key for key in keys if getattr(old, key) != getattr(new, key)]
