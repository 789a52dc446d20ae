# SPDX-License-Identifier: GPL-2.0-only
"""From the tables of an operator file to a Config; every mistake in it is told at once."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from iridescent_xdp.config.check import KeyHints, checked, checked_part, table
from iridescent_xdp.config.document import read_document
from iridescent_xdp.config.model import (
    AdaptConfig,
    Config,
    ConstraintsConfig,
    InterfaceConfig,
    InterfaceSettings,
    LimitsConfig,
    SearchConfig,
    Section,
)
from iridescent_xdp.config.objective import ALONE, read_objective
from iridescent_xdp.config.points import read_policy, read_search
from iridescent_xdp.config.problems import KeyPath, Problems, nearest, quote, show_path
from iridescent_xdp.config.registry import (
    TEMPLATE_SUFFIX,
    known_functions,
    table_keys,
    table_reader,
)

MAX_NAME_BYTES = 15  # IFNAMSIZ - 1, <linux/if.h>
# Tables of [interface.X] that hold nothing but plain keys.
_PARTS: dict[str, type[Section]] = {
    "adapt": AdaptConfig,
    "constraints": ConstraintsConfig,
    "limits": LimitsConfig,
}
_NAMES_CURE = "`ip -brief link` lists the names"


def load_config(path: Path, *, functions: Collection[str] | None = None) -> Config:
    """Read and check an operator file.

    ``functions`` names the templates that may be given by name; by default those of this
    installation. Points are not checked here: their domains are known by the template.
    Raises ConfigFileError, which lists everything that is wrong.
    """
    problems = Problems(path)
    document = read_document(problems)
    problems.raise_if_any()
    return read_config(document, path, functions=functions)


def read_config(
    document: dict[str, Any], path: Path, *, functions: Collection[str] | None = None
) -> Config:
    """Check the tables of an operator file that is already parsed; see load_config."""
    problems = Problems(path)
    known = known_functions() if functions is None else functions
    _check_top(document, problems)
    raw = table(document.get("interface", {}), ("interface",), problems) or {}
    interfaces = [_interface(name, raw[name], known, problems) for name in raw]
    problems.raise_if_any()
    return Config(path=path, interfaces=tuple(i for i in interfaces if i is not None))


def _check_top(document: dict[str, Any], problems: Problems) -> None:
    for key in document:
        if key != "interface":
            near = nearest(key, ["interface"])
            cure = f"did you mean '{near}'?" if near else "keys stand under [interface.NAME]"
            problems.add((key,), "is not a known key", cure)
    if not document.get("interface", {}) and not problems.lines:
        cure = 'add [interface.eth0] with function = "filter"'
        problems.add(("interface",), "names no interface", cure)


def _interface(
    name: str, raw: object, functions: Collection[str], problems: Problems
) -> InterfaceConfig | None:
    at: KeyPath = ("interface", name)
    _check_name(name, at, problems)
    keys = table(raw, at, problems)
    if keys is None:
        return None
    function = _function(keys.get("function"), functions, at, problems)
    reader = table_reader(function) if function else None
    search = read_search(keys.get("search", {}), (*at, "search"), problems)
    policy = read_policy(
        keys.get("policy", {}),
        (*at, "policy"),
        problems,
        searched=search.points if search else {},
        derived=reader.derived_points if reader else (),
    )
    shared = keys | {"policy": policy, "search": search or SearchConfig()}
    shared |= {name: _part(name, keys, at, problems) for name in _PARTS}
    if "objective" in keys:
        shared["objective"] = read_objective(keys["objective"], (*at, "objective"), problems)
    settings = _settings(shared, function, at, problems)
    own = {key: keys[key] for key in reader.keys if key in keys} if reader else {}
    tables = reader.read(own, at, problems) if reader else None
    if settings is None or function is None:
        return None
    _check_share(settings, at, problems)
    values = dict(settings) | {"function": function}
    return InterfaceConfig(**values, name=name, tables=tables)


def _part(name: str, keys: dict[str, Any], at: KeyPath, problems: Problems) -> Section:
    raw = table(keys.get(name, {}), (*at, name), problems)
    return checked_part(_PARTS[name], raw or {}, (*at, name), problems)


def _check_share(settings: InterfaceSettings, at: KeyPath, problems: Problems) -> None:
    kind, share = settings.objective.kind, settings.limits.max_share
    if kind in ALONE and share < 1:
        what = f"{quote(kind)} sends all packets to one variant, but limits.max_share is {share}"
        problems.add((*at, "objective"), what, 'take for example "time_per_packet"')


def _settings(
    keys: dict[str, Any], function: str | None, at: KeyPath, problems: Problems
) -> InterfaceSettings | None:
    """The keys that every function has; the function's own ones are left out."""
    reader = table_reader(function) if function else None
    own = reader.keys if reader else ()
    left_out = own if function else table_keys()
    tables: dict[str, type[Section]] = {"search": SearchConfig, **_PARTS}
    advice = (
        {
            key: f"it belongs in [{show_path((*at, name))}]"
            for name, model in tables.items()
            for key in model.model_fields
        }
        | {key: f"function {quote(function or '')} has no such table" for key in table_keys()}
        | _vlan_advice(keys, at)
    )
    shared = {key: value for key, value in keys.items() if key not in left_out}
    return checked(InterfaceSettings, shared, at, problems, KeyHints(known=own, advice=advice))


def _check_name(name: str, at: KeyPath, problems: Problems) -> None:
    """The rules of dev_valid_name() in the kernel's net/core/dev.c."""
    size = len(name.encode())
    if size > MAX_NAME_BYTES:
        what = f"the name of an interface has at most {MAX_NAME_BYTES} bytes, got {size}"
        problems.add(at, what, _NAMES_CURE)
    elif name in ("", ".", "..") or any(c in "/:" or c.isspace() for c in name):
        what = f"the name of an interface holds no '/', ':' or blanks, got {quote(name)}"
        problems.add(at, what, _NAMES_CURE)


def _vlan_advice(keys: dict[str, Any], at: KeyPath) -> dict[str, str]:
    """``[interface.eth0.7]`` is a table 7 of eth0; the name of a VLAN interface needs quotes."""
    return {
        key: f'a name with a dot needs quotes: [interface."{at[-1]}.{key}"]'
        for key, value in keys.items()
        if isinstance(value, dict) and key.isdecimal()
    }


def _function(
    value: object, functions: Collection[str], at: KeyPath, problems: Problems
) -> str | None:
    """The name, or the absolute path, of the function's template; None after a problem.

    A missing value or one that is not text is left to the model.
    """
    at = (*at, "function")
    if not isinstance(value, str) or value in functions:
        return value if isinstance(value, str) else None
    if not value.endswith(TEMPLATE_SUFFIX):
        near = nearest(value, functions)
        cure = f'did you mean "{near}"?' if near else f"known: {', '.join(sorted(functions))}"
        file_kind = f"the path of a {TEMPLATE_SUFFIX} file"
        what = f"must be the name of a function or {file_kind}, got {quote(value)}"
        problems.add(at, what, cure)
        return None
    file = (problems.file.parent / value).resolve()
    if file.is_file():
        return str(file)
    cure = "a relative path starts at the folder of this file"
    problems.add(at, f"no such file, got {quote(value)}", cure)
    return None
