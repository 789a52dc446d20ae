# SPDX-License-Identifier: GPL-2.0-only
"""The router that asks the kernel for a hop: as iproute2 and the generic code do, or refused."""

from __future__ import annotations

import random
from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import ExitStack, closing
from ipaddress import ip_address, ip_network

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import PreflightError, ToolchainError
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.functions.router import RouterFunction
from iridescent_xdp.functions.router_tables import Route, RouterTables
from iridescent_xdp.kernel.features import Feature
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.preflight import Preflight, Sandbox, on_cpu
from iridescent_xdp.template import find_template, read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from tests.kernel.route_cases import MACS
from tests.kernel.route_lab import DROP, KERNEL, RouteLab
from tests.unit import router_frames
from tests.unit.router_model import REDIRECT, AskedModel, ModelHop, destination
from traffic.corpus_routes import ip_frame
from traffic.testbed import inside

pytestmark = pytest.mark.needs(Feature.FIB_LOOKUP, Feature.DEVMAP, Feature.VETH)

FRAMES = 3000  # of one set of routes
ROUTES = [  # of one next hop each: what has several is left to the kernel
    "nexthop add id 7 via 10.2.0.2 dev out1",
    "route add 20.0.0.0/8 via 10.1.0.2",
    "route add blackhole 20.2.0.0/16",
    "route add unreachable 20.3.0.0/16",
    "route add prohibit 20.3.128.0/17",
    "route add throw 20.3.192.0/18",
    "route add 20.5.0.0/16 via inet6 2001:db8:1::2 dev out0",
    "route add 20.6.0.0/16 via 10.0.0.2",  # back out by the ingress
    "route add 20.7.0.0/16 via 10.1.0.9",  # no such neighbour
    "route add 20.8.0.0/16 via 10.2.0.2 mtu 1280",  # as only the mirror reads it
    "route add 20.9.0.0/16 via 30.30.30.30 dev out1 onlink",
    "neigh replace 30.30.30.30 lladdr 02:00:00:00:99:02 dev out1",
    "route add 20.10.0.0/16 dev out2",
    "neigh replace 20.10.3.3 lladdr 02:00:00:00:33:03 dev out2",
    "neigh replace 20.10.3.4 lladdr 02:00:00:00:33:04 dev out2 nud failed",
    "route add local 20.11.0.0/16 dev lo",
    "route add 20.12.0.0/16 nhid 7",
    "route add default via 10.3.0.2",
    "route add blackhole 2001:db8:100::/48",
    "route add 2001:db8:101::/48 via 2001:db8:1::2",
    "route add 2001:db8:102::/48 via 2001:db8:2::2 mtu 1280",
    "route add unreachable 2001:db8:104::/48",
    "route add prohibit 2001:db8:105::/48",
    "route add 2001:db8:106::/48 via 2001:db8:1::9",  # no such neighbour
    "route add default via 2001:db8:2::2",
]
# of 10.2.0.2 and 2001:db8:2::2: which of their routes is meant, the kernel does not tell
TWO_MTUS = {bytes.fromhex("020000000202"), bytes.fromhex("020000006202")}
PREFIXES = [
    ip_network(word) for line in ROUTES for word in line.split() if word.count("/") == 1
] + [ip_network(text) for text in ("10.0.0.0/13", "20.10.3.0/29", "2001:db8::/62")]


@pytest.fixture
def router() -> Iterator[RouteLab]:
    with RouteLab() as lab:
        lab.forward()
        lab.batch([*MACS, *ROUTES])
        yield lab


def mirroring(ingress: str = "in0") -> RouterFunction:
    tables = RouterTables(from_kernel=True, ingress=ingress)
    function = function_for(read_template(find_template("router")), tables)
    assert isinstance(function, RouterFunction)
    return function


def generic_of(function: RouterFunction) -> Variant:
    return Variant.generic(function.template.points, function.policy())


def asking(function: RouterFunction) -> Variant:
    return generic_of(function).with_values(lookup=function.template.constants["LOOKUP_FIB"])


