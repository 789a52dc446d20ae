# SPDX-License-Identifier: GPL-2.0-only
"""The policy behind ``strategy``: a built-in one by its name, or a Python file of one's own."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
import traceback
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.search import POLICIES
from iridescent_xdp.search.policy import Policy

SUFFIX = ".py"
_DOCS = "docs/policies.md shows a whole one"


def policy_class(strategy: str, base: Path) -> type[Policy]:
    """The class that ``strategy`` names: a key of POLICIES, or a file relative to ``base``.

    The file is run, with the rights of this process. It holds exactly one class derived from Policy
    whose name has no leading underscore; imported classes do not count. Raises ConfigError, with
    the line where there is one, for an unknown name and for a file that gives no such class.
    """
    if strategy in POLICIES:
        return POLICIES[strategy]
    if not strategy.endswith(SUFFIX):
        near = difflib.get_close_matches(strategy, POLICIES, n=1)
        known = f"there are {', '.join(POLICIES)}, or give the path of a {SUFFIX} file"
        raise ConfigError(
            f"search: no strategy '{strategy}'",
            cure=f"did you mean '{near[0]}'?" if near else known,
        )
    path = (base / strategy).resolve()
    return _only_policy(_load(path), path)


def _load(path: Path) -> ModuleType:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"search: cannot read the policy {path}: {error.strerror}",
            cure="the path is relative to the operator file",
        ) from error
    try:
        code = compile(source, str(path), "exec")
    except SyntaxError as error:
        raise ConfigError(f"{path}:{error.lineno}: {error.msg}") from error
    except ValueError as error:  # a null byte
        raise ConfigError(f"{path}: {error}") from error
    name = f"iridescent_policy_{sha256(bytes(path)).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise ConfigError(f"search: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        exec(code, module.__dict__)
    except Exception as error:
        del sys.modules[name]
        line = _line_in(path, error)
        raise ConfigError(f"{path}{line}: {type(error).__name__}: {error}") from error
    return module


def _line_in(path: Path, error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f":{lines[-1]}" if lines else ""


def _only_policy(module: ModuleType, path: Path) -> type[Policy]:
    own = [
        found
        for found in vars(module).values()
        if inspect.isclass(found)
        and issubclass(found, Policy)
        and found.__module__ == module.__name__
        and not found.__name__.startswith("_")
    ]
    own = list(dict.fromkeys(own))
    if not own:
        raise ConfigError(f"{path}: no class is derived from Policy", cure=_DOCS)
    if len(own) > 1:
        names = ", ".join(policy.__name__ for policy in own)
        raise ConfigError(
            f"{path}: one policy is needed, there are {len(own)}: {names}",
            cure="begin the names of the others with an underscore",
        )
    policy = own[0]
    missing = sorted(getattr(policy, "__abstractmethods__", ()))
    if missing:
        raise ConfigError(f"{path}: class {policy.__name__} lacks {', '.join(missing)}", cure=_DOCS)
    if not hasattr(policy, "name"):
        policy.name = path.stem
    return policy
