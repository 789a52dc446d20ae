# SPDX-License-Identifier: GPL-2.0-only
"""The router's winner against a forwarder on the kernel's own tables, as xdp-forward is one.

Both have the same routes, the kernel in the tables of a namespace, and meet the same packets; every
byte that comes out is compared before anything is timed. A third one is the router that asks the
kernel itself (``lookup = fib``), over routes mirrored from that namespace.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pyroute2 import IPRoute

from iridescent_xdp.bench import routes
from iridescent_xdp.bench.live import cpus
from iridescent_xdp.bench.results import Case, Options, Result
from iridescent_xdp.bench.rig import Rig
from iridescent_xdp.bench.subject import BENCH, Egress
from iridescent_xdp.bench.subject_router import RouterSubject
from iridescent_xdp.bench.winner import find_winner
from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import MeasurementError
from iridescent_xdp.functions.base import Function
from iridescent_xdp.functions.router_tables import RouterTables
from iridescent_xdp.kernel.link import Link
from iridescent_xdp.kernel.netlink import find_interface
from iridescent_xdp.kernel.program import Program
from iridescent_xdp.preflight import on_cpu
from iridescent_xdp.state import State
from iridescent_xdp.statistics import ratio
from iridescent_xdp.template import read_template
from iridescent_xdp.toolchain.base import Role
from iridescent_xdp.variant import Variant
from traffic.generator import StreamTimer
from traffic.mix_stream import Stream
from traffic.testbed import DUT_SIDE, Testbed, inside

PASSES, ROUTES = 4, 1000
XDP_REDIRECT = 4
OUT, PEER = "out0", "peer0"
PERMANENT = 0x80  # NUD_PERMANENT of <linux/neighbour.h>
ON_LINK = 4  # RTNH_F_ONLINK of <linux/rtnetlink.h>
_GATEWAYS = {4: "192.0.2.{}", 6: "2001:db8::{:x}"}  # RFC 5737, RFC 3849
_SYSCTLS = (
    "ipv6/conf/all/disable_ipv6=0",
    "ipv6/conf/lo/disable_ipv6=0",
    "ipv6/conf/all/forwarding=1",
    "ipv4/ip_forward=1",
)


def fib(options: Options) -> list[Result]:
    """Program time of all three and of the generic router, with the trie; ``peer_ratio``; and
    ``asking_ratio``, the generic router's time over that of the router that asks the kernel."""
    case, builder = Case(suite="peers", name="router/fib"), Builder("llvm")
    subject = RouterSubject(ROUTES)
    stream = subject.stream("low")
    with Testbed() as testbed, inside(testbed.dut), on_cpu(cpus()[1]):
        egress = _kernel_routes()
        mirrored = RouterTables(from_kernel=True, ingress=DUT_SIDE)
        with (
            _receiver(builder),
            _forwarder(builder, egress) as theirs,
            Rig(builder, subject, subject.tables(egress)) as rig,
            Rig(builder, subject, mirrored) as mirror,
            StreamTimer(builder, stream) as timer,
        ):
            winner = rig.load(find_winner(rig, timer, options, f"peers/{case.name}"))
            asking = mirror.load(mirror.changed({"lookup": "fib"}))
            for other in (theirs, asking):
                _same_packets(winner, other, stream)
            timer.repeat *= options.pick(PASSES, 1)
            options.tell(f"peers/{case.name}: against xdp_forward")
            programs = {"winner": winner, "peer": theirs, "generic": rig.generic, "asking": asking}
            times = timer.rounds(programs, options.pick(25, 5))
    options.winners[f"peers/{case.name} (peer)"] = "xdp_forward"
    return [
        case.of("peer_ratio", ratio(times["peer"], times["winner"])),
        case.of("asking_ratio", ratio(times["generic"], times["asking"])),
        *(case.median(f"{name}_ns", "ns", values) for name, values in times.items()),
    ]


def _kernel_routes() -> Egress:
    """The routes of the suites in the tables of this namespace, over an interface that is made
    here, with all neighbours known."""
    for line in _SYSCTLS:
        name, value = line.split("=")
        Path(f"/proc/sys/net/{name}").write_text(value)
    with IPRoute() as netlink:
        netlink.link("add", ifname=OUT, kind="veth", peer={"ifname": PEER})
        index = find_interface(OUT).index
        for name in (OUT, PEER):
            netlink.link("set", index=find_interface(name).index, state="up")
        mac = str(netlink.get_links(index)[0].get_attr("IFLA_ADDRESS"))
        for hop in range(routes.HOPS):
            lladdr = routes.neighbour(hop).hex(":")
            for gateway in _gateways(hop).values():
                netlink.neigh("replace", dst=gateway, lladdr=lladdr, ifindex=index, state=PERMANENT)
        for entry in routes.entries(ROUTES):
            gateway = _gateways(entry.hop)[entry.prefix.version]
            family = {4: 2, 6: 10}[entry.prefix.version]
            netlink.route(
                "replace",
                dst=str(entry.prefix),
                gateway=gateway,
                oif=index,
                flags=ON_LINK,
                family=family,
            )
    return Egress(name=OUT, index=index, mac=bytes.fromhex(mac.replace(":", "")))


def _gateways(hop: int) -> dict[int, str]:
    return {version: text.format(hop + 1) for version, text in _GATEWAYS.items()}


@contextmanager
def _receiver(builder: Builder) -> Iterator[None]:
    """A program at the other end of the interface: without one, nothing can be sent there."""
    template = read_template(BENCH / "sink.bpf.c")
    code = builder.variant(Function(template), Variant.generic(template.points), Role.STEADY)
    with ExitStack() as stack:
        state = State.create(template)
        stack.callback(state.close)
        program = stack.enter_context(state.load(code, "sink"))
        stack.callback(Link.attach(program, find_interface(PEER), "native").close)
        yield


@contextmanager
def _forwarder(builder: Builder, egress: Egress) -> Iterator[Program]:
    template = read_template(BENCH / "xdp_forward.bpf.c")
    with ExitStack() as stack:
        state = State.create(template)
        stack.callback(state.close)
        code = builder.variant(Function(template), Variant.generic(template.points), Role.STEADY)
        state["ports"].write(egress.index, egress.index.to_bytes(4, "little"))
        yield stack.enter_context(state.load(code, "xdp_forward"))


def _same_packets(ours: Program, theirs: Program, stream: Stream) -> None:
    """Raises MeasurementError unless both forward every packet, with the same bytes."""
    for frame in stream.packets:
        runs = [program.run(frame) for program in (ours, theirs)]
        if any(run.verdict != XDP_REDIRECT for run in runs) or runs[0].data != runs[1].data:
            told = [f"verdict {run.verdict}, {run.data.hex()}" for run in runs]
            raise MeasurementError(
                f"{frame.hex()}: we say {told[0]}, the kernel's tables say {told[1]}"
            )
