# SPDX-License-Identifier: GPL-2.0-only
"""Checks a table against its model and turns what pydantic finds into plain sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from iridescent_xdp.config.problems import (
    KeyPath,
    Plain,
    Problems,
    nearest,
    show_path,
    show_value,
)

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class KeyHints:
    """For unknown keys: ``known`` names keys of this table that its model does not have,
    ``advice`` says for a key that belongs elsewhere where to put it.
    """

    known: tuple[str, ...] = ()
    advice: Mapping[str, str] = field(default_factory=dict)


def table(raw: object, at: KeyPath, problems: Problems) -> dict[str, Any] | None:
    """``raw`` if it is a table, else None and a problem."""
    if isinstance(raw, dict):
        return raw
    problems.add(at, f"must be a table, got {show_value(raw)}", f"write it as [{show_path(at)}]")
    return None


def checked(
    model: type[M],
    raw: Mapping[str, object],
    at: KeyPath,
    problems: Problems,
    hints: KeyHints | None = None,
) -> M | None:
    """``raw`` as a ``model``, or None and a problem for each mistake."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            what, cure = _sentence(model, detail, hints or KeyHints())
            problems.add((*at, detail["loc"][0]), what, cure)
    return None


def checked_part(model: type[M], raw: Mapping[str, object], at: KeyPath, problems: Problems) -> M:
    """Like ``checked`` for a model without required keys: a wrong key takes its default.

    The result serves to find more mistakes; the problems that were noted forbid to use it.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        wrong = {detail["loc"][0] for detail in error.errors(include_url=False)}
    checked(model, raw, at, problems)
    return model.model_validate({key: raw[key] for key in raw if key not in wrong})


def _sentence(model: type[BaseModel], detail: ErrorDetails, hints: KeyHints) -> tuple[str, str]:
    key, value = str(detail["loc"][0]), detail["input"]
    if detail["type"] == "extra_forbidden":
        return "is not a known key", _cure_for_key(key, model, hints)
    declared = model.model_fields[key]
    example = f"`{key} = {show_value(_example(declared))}`"
    if detail["type"] == "missing":
        return "is missing", f"add for example {example}"
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, Plain):
        return cause.what, cause.cure
    rule = f"must be {_rule(declared)}, got {show_value(value)}"
    return rule, _cure_for_value(declared, value) or f"for example {example}"


def _cure_for_key(key: str, model: type[BaseModel], hints: KeyHints) -> str:
    known = (*model.model_fields, *hints.known)
    near = nearest(key, known)
    if key in hints.advice:
        return hints.advice[key]
    return f"did you mean '{near}'?" if near else f"known keys: {', '.join(sorted(known))}"


def _cure_for_value(declared: FieldInfo, value: object) -> str | None:
    if not isinstance(value, str):
        return None
    near = nearest(value, choices(declared))
    if near:
        return f"did you mean {show_value(near)}?"
    number = value.removeprefix("-").replace(".", "", 1)
    if not choices(declared) and number.isascii() and number.isdecimal():
        return f"write {value} without quotes"
    return None


def _rule(declared: FieldInfo) -> str:
    return declared.description or f"one of {', '.join(show_value(c) for c in choices(declared))}"


def _example(declared: FieldInfo) -> object:
    return declared.examples[0] if declared.examples else {}


def choices(declared: FieldInfo) -> tuple[str, ...]:
    """The values of a field that takes one of a few words, else nothing."""
    is_choice = get_origin(declared.annotation) is Literal
    return get_args(declared.annotation) if is_choice else ()
