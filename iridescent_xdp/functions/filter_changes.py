# SPDX-License-Identifier: GPL-2.0-only
"""What can change in the filter's tables while it runs; inert, checked before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.filter_config import MAX_RULES, MAX_SET_PREFIXES, FilterTables
from iridescent_xdp.functions.rules import Network, Rule

SetName = Literal["allow", "deny"]
SETS: tuple[SetName, ...] = get_args(SetName)


@dataclass(frozen=True, kw_only=True)
class SetRules:
    """The whole rule list; ``comments`` has one text for each rule, or none at all."""

    rules: tuple[Rule, ...]
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SetRule:
    """One rule in place of the one at ``place``, counted from 0."""

    place: int
    rule: Rule
    comment: str = ""


@dataclass(frozen=True, kw_only=True)
class SetPrefixes:
    """A whole address set, "allow" or "deny"."""

    name: SetName
    prefixes: tuple[Network, ...]


@dataclass(frozen=True, kw_only=True)
class AddPrefix:
    """A prefix that is not yet in a set."""

    name: SetName
    prefix: Network


@dataclass(frozen=True, kw_only=True)
class RemovePrefix:
    """A prefix that is in a set."""

    name: SetName
    prefix: Network


class PrefixSet:
    """An address set that is changed in place; its order means nothing."""

    def __init__(self, prefixes: Iterable[Network]) -> None:
        self._list = list(prefixes)
        self._places = {prefix: place for place, prefix in enumerate(self._list)}

    def __contains__(self, prefix: Network) -> bool:
        return prefix in self._places

    def __iter__(self) -> Iterator[Network]:
        return iter(self._list)

    def __len__(self) -> int:
        return len(self._list)

    def add(self, prefix: Network) -> None:
        """Add one that is not there."""
        self._places[prefix] = len(self._list)
        self._list.append(prefix)

    def remove(self, prefix: Network) -> None:
        """Remove one that is there."""
        place, last = self._places.pop(prefix), self._list.pop()
        if last != prefix:
            self._list[place] = last
            self._places[last] = place


@dataclass(kw_only=True)
class Edit:
    """What a batch of changes comes to; ``prefixes`` says of each whether it is to be there."""

    rules: tuple[Rule, ...]
    comments: tuple[str, ...]
    prefixes: dict[SetName, dict[Network, bool]] = field(
        default_factory=lambda: {name: {} for name in SETS}
    )

    def added(self, name: SetName) -> tuple[Network, ...]:
        """New entries of a set."""
        return tuple(p for p, there in self.prefixes[name].items() if there)

    def removed(self, name: SetName) -> tuple[Network, ...]:
        """Entries that leave a set."""
        return tuple(p for p, there in self.prefixes[name].items() if not there)


class Editor:
    """Checks a batch against the present tables; touches nothing."""

    def __init__(self, tables: FilterTables, sets: dict[SetName, PrefixSet]) -> None:
        self._sets = sets
        self.edit = Edit(rules=tables.rules, comments=tables.comments)

    def take(self, changes: Sequence[object]) -> Edit:
        """All of them, in order. Raises ConfigError for the first that is wrong."""
        for number, change in enumerate(changes):
            try:
                self._take(change)
            except ConfigError as error:
                told = f"change {number + 1} of {len(changes)}: {error.message}"
                raise ConfigError(told, cure=error.cure or "nothing was changed") from error
        self._check_sizes()
        return self.edit

    def _take(self, change: object) -> None:
        match change:
            case SetRules():
                self._set_rules(change)
            case SetRule():
                self._set_rule(change)
            case SetPrefixes():
                self._set_prefixes(change)
            case AddPrefix():
                self._add(_known(change.name), change.prefix)
            case RemovePrefix():
                self._remove(_known(change.name), change.prefix)
            case _:
                raise ConfigError(f"{change!r} is not a change of the filter's tables")

    def _set_rules(self, change: SetRules) -> None:
        if len(change.rules) > MAX_RULES:
            raise ConfigError(f"at most {MAX_RULES:,} rules, got {len(change.rules):,}")
        if change.comments and len(change.comments) != len(change.rules):
            raise ConfigError(
                f"one comment for each rule, got {len(change.comments)} for {len(change.rules)}"
            )
        self.edit.rules = change.rules
        self.edit.comments = change.comments or ("",) * len(change.rules)

    def _set_rule(self, change: SetRule) -> None:
        count = len(self.edit.rules)
        if not 0 <= change.place < count:
            raise ConfigError(f"0 <= place < {count} must hold, got place={change.place}")
        rules = list(self.edit.rules)
        comments = list(self.edit.comments or ("",) * count)
        rules[change.place], comments[change.place] = change.rule, change.comment
        self.edit.rules, self.edit.comments = tuple(rules), tuple(comments)

    def _set_prefixes(self, change: SetPrefixes) -> None:
        name, wanted = _known(change.name), dict.fromkeys(change.prefixes)
        if len(wanted) != len(change.prefixes):
            raise ConfigError(f"a prefix stands once in a set, '{name}' has some twice")
        present = [p for p in (*self._sets[name], *self.edit.prefixes[name]) if self._has(name, p)]
        for prefix in present:
            if prefix not in wanted:
                self._remove(name, prefix)
        for prefix in wanted:
            if not self._has(name, prefix):
                self._add(name, prefix)

    def _has(self, name: SetName, prefix: Network) -> bool:
        return self.edit.prefixes[name].get(prefix, prefix in self._sets[name])

    def _add(self, name: SetName, prefix: Network) -> None:
        if self._has(name, prefix):
            raise ConfigError(f"{prefix} is in set '{name}' already")
        self._note(name, prefix, there=True)

    def _remove(self, name: SetName, prefix: Network) -> None:
        if not self._has(name, prefix):
            raise ConfigError(f"{prefix} is not in set '{name}'")
        self._note(name, prefix, there=False)

    def _note(self, name: SetName, prefix: Network, *, there: bool) -> None:
        if (prefix in self._sets[name]) == there:
            del self.edit.prefixes[name][prefix]  # back to what it is now
        else:
            self.edit.prefixes[name][prefix] = there

    def _check_sizes(self) -> None:
        for name in SETS:
            size = len(self._sets[name]) + len(self.edit.added(name)) - len(self.edit.removed(name))
            if size > MAX_SET_PREFIXES:
                raise ConfigError(f"a set has at most {MAX_SET_PREFIXES:,} prefixes, got {size:,}")
        for name, other in (("allow", "deny"), ("deny", "allow")):
            for prefix in self.edit.added(name):
                if self._has(other, prefix):  # type: ignore[arg-type]
                    raise ConfigError(
                        f"{prefix} would be in both sets", cure="remove it from one of the two"
                    )


def _known(name: SetName) -> SetName:
    if name not in SETS:
        raise ConfigError(f"a set is called 'allow' or 'deny', got {name!r}")
    return name


def changes_between(old: FilterTables, new: FilterTables) -> list[object]:
    """The changes that make ``new`` of ``old``; single rules where the lists are alike."""
    changes: list[object] = []
    for name in SETS:  # taken out first: what moves to the other set must not be in both
        gone = set(getattr(old, name)) - set(getattr(new, name))
        changes += [RemovePrefix(name=name, prefix=prefix) for prefix in gone]
    for name in SETS:
        come = set(getattr(new, name)) - set(getattr(old, name))
        changes += [AddPrefix(name=name, prefix=prefix) for prefix in come]
    if len(old.rules) != len(new.rules):
        changes.append(SetRules(rules=new.rules, comments=new.comments))
    else:
        comments = new.comments or ("",) * len(new.rules)
        changes += [
            SetRule(place=place, rule=rule, comment=comments[place])
            for place, rule in enumerate(new.rules)
            if rule != old.rules[place]
        ]
    return changes
