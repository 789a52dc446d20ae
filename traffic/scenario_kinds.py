# SPDX-License-Identifier: GPL-2.0-only
"""What a scenario can change in a function's tables: one class for each key of a change.

``maker`` gives what makes the function's own changes from the tables that it has by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field, PlainValidator

from iridescent_xdp.config.model import Section
from iridescent_xdp.config.prefixes import Network, parse_prefix
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.filter_changes import AddPrefix, RemovePrefix, SetName, SetRules
from iridescent_xdp.functions.filter_config import FilterTables, RuleSection
from iridescent_xdp.functions.l4lb_config import parse_address
from iridescent_xdp.functions.l4lb_tables import (
    MAX_WEIGHT,
    Address,
    Backend,
    DrainBackend,
    L4lbTables,
    RemoveBackend,
    Service,
    SetBackend,
)
from iridescent_xdp.functions.router_tables import DeleteRoute, Route, RouterTables, SetRoute
from iridescent_xdp.functions.rules import Rule
from traffic.scenario_tables import Tables

Maker = Callable[[object], tuple[object, ...]]
MAX_HOPS = 16  # neighbours of the suites' routes


# -- filter --------------------------------------------------------------------------------


class AddRule(RuleSection):
    """``add_rule``: at ``place`` of the list, counted from 0, or at its end."""

    place: int | None = Field(
        default=None, ge=0, description="an integer, 0 or greater", examples=[0]
    )

    def maker(self, _: Tables) -> Maker:
        """Raises ConfigError for a rule that cannot be."""
        rule = Rule(
            source=self.source,
            destination=self.destination,
            protocol=self.protocol,
            source_ports=self.source_port,
            destination_ports=self.destination_port,
            tcp_flags=self.tcp_flags,
            action=self.action,
        )
        return lambda tables: _with_rule(tables, self.place, rule, self.comment)


class RemoveRule(Section):
    """``remove_rule``."""

    place: int = Field(ge=0, description="an integer, 0 or greater", examples=[0])

    def maker(self, _: Tables) -> Maker:
        """The list without the rule."""
        return lambda tables: _with_rule(tables, self.place, None, "")


class PrefixChange(Section):
    """``add_prefix`` and ``remove_prefix``."""

    set: SetName = Field(examples=["deny"])
    prefix: Annotated[Network, PlainValidator(parse_prefix)] = Field(examples=["192.0.2.0/24"])


class AddToSet(PrefixChange):
    """``add_prefix``."""

    def maker(self, _: Tables) -> Maker:
        """The prefix is in the set afterwards."""
        change = AddPrefix(name=self.set, prefix=self.prefix)
        return lambda _: (change,)


class RemoveFromSet(PrefixChange):
    """``remove_prefix``."""

    def maker(self, _: Tables) -> Maker:
        """The prefix is not in the set afterwards."""
        change = RemovePrefix(name=self.set, prefix=self.prefix)
        return lambda _: (change,)


def _with_rule(
    tables: object, place: int | None, rule: Rule | None, comment: str
) -> tuple[object, ...]:
    """The list with ``rule`` put in at ``place``, or without the one there."""
    assert isinstance(tables, FilterTables)
    rules = list(tables.rules)
    comments = list(tables.comments) or [""] * len(rules)
    at = len(rules) if place is None else place
    if at >= len(rules) + (rule is not None):
        raise ConfigError(
            f"there is no place {at} in a list of {len(rules)} rules",
            cure=f"use at most {len(rules) - (rule is None)}",
        )
    if rule is None:
        del rules[at], comments[at]
    else:
        rules.insert(at, rule)
        comments.insert(at, comment)
    return (SetRules(rules=tuple(rules), comments=tuple(comments)),)


# -- l4lb ----------------------------------------------------------------------------------


class BackendPlace(Section):
    """Which backend of which service, in the order of the file's tables, counted from 0."""

    service: int = Field(ge=0, description="an integer, 0 or greater", examples=[0])
    backend: int = Field(ge=0, description="an integer, 0 or greater", examples=[0])

    def found(self, tables: Tables) -> tuple[Service, Backend]:
        """Raises ConfigError when there is none."""
        service = _service(tables, self.service)
        if self.backend >= len(service.backends):
            raise ConfigError(
                f"service {self.service} has {len(service.backends)} backends, "
                f"got backend={self.backend}",
                cure=f"use at most {len(service.backends) - 1}",
            )
        return service, service.backends[self.backend]


class Drain(BackendPlace):
    """``drain_backend``; ``draining = false`` ends it."""

    draining: bool = Field(default=True, description="true or false", examples=[False])

    def maker(self, tables: Tables) -> Maker:
        """No new flows for it."""
        service, backend = self.found(tables)
        change = DrainBackend(service=service.id, address=backend.address, draining=self.draining)
        return lambda _: (change,)


class Remove(BackendPlace):
    """``remove_backend``."""

    def maker(self, tables: Tables) -> Maker:
        """Its flows go to the ring."""
        service, backend = self.found(tables)
        change = RemoveBackend(service=service.id, address=backend.address)
        return lambda _: (change,)


class Add(Section):
    """``add_backend``; of an address that is there the weight changes."""

    service: int = Field(ge=0, description="an integer, 0 or greater", examples=[0])
    address: Annotated[Address, PlainValidator(parse_address)] = Field(examples=["10.0.0.1"])
    weight: int = Field(
        default=1,
        ge=0,
        le=MAX_WEIGHT,
        description=f"an integer from 0 to {MAX_WEIGHT}",
        examples=[1],
    )

    def maker(self, tables: Tables) -> Maker:
        """New flows may take it."""
        backend = Backend(address=self.address, weight=self.weight)
        change = SetBackend(service=_service(tables, self.service).id, backend=backend)
        return lambda _: (change,)


def _service(tables: Tables, place: int) -> Service:
    assert isinstance(tables, L4lbTables)
    if place >= len(tables.services):
        raise ConfigError(
            f"there are {len(tables.services)} services, got service={place}",
            cure=f"use at most {len(tables.services) - 1}",
        )
    return tables.services[place]


# -- router --------------------------------------------------------------------------------


class SetTo(Section):
    """``set_route``: to one of the suites' neighbours, over the interface of the other routes."""

    prefix: Annotated[Network, PlainValidator(parse_prefix)] = Field(examples=["192.0.2.0/24"])
    hop: int = Field(
        ge=0, lt=MAX_HOPS, description=f"an integer from 0 to {MAX_HOPS - 1}", examples=[0]
    )

    def maker(self, _: Tables) -> Maker:
        """The route replaces the one to the same prefix."""
        return lambda tables: (_route(tables, self.prefix, self.hop),)


class Delete(Section):
    """``delete_route``."""

    prefix: Annotated[Network, PlainValidator(parse_prefix)] = Field(examples=["192.0.2.0/24"])

    def maker(self, _: Tables) -> Maker:
        """No route to the prefix any more."""
        change = DeleteRoute(prefix=self.prefix)
        return lambda _: (change,)


def _route(tables: object, prefix: Network, hop: int) -> SetRoute:
    from iridescent_xdp.bench.routes import neighbour

    assert isinstance(tables, RouterTables)
    names = [route.interface for route in tables.routes if route.kind == "forward"]
    if not names:
        raise ConfigError("no route leads over an interface yet", cure="keep one that does")
    return SetRoute(route=Route(prefix=prefix, interface=names[0], via=neighbour(hop)))
