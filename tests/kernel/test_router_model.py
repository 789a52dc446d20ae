# SPDX-License-Identifier: GPL-2.0-only
"""The router against an independent model, generic and at every corner of its space."""

from __future__ import annotations

import itertools
import random
from collections import Counter as Tally
from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions import router_live
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.functions.router import RouterFunction
from iridescent_xdp.functions.router_links import Links
from iridescent_xdp.functions.router_tables import DeleteRoute, Hop, Route, RouterTables, SetRoute
from iridescent_xdp.preflight import Sandbox, on_cpu
from iridescent_xdp.template import find_template, read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.unit import router_frames
from tests.unit.router_model import ModelHop, RouterModel

PACKETS = 4000  # of one set of routes
COUNTED = {  # the model's word: the beginning of the counter's name
    "not IP": "not IP",
    "malformed": "malformed",
    "options": "IPv4 options",
    "bad checksum": "wrong IP checksum",
    "martian": "multicast",
    "expired": "TTL expired",
    "no route": "no route",
    "local": "local address",
    "blackhole": "blackhole",
    "no neighbour": "neighbour unknown",
    "too big": "over the MTU",
}


class SmallLinks:
    """Instead of this machine's interfaces: `small` and `large` by MTU, both `lo` in truth."""

    MTU: ClassVar = {"small": 1280, "large": 1500}
    MAC: ClassVar = {"small": bytes.fromhex("020000000a01"), "large": bytes.fromhex("020000000a02")}

    def hop(self, route: Route) -> Hop:
        name, via = route.interface, route.via
        assert via is None or isinstance(via, bytes)
        return Hop(ifindex=1, mac=via, source_mac=self.MAC[name], mtu=self.MTU[name])


@pytest.fixture(autouse=True)
def _links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "this_namespace" not in request.node.name:
        monkeypatch.setattr(router_live, "Links", SmallLinks)


def lab(seed: int, count: int) -> tuple[RouterFunction, RouterModel, list[bytes]]:
    """Routes, the model that knows them, frames."""
    rng = random.Random(seed)
    routes: list[Route] = []
    hops: dict[router_frames.Network, ModelHop] = {}
    for prefix in router_frames.routes(count, rng):
        kind = rng.choice(["forward"] * 8 + ["local", "blackhole"])
        mac = bytes([2, 0, 0, 0, 0, rng.randrange(9)]) if rng.random() < 0.9 else None
        if kind == "forward":
            name = rng.choice(["small", "large"])
            routes.append(Route(prefix=prefix, interface=name, via=mac))
            hops[prefix] = ModelHop("forward", mac, SmallLinks.MAC[name], SmallLinks.MTU[name])
        else:
            routes.append(Route(prefix=prefix, kind=kind))  # type: ignore[arg-type]
            hops[prefix] = ModelHop(kind)
    tables = RouterTables(routes=tuple(routes))
    function = function_for(read_template(find_template("router")), tables)
    assert isinstance(function, RouterFunction)
    frames = [router_frames.frame([r.prefix for r in routes], rng) for _ in range(PACKETS)]
    return function, RouterModel(hops), frames


def corners(function: RouterFunction, generic: Variant) -> Iterator[Variant]:
    """Every look-up with no, few and many hot keys; both checksums; each family alone."""
    lookups, hot, sums = range(3), (0, 2, 4, 5), (0, 1)
    for lookup, keys, checksum in itertools.product(lookups, hot, sums):
        for families in ({}, {"ipv4": 0}, {"ipv6": 0}):
            if checksum and (keys or families):
                continue
            yield generic.with_values(
                lookup=lookup, hot_keys=keys, checksum_update=checksum, **families
            )


def counted(function: RouterFunction, box: Sandbox) -> list[tuple[str, int]]:
    rows = function.counters(box.state)
    return [(r.name, r.packets) for r in rows if not r.name.startswith("verdict")]


@pytest.mark.parametrize("toolchain", ["llvm", "bcc"])
def test_generic_does_as_the_model(toolchain: str) -> None:
    builder = Builder(toolchain)
    examples = 25 if toolchain == "llvm" else 3

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(st.integers(0, 1 << 32), st.integers(0, 60))
    def check(seed: int, count: int) -> None:
        function, model, frames = lab(seed, count)
        generic = Variant.generic(function.template.points, function.policy())
        box = Sandbox(builder, function, generic)
        try:
            compare(function, box, model, frames)
        finally:
            box.close()

    check()


def reason(name: str) -> str:
    """The model's word for the name of a counter."""
    return next((word for word, begin in COUNTED.items() if name.startswith(begin)), name)


def compare(
    function: RouterFunction, box: Sandbox, model: RouterModel, frames: list[bytes]
) -> None:
    expected: Tally[str] = Tally()
    runner = box.generic.runner()
    for data in frames:
        wanted, run = model.route(data), runner.run(data)
        assert (run.verdict, run.data) == (wanted.verdict, wanted.frame), (data.hex(), wanted)
        expected[wanted.counted] += 1
    found: Tally[str] = Tally()
    for name, packets in counted(function, box):
        found[name.removesuffix(" of port 1") if "hop" in name else reason(name)] += packets
    assert found == expected