class Asked:
    """A sandbox with the variant that asks; made and used inside the router's namespace."""

    def __init__(self, function: RouterFunction, builder: Builder, **points: int) -> None:
        self.function = function
        self.variant = asking(function).with_values(**points)
        self.box = Sandbox(builder, function, generic_of(function))
        insns = builder.variant(function, self.variant, Role.STEADY)
        self.program: Program = self.box.state.load(insns, "asking")
        self.run = self.program.runner(function.ingress()).run

    def forget_routes(self) -> None:
        """The tries are empty: what is forwarded now the kernel has told."""
        for name in ("routes4", "routes6"):
            self.box.state[name].clear()

    def neighbour(self, address: str) -> str:
        """To whom a packet goes; "" when it is not forwarded."""
        to = ip_address(address)
        run = self.run(ip_frame(to.version, int(to)))
        return run.data[:6].hex(":") if run.verdict == REDIRECT else ""

    def close(self) -> None:
        self.program.close()
        self.box.close()


def asked_model(lab: RouteLab, frames: list[bytes]) -> AskedModel:
    """iproute2's word about where each frame goes."""
    wanted = {address for frame in frames if (address := destination(frame)) is not None}
    answers = lab.answers([str(address) for address in wanted], ingress="in0")
    hops: dict[object, ModelHop] = {}
    for address in wanted:
        answer = answers[str(address)]
        if answer in (DROP, KERNEL):
            hops[address] = ModelHop("blackhole" if answer == DROP else "local")
            continue
        macs = [bytes.fromhex(text.replace(":", "")) for text in answer[2:4]]
        hops[address] = ModelHop("forward", macs[0], macs[1], int(answer[4]))
    return AskedModel(hops)  # type: ignore[arg-type]


def from_nowhere(frame: bytes) -> bool:
    """IPv6 sources that the kernel does not look up for (rt6_need_strict of net/ipv6/route.c)."""
    if frame[12:14] != b"\x86\xdd" or destination(frame) is None:
        return False
    source = ip_address(frame[22:38])
    return source.is_multicast or source.is_link_local or source.is_loopback


@pytest.mark.parametrize("toolchain", ["llvm", "bcc"])
@pytest.mark.parametrize("seed", [1, 2])
def test_it_does_as_iproute2_says(router: RouteLab, toolchain: str, seed: int) -> None:
    """Verdict, bytes and counters; and with empty tries, so that it is the kernel that tells."""
    rng = random.Random(seed)
    frames = [router_frames.frame(PREFIXES, rng) for _ in range(FRAMES)]
    model = asked_model(router, frames)
    builder = Builder(toolchain)
    with inside(router.name), ExitStack() as stack:
        function = mirroring()
        assert function.infeasible(asking(function)) is None
        asked = stack.enter_context(closing(Asked(function, builder)))
        reference = stack.enter_context(closing(Sandbox(builder, function, generic_of(function))))
        generic = reference.generic.runner(function.ingress()).run
        stack.enter_context(on_cpu(0))
        wanted = [model.route(frame) for frame in frames]
        for frame, want in zip(frames, wanted, strict=True):
            for run in (generic(frame), asked.run(frame)):
                assert (run.verdict, run.data) == (want.verdict, want.frame), frame.hex()
        assert asked.box.effects() == reference.effects()
        asked.forget_routes()
        told: Tally[bytes] = Tally()
        for frame, want in zip(frames, wanted, strict=True):
            run = asked.run(frame)
            alone = want.verdict == REDIRECT and want.frame[:6] not in TWO_MTUS
            alone = alone and not from_nowhere(frame)
            assert (run.verdict == REDIRECT) == alone
            assert not alone or run.data == want.frame
            told[frame[12:14]] += alone
    assert min(told[kind] for kind in (b"\x08\x00", b"\x86\xdd")) > FRAMES / 100
    assert any(want.verdict == REDIRECT and want.frame[:6] in TWO_MTUS for want in wanted)


def test_the_kernel_is_never_staler_than_the_mirror(router: RouteLab) -> None:
    """What changed in the kernel alone: its answer, or that of the mirror as it was."""
    with inside(router.name), closing(Asked(mirroring(), Builder("llvm"))) as asked:
        old, other = "02:00:00:00:01:02", "02:00:00:00:03:02"
        assert asked.neighbour("20.0.0.1") == old
        router.batch(["route replace 20.0.0.0/8 via 10.3.0.2"])  # a hop that the mirror has
        assert asked.neighbour("20.0.0.1") == other
        router.batch(["route replace 20.0.0.0/8 via 10.3.0.7"])  # no hop of the mirror
        router.batch(["neigh add 10.3.0.7 lladdr 02:00:00:00:03:07 dev out2"])
        assert asked.neighbour("20.0.0.1") == old
        for change in ("replace unreachable", "replace blackhole", "del"):
            router.batch([f"route {change} 20.0.0.0/8"])
            # after "del" the kernel's default route leads to a hop of the mirror
            assert asked.neighbour("20.0.0.1") == (other if change == "del" else old)
        router.batch(["neigh replace 10.1.0.2 dev out0 nud failed"])
        assert asked.neighbour("20.12.0.1") == "02:00:00:00:02:02"
        router.forward(on=False, links=["all", "in0"])
        router.batch(["route add 20.12.1.0/24 via 10.3.0.2"])
        assert asked.neighbour("20.12.1.1") == "02:00:00:00:02:02"  # it does not answer any more


