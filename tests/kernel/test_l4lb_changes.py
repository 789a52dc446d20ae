# SPDX-License-Identifier: GPL-2.0-only
"""The load balancer while its tables change: batches, rings, restarts, hot and cached flows."""

from __future__ import annotations

import secrets
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.l4lb import L4lbFunction
from iridescent_xdp.functions.l4lb_tables import (
    Backend,
    Change,
    DrainBackend,
    L4lbTables,
    RemoveBackend,
    RemoveService,
    SetBackend,
    SetService,
)
from iridescent_xdp.preflight import Sandbox, on_cpu
from iridescent_xdp.state import BPFFS, State, ensure_bpffs
from iridescent_xdp.toolchain.base import Role
from tests.kernel.fixtures import generic_of
from tests.kernel.l4lb_scenes import PLAIN, SETTINGS, service
from tests.kernel.test_l4lb_model import l4lb_function
from traffic.corpus_l4lb import error_about, flow_to
from traffic.packet_build import Flow, Shape, frame

SYN, ACK = 0x02, 0x10
FIRST = PLAIN[0].id
OUTER_DESTINATION = slice(30, 34)
TOUCH_EVERY = 128


@pytest.fixture
def llvm() -> Builder:
    return Builder("llvm")


@pytest.fixture
def made(llvm: Builder) -> Iterator[tuple[Sandbox, L4lbFunction]]:
    function = l4lb_function("plain")
    with closing(Sandbox(llvm, function, generic_of(function))) as sandbox, on_cpu(0):
        yield sandbox, function


def flows(count: int, seed: int = 9) -> list[Flow]:
    """Flows to the first service."""
    rng = Random(seed)
    return [flow_to(FIRST, rng) for _ in range(count)]


def packets(count: int, flags: int = ACK, seed: int = 9) -> list[bytes]:
    """Packets of ``count`` flows to the first service."""
    return [frame(replace(flow, tcp_flags=flags), Shape()) for flow in flows(count, seed)]


def backends_of(program: object, frames: list[bytes]) -> list[str]:
    runner = program.runner()  # type: ignore[attr-defined]
    return [str(ip_address(runner.run(data).data[OUTER_DESTINATION])) for data in frames]


def control(state: State, function: L4lbFunction) -> dict[str, dict[bytes, bytes]]:
    names = (*function.control_maps, "identities")
    return {name: state[name].contents() for name in names if name != "backends"} | {
        "backends": {bytes([n]): state["backends"].read(n).tobytes() for n in range(64)}  # type: ignore[union-attr]
    }


@pytest.mark.parametrize(
    "bad",
    [
        RemoveBackend(service=FIRST, address=ip_address("10.9.9.9")),
        SetBackend(service=FIRST, backend=Backend(address=ip_address("2001:db8::1"))),
        RemoveService(service=service("203.0.113.77", 80, "tcp", "ipip", 1).id),
        "no change",
    ],
    ids=["no such backend", "other family", "no such service", "no change at all"],
)
def test_a_batch_with_one_bad_entry_changes_nothing(
    made: tuple[Sandbox, L4lbFunction], bad: object
) -> None:
    sandbox, function = made
    before, digest = control(sandbox.state, function), function.tables_digest()
    good = SetBackend(service=FIRST, backend=Backend(address=ip_address("10.9.9.1")))
    with pytest.raises(ConfigError):
        function.apply(sandbox.state, [good, bad])
    assert control(sandbox.state, function) == before
    assert function.tables_digest() == digest
    function.apply(sandbox.state, [good])
    assert control(sandbox.state, function) != before
    assert function.tables_digest() != digest


def test_more_rings_than_there_is_room_for(made: tuple[Sandbox, L4lbFunction]) -> None:
    sandbox, function = made
    before = control(sandbox.state, function)
    new = [
        SetService(service=service(f"203.0.113.{n}", 80, "tcp", "ipip", 1)) for n in range(20, 40)
    ]
    with pytest.raises(ConfigError, match="room for 5 more rings, the changes need 20"):
        function.apply(sandbox.state, new)
    assert control(sandbox.state, function) == before


def test_flows_stay_when_backends_drain_and_go_when_they_are_removed(
    made: tuple[Sandbox, L4lbFunction],
) -> None:
    sandbox, function = made
    frames = packets(300)
    before = backends_of(sandbox.generic, frames)
    assert len(set(before)) == 2  # the third drains from the start
    drained = before[0]
    added = Backend(address=ip_address("10.9.9.1"), weight=3)
    drain = DrainBackend(service=FIRST, address=ip_address(drained))
    function.apply(sandbox.state, [drain, SetBackend(service=FIRST, backend=added)])
    assert backends_of(sandbox.generic, frames) == before
    assert drained not in backends_of(sandbox.generic, packets(300, seed=10))
    function.apply(sandbox.state, [RemoveBackend(service=FIRST, address=ip_address(drained))])
    after = backends_of(sandbox.generic, frames)
    assert drained not in after
    assert all(new == old for new, old in zip(after, before, strict=True) if old != drained)


