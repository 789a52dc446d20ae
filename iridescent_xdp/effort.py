# SPDX-License-Identifier: GPL-2.0-only
"""What specialization costs the developer of a template, counted in lines of its source.

A *marked* line is one on which a ``SPEC_`` macro declares a tuning or narrowing point or a compiled
table, guards or observes one, or asks for hot keys. A line with several macros is one line; what
a macro call continues on is not another; comments and texts do not count. The template and its own
headers are counted, the language's (``iridescent*.h``) are not.

Not marked, and told apart: *policy*, points that the operator sets, which a program without
specialization would have as options; the *frame*, which each template has once (the entry, and the
way of a missed guard to the generic code); and *reads*, lines that name a searched point or a table
as the plain value or function that it is. The last column is Python: the code lines of the
function's companion, ``functions/NAME.py`` and ``NAME_*.py``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from iridescent_xdp.template import Template, bpf_directory

MOST_MARKED = 12  # wanted, per function
_FRAME = frozenset({"SPEC_PROGRAM", "SPEC_MISS_BIT", "spec_miss"})
_NEITHER = frozenset({"SPEC_UNLIKELY", "SPEC_SECTION"})  # shorthands that every C program has
_MACRO = re.compile(r"\b(SPEC_\w+|spec_miss)\b(?:\s*\(\s*(\w+))?")
_CLASSED = frozenset({"SPEC_BOOL", "SPEC_RANGE", "SPEC_ENUM", "SPEC_GENERIC"})
_INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
_SKIPPED = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_NAME = re.compile(r"(?<!struct )(?<![.>\w])\w+")  # of a variable or function, not of a member
_LANGUAGE = "iridescent"


class Kind(StrEnum):
    """What a line is counted as."""

    MARKED = "marked"
    POLICY = "policy"
    FRAME = "frame"
    READ = "read"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line that counts; ``where`` is ``file:line``."""

    where: str
    kind: Kind
    text: str


@dataclass(frozen=True, kw_only=True)
class Effort:
    """The lines of one template, and how many code lines of Python go with it."""

    lines: tuple[Line, ...]
    python_lines: int

    def count(self, kind: Kind) -> int:
        """How many lines are of a kind."""
        return sum(line.kind is kind for line in self.lines)

    @property
    def within(self) -> bool:
        """Whether no more lines are marked than wanted."""
        return self.count(Kind.MARKED) <= MOST_MARKED

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        counts = {str(kind): self.count(kind) for kind in Kind}
        return {
            **counts,
            "wanted": MOST_MARKED,
            "within": self.within,
            "python": self.python_lines,
            "lines": [
                {"where": line.where, "kind": str(line.kind), "text": line.text}
                for line in self.lines
            ],
        }


def effort_of(template: Template) -> Effort:
    """Count a template's lines; its file is read again."""
    names = {point.name for point in template.points if point.searched}
    names |= {table.name for table in template.tables}
    found = [line for path in _sources(template.path) for line in _lines(path, names)]
    package = Path(__file__).resolve().parent / "functions"
    companion = [package / f"{template.name}.py", *package.glob(f"{template.name}_*.py")]
    python = sum(_code_lines(path) for path in companion if path.is_file())
    return Effort(lines=tuple(found), python_lines=python)


def _sources(path: Path) -> list[Path]:
    """The template and the headers of its own, those that they include too."""
    found, waiting = [path], [path]
    while waiting:
        for name in _INCLUDE.findall(waiting.pop().read_text()):
            places = (folder / name for folder in (path.parent, bpf_directory() / "include"))
            header = next((place for place in places if place.is_file()), None)
            if header and header not in found and not header.name.startswith(_LANGUAGE):
                found.append(header)
                waiting.append(header)
    return found


def _lines(path: Path, names: set[str]) -> Iterator[Line]:
    text = path.read_text()
    shown = text.splitlines()
    for number, line in enumerate(_SKIPPED.sub(_blank, text).splitlines()):
        kind = _kind(line, names)
        if kind is not None:
            yield Line(where=f"{path.name}:{number + 1}", kind=kind, text=shown[number].strip())


def _blank(match: re.Match[str]) -> str:
    """A comment or a text leaves only its line breaks."""
    return re.sub(r"[^\n]", " ", match[0])


def _kind(line: str, names: set[str]) -> Kind | None:
    if line.lstrip().startswith("#include"):
        return None
    kinds = {_kind_of(macro, first) for macro, first in _MACRO.findall(line)}
    for kind in (Kind.MARKED, Kind.POLICY, Kind.FRAME):
        if kind in kinds:
            return kind
    return Kind.READ if names & set(_NAME.findall(line)) else None


def _kind_of(macro: str, first: str) -> Kind | None:
    if macro in _NEITHER:
        return None
    if macro in _FRAME:
        return Kind.FRAME
    return Kind.POLICY if macro in _CLASSED and first == "policy" else Kind.MARKED


def _code_lines(path: Path) -> int:
    """Lines of Python that are neither blank nor a comment nor part of a lone text."""
    text = path.read_text()
    lines = {n for n, s in enumerate(text.splitlines(), 1) if s.strip() and s.lstrip()[0] != "#"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)
