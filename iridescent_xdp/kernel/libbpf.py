# SPDX-License-Identifier: GPL-2.0-only
"""Objects of other projects, loaded as their authors load them: by libbpf (1.0 or newer).

Our own programs never come this way. With ``syscall`` this is the only module that uses ctypes.
"""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache
from pathlib import Path
from typing import Self

from iridescent_xdp.errors import MissingFeatureError, StateError
from iridescent_xdp.kernel.program import Program

_LIBRARY = "libbpf.so.1"
_POINTER, _TEXT = ctypes.c_void_p, ctypes.c_char_p
# name: (result, arguments), as in <bpf/libbpf.h>
_FUNCTIONS = {
    "libbpf_set_print": (_POINTER, [_POINTER]),
    "bpf_object__open_file": (_POINTER, [_TEXT, _POINTER]),
    "bpf_object__load": (ctypes.c_int, [_POINTER]),
    "bpf_object__close": (None, [_POINTER]),
    "bpf_object__next_map": (_POINTER, [_POINTER, _POINTER]),
    "bpf_object__next_program": (_POINTER, [_POINTER, _POINTER]),
    "bpf_object__find_map_fd_by_name": (ctypes.c_int, [_POINTER, _TEXT]),
    "bpf_map__set_pin_path": (ctypes.c_int, [_POINTER, _TEXT]),
    "bpf_program__fd": (ctypes.c_int, [_POINTER]),
}


@lru_cache(maxsize=1)
def _libbpf() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY, use_errno=True)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise MissingFeatureError(
            f"{_LIBRARY} is missing or too old: {error}", cure="apt-get install libbpf1"
        ) from error
    library.libbpf_set_print(None)  # what it says on stderr comes as an error's text instead
    return library


class ForeignObject:
    """A loaded object with maps of its own, none of them pinned; a context manager.

    Raises MissingFeatureError without libbpf, StateError when the object cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._library = _libbpf()
        self._object = self._library.bpf_object__open_file(str(path).encode(), None)
        if not self._object:
            raise self._failure("open")
        try:
            self._keep_unpinned()
            if self._library.bpf_object__load(self._object) < 0:
                raise self._failure("load")
            self.program = self._first_program()
        except OSError:
            self._library.bpf_object__close(self._object)
            raise

    def _failure(self, what: str) -> StateError:
        code = ctypes.get_errno()
        return StateError(f"libbpf cannot {what} {self.path}: {os.strerror(code)}")

    def _keep_unpinned(self) -> None:
        """Maps that ask to be pinned by their name would be shared with the real thing."""
        entry = self._library.bpf_object__next_map(self._object, None)
        while entry:
            self._library.bpf_map__set_pin_path(entry, None)
            entry = self._library.bpf_object__next_map(self._object, entry)

    def _first_program(self) -> Program:
        entry = self._library.bpf_object__next_program(self._object, None)
        if not entry:
            raise StateError(f"{self.path} has no program")
        return Program(os.dup(self._library.bpf_program__fd(entry)), self.path.stem)

    def map_fd(self, name: str) -> int:
        """The descriptor of a map, which stays the object's. Raises StateError."""
        fd = int(self._library.bpf_object__find_map_fd_by_name(self._object, name.encode()))
        if fd < 0:
            raise StateError(f"{self.path} has no map '{name}'")
        return fd

    def close(self) -> None:
        """Give program and maps back."""
        self.program.close()
        if self._object:
            self._library.bpf_object__close(self._object)
            self._object = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
