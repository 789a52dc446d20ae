# SPDX-License-Identifier: GPL-2.0-only
"""What was written to the maps that packets meet, to be written to a sandbox later.

A change of tables reaches the sandboxes of a preflight as it reached the interface, with the same
numbering of entries, but only when they are needed: of a thousand writes to one entry the last.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from iridescent_xdp.kernel.maps import Map, Records
from iridescent_xdp.state import State


class JournaledState(State):
    """A state whose writes are noted. Owns nothing: the maps belong to ``state``."""

    def __init__(self, state: State) -> None:
        self._notes: dict[tuple[str, bytes], bytes | None] = {}  # None: taken out
        maps: dict[str, Map] = {
            name: _JournaledMap(held, self._notes) for name, held in state.maps.items()
        }
        super().__init__(state.template, maps)

    def replay(self, states: Iterable[State]) -> bool:
        """Bring ``states`` up to date; what is noted is forgotten then. Raises OSError.

        Returns whether that changed anything: what is written again as it was does not.
        """
        changed = False
        for state in states:
            for (name, key), value in self._notes.items():
                held = state[name].read(key)
                if value is None:
                    changed |= state[name].delete(key)
                elif held is None or held.tobytes() != value:
                    state[name].write(key, value)
                    changed = True
        self._notes.clear()
        return changed

    def close(self) -> None:
        """The descriptors belong to another."""


class _JournaledMap(Map):
    def __init__(self, held: Map, notes: dict[tuple[str, bytes], bytes | None]) -> None:
        super().__init__(held.spec, held.fd, held.dtype)
        self._notes = notes

    def write(self, key: bytes | int, value: bytes | Records) -> None:
        super().write(key, value)
        self._notes[self.spec.name, _raw(key)] = (
            value if isinstance(value, bytes) else value.tobytes()
        )

    def delete(self, key: bytes | int) -> bool:
        self._notes[self.spec.name, _raw(key)] = None
        return super().delete(key)

    def write_many(self, keys: Records, values: bytes) -> None:
        super().write_many(keys, values)
        size = self.spec.value_bytes
        for place, key in enumerate(keys):
            value = values[place * size : (place + 1) * size]
            self._notes[self.spec.name, key.tobytes()] = value

    def close(self) -> None:
        """The descriptor belongs to another."""


def _raw(key: bytes | int) -> bytes:
    return struct.pack("<I", key) if isinstance(key, int) else key