@pytest.mark.parametrize("toolchain", ["llvm", "bcc"])
def test_every_corner_does_as_generic(toolchain: str) -> None:
    builder = Builder(toolchain)
    function, _, frames = lab(11, 40)
    learn_from(function, frames)
    generic = Variant.generic(function.template.points, function.policy())
    reference, trial = (Sandbox(builder, function, generic) for _ in range(2))
    variants = [v for v in corners(function, generic) if function.infeasible(v) is None]
    assert len(variants) > 20
    chosen = variants if toolchain == "llvm" else variants[::9]
    with on_cpu(0):
        expected = [reference.generic.run(data) for data in frames]
        wanted_of = reference.effects()
        for variant in chosen:
            trial.reset()
            insns = builder.variant(function, variant, Role.STEADY)
            with trial.state.load(insns, "corner") as program:
                runner = program.runner()
                for data, want in zip(frames, expected, strict=True):
                    run = runner.run(data)
                    assert (run.verdict, run.data) == (want.verdict, want.data), data.hex()
            assert trial.effects() == wanted_of
    reference.close()
    trial.close()


def learn_from(function: RouterFunction, frames: list[bytes]) -> None:
    """What an observation would have given: destinations in host order, by family."""
    seen: dict[str, Tally[bytes]] = {"hot4": Tally(), "hot6": Tally()}
    for data in frames:
        if data[12:14] == b"\x08\x00" and len(data) >= 34:
            seen["hot4"][data[30:34][::-1]] += 1
        elif data[12:14] == b"\x86\xdd" and len(data) >= 54:
            words = [data[38 + 4 * i : 42 + 4 * i][::-1] for i in range(4)]
            seen["hot6"][b"".join(words)] += 1
    function.learn_keys(seen)


def test_a_hundred_thousand_routes() -> None:
    rng = random.Random(3)
    blocks = rng.sample(range(1 << 16, 127 << 16), 100_000)
    macs = [bytes([2, 0, 0, 0, 0, n]) for n in range(8)]
    routes = tuple(
        Route(prefix=IPv4Network((block << 8, 24)), interface="large", via=macs[block & 7])
        for block in blocks
    )
    function = function_for(read_template(find_template("router")), RouterTables(routes=routes))
    generic = Variant.generic(function.template.points, function.policy())
    flat = generic.with_values(lookup=1)
    assert "10,000" in (function.infeasible(generic.with_values(lookup=2)) or "")
    assert function.infeasible(flat) is None
    model = RouterModel(
        {
            r.prefix: ModelHop("forward", macs[b & 7], SmallLinks.MAC["large"], 1500)
            for b, r in zip(blocks, routes, strict=True)
        }
    )
    builder = Builder("llvm")
    box = Sandbox(builder, function, generic)
    known = [route.prefix for route in routes[:500]]
    try:
        with box.state.load(builder.variant(function, flat, Role.STEADY), "flat") as program:
            for data in [router_frames.frame(known, rng) for _ in range(3000)]:
                wanted = model.route(data)
                for run in (box.generic.run(data), program.run(data)):
                    assert (run.verdict, run.data) == (wanted.verdict, wanted.frame)
    finally:
        box.close()


def test_routes_that_change() -> None:
    builder = Builder("llvm")

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 1 << 32), st.integers(1, 40))
    def check(seed: int, count: int) -> None:
        function, model, frames = lab(seed, count)
        rng = random.Random(seed)
        generic = Variant.generic(function.template.points, function.policy())
        box = Sandbox(builder, function, generic)
        try:
            for _ in range(3):
                frames = changed(function, model, box, rng) + frames[:300]
                function.settle_tables(box.state)
                compare_variants(function, model, box, frames)
        finally:
            box.close()

    check()


def changed(
    function: RouterFunction, model: RouterModel, box: Sandbox, rng: random.Random
) -> list[bytes]:
    """Some routes replaced, deleted and added, in the function and in the model; frames to them."""
    prefixes = rng.sample(list(model.hops), min(5, len(model.hops)))
    prefixes += router_frames.routes(5, rng)
    batch: list[SetRoute | DeleteRoute] = []
    for prefix in prefixes:
        if prefix in model.hops and rng.random() < 0.5:
            batch.append(DeleteRoute(prefix=prefix))
            del model.hops[prefix]
        else:
            mac = bytes([2, 0, 0, 0, 1, rng.randrange(200)])
            batch.append(SetRoute(route=Route(prefix=prefix, interface="large", via=mac)))
            model.hops[prefix] = ModelHop("forward", mac, SmallLinks.MAC["large"], 1500)
    absent = IPv4Network("192.88.99.1/32")
    with pytest.raises(ConfigError, match="no route to"):
        function.apply(box.state, [*batch, DeleteRoute(prefix=absent)])
    function.apply(box.state, batch)
    return [router_frames.frame(prefixes, rng) for _ in range(300)]


def compare_variants(
    function: RouterFunction, model: RouterModel, box: Sandbox, frames: list[bytes]
) -> None:
    builder = Builder("llvm")
    generic = Variant.generic(function.template.points, function.policy())
    for look_up in range(3):
        variant = generic.with_values(lookup=look_up)
        if function.infeasible(variant) is not None:
            continue  # a flat table has no room for that many new chunks
        insns = builder.variant(function, variant, Role.STEADY)
        with box.state.load(insns, "changed") as program:
            for data in frames:
                wanted, run = model.route(data), program.run(data)
                assert (run.verdict, run.data) == (wanted.verdict, wanted.frame), data.hex()


def test_the_links_of_this_namespace() -> None:
    hop = Links().hop(Route(prefix=IPv4Network("10.0.0.0/8"), interface="lo"))
    assert (hop.ifindex, hop.mac, hop.source_mac, hop.mtu) == (1, None, bytes(6), 65536)
