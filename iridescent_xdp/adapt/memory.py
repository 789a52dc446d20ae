# SPDX-License-Identifier: GPL-2.0-only
"""Winners of past searches, found again by the workload's signature; on disk, in SQLite.

What was measured for other code or other tables says nothing, so a row belongs to a *context*
(template, points, tables, policy, by digest and value), and a row of another context is never
returned. What was committed survives a kill; a damaged file is set aside, and memory begins empty.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from iridescent_xdp.adapt.signature import Distance, Signature, distance
from iridescent_xdp.errors import ConfigError, StateError
from iridescent_xdp.plan import Plan
from iridescent_xdp.statistics import Effect
from iridescent_xdp.template import source_digest
from iridescent_xdp.variant import Variant

SCHEMA = 1  # of the file; another one counts as damaged
ROWS = 256  # remembered at most, of all contexts; the oldest go
SAME = 0.1  # Hellinger distance beyond noise up to which two signatures are one workload,
SAME_NOISE = 4.0  # or standard deviations of noise: a single look cannot tell them apart then
ENOUGH_PACKETS = 400  # below, everything is like everything

_TABLE = """CREATE TABLE IF NOT EXISTS winners (
    id INTEGER PRIMARY KEY, context TEXT NOT NULL, signature TEXT NOT NULL, variant TEXT NOT NULL,
    gain TEXT NOT NULL, remembered_at REAL NOT NULL)"""


@dataclass(frozen=True, kw_only=True)
class Context:
    """For which code and tables something was measured."""

    template: str  # digest of the source and its headers
    points: str  # their declarations, and what the operator restricts them to
    tables: str  # digest
    policy: str

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """The present one; another after a change of the tables."""
        searched = [point for point in plan.template.points if point.searched]
        declared = [(p.name, p.kind, p.default, p.domain, p.labels) for p in searched]
        policy = [
            (point.name, plan.generic[point.name])
            for point in plan.template.points
            if not point.searched
        ]
        return cls(
            template=source_digest(plan.template.path),
            points=json.dumps([declared, sorted(plan.restrict.items())]),
            tables=plan.function.tables_digest(),
            policy=json.dumps(policy),
        )

    @property
    def key(self) -> str:
        """All of it in one text."""
        return json.dumps([self.template, self.points, self.tables, self.policy])


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """A winner, the workload it won on, and how far that is from the one asked for."""

    variant: Variant
    gain: Effect | None
    signature: Signature
    distance: Distance
    remembered_at: float  # seconds since 1970
    number: int  # for ``forget``


def _say_nothing(event: str, **numbers: object) -> None:
    del event, numbers


class Memory:
    """Winners in the file ``path``; ``tell`` gets the event of a file that was set aside.

    One thread uses it; processes may share the file. Raises StateError where it cannot be written.
    """

    def __init__(self, path: Path, *, tell: Callable[..., None] = _say_nothing) -> None:
        self.path = path
        self._tell = tell
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._open()
            except sqlite3.OperationalError:
                raise
            except (sqlite3.DatabaseError, ConfigError) as error:
                self._set_aside(str(error))
                self._open()

    def _open(self) -> None:
        self._file = sqlite3.connect(self.path, timeout=5.0, check_same_thread=False)
        try:
            found = self._file.execute("PRAGMA quick_check").fetchone()[0]
            schema = self._file.execute("PRAGMA user_version").fetchone()[0]
            tables = self._file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if found != "ok" or (tables and schema != SCHEMA):
                raise ConfigError(f"check: {found}; schema {schema}, {SCHEMA} is known")
            with self._file:
                self._file.execute(_TABLE)
                self._file.execute(f"PRAGMA user_version = {SCHEMA}")
        except BaseException:
            self._file.close()
            raise

    def _set_aside(self, reason: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        self.path.replace(aside)
        for suffix in ("-journal", "-wal", "-shm"):  # of the damaged file, not of the next one
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self._tell("memory_damaged", path=str(self.path), kept_as=str(aside), reason=reason)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StateError(
                f"cannot use {self.path}: {error}", cure="check its folder, or name another file"
            ) from error

    # -- remembering -----------------------------------------------------------------------

    def remember(
        self, signature: Signature, variant: Variant, gain: Effect | None, context: Context
    ) -> None:
        """``variant`` won on this workload. What was known of the same workload is replaced."""
        known = self.recall(signature, context)
        row = (
            context.key,
            json.dumps(signature.workload().to_json()),
            json.dumps(variant.values),
            json.dumps(asdict(gain) if gain is not None else None),
            time.time(),
        )
        with self._writing(), self._file:
            if known is not None:
                self._file.execute("DELETE FROM winners WHERE id = ?", (known.number,))
            columns = "context, signature, variant, gain, remembered_at"
            self._file.execute(f"INSERT INTO winners ({columns}) VALUES (?, ?, ?, ?, ?)", row)
            newest = "SELECT id FROM winners ORDER BY id DESC LIMIT ?"
            self._file.execute(f"DELETE FROM winners WHERE id NOT IN ({newest})", (ROWS,))

    def recall(self, signature: Signature, context: Context) -> Remembered | None:
        """The winner of the nearest workload, if that may be the same one.

        None also for a signature of fewer than ENOUGH_PACKETS packets.
        """
        asked = signature.workload()
        if asked.packets < ENOUGH_PACKETS:
            return None
        best: Remembered | None = None
        for row in self._rows(context):
            found = _remembered(asked, row)
            if found is None or not found.distance.within(SAME, SAME_NOISE):
                continue
            if best is None or found.distance.hellinger < best.distance.hellinger:
                best = found
        return best

    def knows(self, context: Context) -> bool:
        """Whether there is any winner for ``context``."""
        query = "SELECT EXISTS (SELECT 1 FROM winners WHERE context = ?)"
        with self._writing():
            return bool(self._file.execute(query, (context.key,)).fetchone()[0])

    def _rows(self, context: Context) -> list[tuple[object, ...]]:
        query = "SELECT id, signature, variant, gain, remembered_at FROM winners WHERE context = ?"
        with self._writing():
            return self._file.execute(query, (context.key,)).fetchall()

    def forget(self, number: int | None = None) -> int:
        """Forget one row, or all of them; how many there were."""
        with self._writing(), self._file:
            if number is None:
                return self._file.execute("DELETE FROM winners").rowcount
            return self._file.execute("DELETE FROM winners WHERE id = ?", (number,)).rowcount

    def __len__(self) -> int:
        """Rows of all contexts."""
        with self._writing():
            return int(self._file.execute("SELECT count(*) FROM winners").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _remembered(asked: Signature, row: tuple[object, ...]) -> Remembered | None:
    """A row as it is for the workload ``asked``; None when they have nothing in common, or when
    the row cannot be read."""
    number, signature, variant, gain, remembered_at = row
    try:
        read = Signature.from_json(str(signature))
        values = tuple((str(name), int(value)) for name, value in json.loads(str(variant)))
        effect = json.loads(str(gain))
        won = Effect(**effect) if effect is not None else None
    except (ConfigError, ValueError, TypeError):
        return None
    apart = distance(asked, read)
    if apart is None:
        return None
    return Remembered(
        variant=Variant(values),
        gain=won,
        signature=read,
        distance=apart,
        remembered_at=float(str(remembered_at)),
        number=int(str(number)),
    )