LEFT = {
    "several next hops": "route add 21.0.0.0/16 nexthop via 10.1.0.2 nexthop via 10.2.0.2",
    "2001:db8:107::/48": "route add 2001:db8:107::/48 nexthop via 2001:db8:1::2 "
    "nexthop via 2001:db8:2::2",
    "a TOS": "route add 21.0.0.0/16 via 10.1.0.2 tos 0x10",
    "20.0.0.0/8": "route append 20.0.0.0/8 via 10.2.0.2",
    "a local prefix": "route add local 20.0.0.0/9 dev lo",
    "table 253": "route add 21.0.0.0/16 via 10.1.0.2 table 253",
    "policy rules": "rule add from 1.2.3.4 table 100",
    "noarp": "neigh add 10.1.0.8 lladdr 02:00:00:00:01:02 dev out0 nud noarp",
}


@pytest.mark.parametrize("reason", LEFT)
def test_it_is_refused_where_the_kernel_would_do_more(router: RouteLab, reason: str) -> None:
    router.batch([LEFT[reason]])
    with inside(router.name):
        function = mirroring()
        told = function.infeasible(asking(function)) or ""
        assert "the kernel would forward" in told and reason in told
        assert reason in " ".join(function.notes())
        with closing(Sandbox(Builder("llvm"), function, generic_of(function))) as box:
            assert box.state["fib_hops"].keys() == []
        with pytest.raises(ToolchainError, match="the kernel would forward"):
            Builder("llvm").variant(function, asking(function), Role.STEADY)


def test_it_is_refused_where_the_kernel_is_not_asked_the_same(router: RouteLab) -> None:
    route = Route(prefix=ip_network("10.0.0.0/8"), interface="lo", via=bytes([2, 0, 0, 0, 0, 1]))
    listed = function_for(read_template(find_template("router")), RouterTables(routes=(route,)))
    assert isinstance(listed, RouterFunction)
    assert 'routes = "kernel"' in (listed.infeasible(asking(listed)) or "")
    assert (listed.ingress(), listed.notes()) == (0, ())
    with inside(router.name):
        function = mirroring()
        assert function.infeasible(asking(function)) is None
        router.forward(on=False, links=["in0"])
        switch = "net/ipv4/conf/in0/forwarding"
        assert f"from 'in0': set {switch} to 1" in (function.infeasible(asking(function)) or "")
        router.forward(links=["in0"])
        elsewhere = mirroring("in7")
        assert "'in7' is not in this namespace" in (elsewhere.infeasible(asking(elsewhere)) or "")
    router.run(*f"ip -n {router.far} link add in0 type veth peer name in1".split())
    with inside(router.far):  # where there is an interface of that name, too
        assert "not in this namespace" in (function.infeasible(asking(function)) or "")
        assert function.ingress() == 0


def test_preflight_asks_by_the_ingress(router: RouteLab) -> None:
    """Only that forwards here; a mirror that is behind is found, not waved through."""
    router.forward(on=False)
    router.forward(links=["in0"])
    builder = Builder("llvm")
    with inside(router.name):
        function = mirroring()
        packets, generic = function.corpus((), seed=1), generic_of(function)
        insns = builder.variant(function, asking(function), Role.STEADY)
        with closing(Preflight(builder, function, generic, packets)) as preflight:
            preflight.check(insns, "asking")
        router.batch(["route replace 20.0.0.0/8 via 10.3.0.2"])
        differs = pytest.raises(PreflightError, match=r"byte 4 out is 0x03, generic has 0x01")
        with closing(Preflight(builder, function, generic, packets)) as preflight, differs:
            preflight.check(insns, "asking")