def test_a_syn_takes_the_ring_and_a_segment_the_table(made: tuple[Sandbox, L4lbFunction]) -> None:
    sandbox, function = made
    frames, opening = packets(200), packets(200, SYN)
    before = backends_of(sandbox.generic, frames)
    change = SetBackend(service=FIRST, backend=Backend(address=ip_address("10.9.9.1"), weight=9))
    function.apply(sandbox.state, [change])
    assert backends_of(sandbox.generic, frames) == before
    fresh = backends_of(sandbox.generic, opening)
    assert fresh.count("10.9.9.1") > 100
    assert backends_of(sandbox.generic, frames) == fresh


def test_an_error_follows_its_flow_whatever_it_quotes(made: tuple[Sandbox, L4lbFunction]) -> None:
    """What stands where a SYN would be is a byte of the quoted packet."""
    sandbox, function = made
    before = backends_of(sandbox.generic, packets(200))
    change = SetBackend(service=FIRST, backend=Backend(address=ip_address("10.9.9.1"), weight=9))
    function.apply(sandbox.state, [change])
    for quoted in (28, 60):
        errors = [error_about(flow, 3, inner_bytes=quoted) for flow in flows(200)]
        assert backends_of(sandbox.generic, errors) == before


def test_packets_see_the_old_ring_or_the_new_one(made: tuple[Sandbox, L4lbFunction]) -> None:
    sandbox, function = made
    opening, other = packets(64, SYN), Backend(address=ip_address("10.9.9.1"), weight=3)
    add = SetBackend(service=FIRST, backend=other)
    remove = RemoveBackend(service=FIRST, address=other.address)
    allowed = [{backend} for backend in backends_of(sandbox.generic, opening)]
    function.apply(sandbox.state, [add])
    for seen, backend in zip(allowed, backends_of(sandbox.generic, opening), strict=True):
        seen.add(backend)
    assert sum(len(seen) > 1 for seen in allowed) > 10
    wrong: list[str] = []
    rounds, stop = 0, threading.Event()

    def send() -> None:
        nonlocal rounds
        with on_cpu(1):
            while not stop.is_set():
                found = backends_of(sandbox.generic, opening)
                wrong.extend(b for b, seen in zip(found, allowed, strict=True) if b not in seen)
                rounds += 1

    thread = threading.Thread(target=send)
    thread.start()
    for turn in range(60):
        function.apply(sandbox.state, [(remove, add)[turn % 2]])
    stop.set()
    thread.join()
    assert rounds > 5
    assert wrong == []


def test_a_restart_keeps_flows_with_their_backends(llvm: Builder) -> None:
    ensure_bpffs()
    folder = BPFFS / f"iridescent-test-{secrets.token_hex(4)}"
    folder.mkdir()
    try:
        restarted(llvm, folder)
    finally:
        for pin in folder.iterdir():
            pin.unlink()
        folder.rmdir()


def restarted(llvm: Builder, folder: Path) -> None:
    first, frames = l4lb_function("plain"), packets(200)
    state = State.create(first.template, entries=first.map_entries())
    with closing(state), on_cpu(0):
        first.fill(state)
        insns = llvm.variant(first, generic_of(first), Role.STEADY)
        with state.load(insns, "first") as program:
            before = backends_of(program, frames)
        state.pin(folder)
    gone = before[0]
    kept = tuple(b for b in PLAIN[0].backends if str(b.address) != gone)
    changed = type(PLAIN[0])(id=FIRST, backends=(Backend(address=ip_address("10.1.1.1")), *kept))
    tables = L4lbTables(services=(PLAIN[2], changed), settings=SETTINGS)
    second = L4lbFunction(first.template, tables)
    state = State.adopt(
        folder, second.template, fresh=second.control_maps, entries=second.map_entries()
    )
    with closing(state), on_cpu(0):
        second.fill(state)
        with state.load(llvm.variant(second, generic_of(second), Role.STEADY), "second") as program:
            after = backends_of(program, frames)
        rows = {row.name: row.packets for row in second.counters(state)}
    assert gone not in after
    assert all(new == old for new, old in zip(after, before, strict=True) if old != gone)
    assert rows["forwarded"] == 2 * len(frames)
    assert rows[f"service {FIRST}"] == 2 * len(frames)


def test_a_change_takes_little_time(made: tuple[Sandbox, L4lbFunction]) -> None:
    """A known ring (backends that come and go): a millisecond or so. A new one is built first."""
    sandbox, function = made
    backend = Backend(address=ip_address("10.9.9.1"))
    changes: tuple[Change, ...] = (
        SetBackend(service=FIRST, backend=backend),
        RemoveBackend(service=FIRST, address=backend.address),
    )
    spent = []
    for turn in range(22):
        began = time.thread_time()
        function.apply(sandbox.state, [changes[turn % 2]])
        spent.append(time.thread_time() - began)
    print(f"known ring: {statistics.median(spent[2:]) * 1e3:.2f} ms, new: {spent[0] * 1e3:.1f} ms")
    assert statistics.median(spent[2:]) < 0.01
