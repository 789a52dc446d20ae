# SPDX-License-Identifier: GPL-2.0-only
"""The pktgen driver on a tree of plain files, and its reading of the kernel's real texts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from iridescent_xdp.errors import MissingFeatureError, TrafficError
from tests.unit.pktgen_texts import (
    DOCUMENTED,
    REFUSED,
    RUNNING,
    THREAD_BUSY,
    THREAD_DOCUMENTED,
    THREAD_FREE,
    Kernel,
    commands,
    tree,
)
from traffic.pktgen import Pktgen
from traffic.pktgen_plan import Kind, PktgenPlan
from traffic.pktgen_text import parse_device, parse_thread


def plan(*kinds: Kind) -> PktgenPlan:
    return PktgenPlan(name="test", kinds=kinds)


def test_a_device_as_documented() -> None:
    reading = parse_device("eth4@0", DOCUMENTED)
    assert (reading.sent, reading.errors, reading.wanted) == (100_000, 0, 100_000)
    assert reading.pps == 6_480_562 and reading.idle_us == 25
    assert reading.seconds == pytest.approx(0.015431)
    assert reading.result.startswith("OK: 15430(c15405+d25) usec") and not reading.failed


def test_a_device_that_refused_some() -> None:
    text = DOCUMENTED.replace("pkts-sofar: 100000  errors: 0", "pkts-sofar: 99983  errors: 17")
    reading = parse_device("eth4@0", text)
    assert (reading.sent, reading.errors, reading.wanted) == (99_983, 17, 100_000)


def test_a_device_before_its_result() -> None:
    reading = parse_device("eth4@0", RUNNING)
    assert (reading.sent, reading.pps, reading.result, reading.failed) == (
        100_000,
        0,
        "Idle",
        False,
    )
    assert not reading.done and parse_device("eth4@0", DOCUMENTED).done
    assert parse_device("eth4@0", REFUSED).failed


@pytest.mark.parametrize("text", ["", "Params: count 1\n", THREAD_FREE])
def test_another_format_is_told(text: str) -> None:
    with pytest.raises(TrafficError, match=r"eth4@0' can not be read"):
        parse_device("eth4@0", text)


def test_threads() -> None:
    assert parse_thread("kpktgend_0", THREAD_DOCUMENTED) == ["eth4@0"]
    assert parse_thread("kpktgend_0", THREAD_BUSY) == ["eth4@0", "eth5@1", "eth6"]
    assert parse_thread("kpktgend_0", THREAD_FREE) == []
    with pytest.raises(TrafficError, match="can not be read"):
        parse_thread("kpktgend_0", DOCUMENTED)


def test_what_is_written_in_its_order(tmp_path: Path) -> None:
    made = tree(tmp_path, "eth0@0")
    kind = Kind(count=7, size_bytes=64, destinations=3, destination_ports=(100, 109), pps=500)
    with Kernel(made), Pktgen("eth0", plan(kind), tree=made) as generator:
        assert generator.devices == ["eth0@0"]
        report = generator.run()
        assert (report.sent, report.errors) == (100_000, 0)
    assert commands(made, "kpktgend_0") == ["add_device eth0@0", "rem_device_all"]
    assert commands(made, "kpktgend_1") == []
    assert commands(made, "pgctrl") == ["start"]
    assert commands(made, "eth0@0") == [
        "count 7",
        "pkt_size 64",
        "dst_mac 02:00:00:00:00:02",
        "src_min 198.18.0.1",
        "src_max 198.18.0.1",
        "dst_min 198.19.0.1",
        "dst_max 198.19.0.3",
        "udp_src_min 9",
        "udp_src_max 9",
        "udp_dst_min 100",
        "udp_dst_max 110",
        "ratep 500",
        "flag QUEUE_MAP_CPU",
        "clone_skb 0",
    ]


def test_tags_ipv6_clones_bursts_and_trains() -> None:
    tagged = list(Kind(tags=2, family=6).commands(clone=8, burst=4))
    assert [line for line in tagged if "vlan" in line] == ["vlan_id 201", "svlan_id 100"]
    assert {"dst6 2001:2:0:2::1", "src6 2001:2:0:1::1", "flag UDPCSUM"} <= set(tagged)
    assert tagged[-2:] == ["clone_skb 8", "burst 4"] and "delay 0" in tagged
    trains = list(Kind(destinations=16, flow_length=5).commands())
    assert trains.index("flows 16") < trains.index("flowlen 5") < trains.index("flag FLOW_SEQ")
    assert "vlan_id 200" in Kind(tags=1).commands()


def test_several_threads_share_the_work(tmp_path: Path) -> None:
    devices = [f"eth0@{number}" for number in range(4)]
    made = tree(tmp_path, *devices, threads=3)
    kinds = (Kind(count=10, pps=900), Kind(count=1, family=6))
    with Pktgen("eth0", plan(*kinds), cpus=(0, 1, 2), tree=made) as generator:
        assert generator.devices == devices
        assert generator.read().sent == 4 * 100_000
    counts = [commands(made, device)[0] for device in devices]
    assert counts == ["count 4", "count 1", "count 3", "count 3"]
    assert sum("ratep 300" in commands(made, device) for device in devices) == 3
    for number, added in enumerate((["eth0@0", "eth0@1"], ["eth0@2"], ["eth0@3"])):
        written = [f"add_device {name}" for name in added]
        assert commands(made, f"kpktgend_{number}") == [*written, "rem_device_all"]


def test_in_the_background(tmp_path: Path) -> None:
    made = tree(tmp_path, "eth0@0")
    with Kernel(made), Pktgen("eth0", plan(Kind(count=5)), tree=made) as generator:
        generator.start()
        with pytest.raises(TrafficError, match="was started before"):
            generator.start()
        assert generator.wait(5).sent == 100_000 and not generator.running
        assert generator.run().sent == 100_000
    assert commands(made, "pgctrl") == ["start", "start"]


def test_a_thread_that_begins_late(tmp_path: Path) -> None:
    """The write of start returns, and the device's text is still that of the run before."""
    made = tree(tmp_path, "eth0@0")
    with Kernel(made, late=50), Pktgen("eth0", plan(Kind(count=5)), tree=made) as generator:
        generator.start()
        time.sleep(0.05)
        assert generator.running
        with pytest.raises(TrafficError, match=r"still sends after 0.0 s"):
            generator.wait(0.0)
        assert generator.wait(5).sent == 100_000


def test_stopped_before_it_began(tmp_path: Path) -> None:
    """The kernel forgets such a stop."""
    made = tree(tmp_path, "eth0@0")
    with (
        Kernel(made, late=50, endless=True),
        Pktgen("eth0", plan(Kind()), tree=made) as generator,
    ):
        generator.start()
        assert generator.stop().sent == 100_000 and not generator.running
    assert commands(made, "pgctrl").count("stop") > 1


def test_close_stops(tmp_path: Path) -> None:
    made = tree(tmp_path, "eth0@0")
    with Kernel(made, endless=True):
        with Pktgen("eth0", plan(Kind()), tree=made) as generator:
            generator.start()
        assert not generator.running
    assert commands(made, "kpktgend_0")[-1] == "rem_device_all"


def test_without_the_module(tmp_path: Path) -> None:
    with pytest.raises(MissingFeatureError, match="modprobe pktgen"):
        Pktgen("eth0", plan(Kind()), tree=tmp_path / "nothing")


def test_a_cpu_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TrafficError, match=r"no thread for CPU 7 .it has one for CPU 0, 1"):
        Pktgen("eth0", plan(Kind()), cpus=(7,), tree=tree(tmp_path))


def test_devices_of_somebody_else_are_not_touched(tmp_path: Path) -> None:
    made = tree(tmp_path, "eth0@0")
    (made / "kpktgend_1").write_text(THREAD_BUSY)
    with pytest.raises(TrafficError, match=r"already has eth4@0, eth5@1, eth6.*rem_device_all"):
        Pktgen("eth0", plan(Kind()), cpus=(0,), tree=made)
    assert (made / "kpktgend_1").read_text() == THREAD_BUSY
    assert commands(made, "kpktgend_0") == []


def test_a_refused_setting_leaves_no_device(tmp_path: Path) -> None:
    """The kernel answers to a write with an error; a file on a full disk does, too."""
    made = tree(tmp_path)
    (made / "eth0@0").symlink_to("/dev/full")
    with pytest.raises(TrafficError, match="refuses 'count 0' for eth0@0: No space left"):
        Pktgen("eth0", plan(Kind()), tree=made)
    assert commands(made, "kpktgend_0") == ["add_device eth0@0", "rem_device_all"]


def test_an_error_of_the_run_is_raised_by_wait(tmp_path: Path) -> None:
    made = tree(tmp_path, "eth0@0")
    (made / "pgctrl").unlink()
    (made / "pgctrl").symlink_to("/dev/full")
    with Pktgen("eth0", plan(Kind()), tree=made) as generator:
        generator.start()
        with pytest.raises(TrafficError, match="refuses 'start'"):
            generator.wait(5)
    assert commands(made, "kpktgend_0")[-1] == "rem_device_all"
