# SPDX-License-Identifier: GPL-2.0-only
"""The functional streams' expectations, against the independent models of each function."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from iridescent_xdp.config.model import InterfaceConfig
from iridescent_xdp.config.reader import load_config
from iridescent_xdp.functions.filter_config import FilterTables
from iridescent_xdp.functions.l4lb_tables import L4lbTables
from tests.unit.l4lb_model import Balancer
from tests.unit.packet_model import classify
from tests.unit.router_model import ModelHop, RouterModel
from traffic import functional_echo, functional_filter, functional_l4lb, functional_router
from traffic.functional import Case
from traffic.functional_scene import NEIGHBOUR_MAC, OUT, Ends, Scene
from traffic.mix_spec import MIN_SIZE_BYTES

ENDS = Ends(
    interface="dut0",
    mac="02:00:00:00:00:02",
    far_mac="02:00:00:00:00:01",
    out="out0",
    out_mac="02:00:00:00:00:03",
)
DROP, PASS, TX, REDIRECT = 1, 2, 3, 4
ECHO = Path(__file__).parents[2] / "examples" / "echo.bpf.c"
ALL = {
    "filter": functional_filter.scene(ENDS),
    "router": functional_router.scene(ENDS),
    "l4lb": functional_l4lb.scene(ENDS),
    "echo": functional_echo.scene(ENDS, ECHO),
}


def config_of(scene: Scene, folder: Path) -> InterfaceConfig:
    path = folder / "site.toml"
    path.write_text(scene.site)
    (config,) = load_config(path).interfaces
    return config


def expected(case: Case) -> tuple[int, bytes]:
    """Verdict and frame that a case stands for."""
    verdict = {"dropped": DROP, "stack": PASS, "answered": TX, "forwarded": REDIRECT}[case.fate]
    return verdict, case.frame if case.frame is not None else case.packet


@pytest.mark.parametrize("scene", ALL.values(), ids=list(ALL))
def test_scenes_are_fit_to_be_sent(scene: Scene, tmp_path: Path) -> None:
    """No two packets are the same, none is so short that a NIC would pad it or so long that none
    would take it; every fate that the function has is there."""
    packets = [case.packet for case in scene.cases]
    assert len(set(packets)) == len(packets)
    assert all(MIN_SIZE_BYTES <= len(packet) <= 1514 for packet in packets)
    assert all(len(case.frame) <= 1514 for case in scene.cases if case.frame)
    assert config_of(scene, tmp_path).name == "dut0"
    fates = {case.fate for case in scene.cases}
    assert (
        fates
        == {
            "filter": {"dropped", "stack"},
            "router": {"dropped", "stack", "forwarded"},
            "l4lb": {"dropped", "stack", "answered"},
            "echo": {"stack", "answered"},
        }[scene.function]
    )


def test_the_filters_stream_is_what_the_model_says(tmp_path: Path) -> None:
    tables = config_of(ALL["filter"], tmp_path).tables
    assert isinstance(tables, FilterTables)
    hit = set()
    for case in ALL["filter"].cases:
        slot, verdict = classify(
            case.packet,
            tables.rules,
            allow=tables.allow,
            deny=tables.deny,
            verify_ip_checksum=True,
        )
        hit.add(slot)
        wanted = {"drop": "dropped", "pass": "stack"}[verdict]
        assert case.fate == wanted, f"{case.description}: slot {slot}"
    assert set(range(len(tables.rules))) <= hit, "a rule that no packet asks for"


def test_the_routers_stream_is_what_the_model_says() -> None:
    mac = bytes.fromhex(NEIGHBOUR_MAC.replace(":", ""))
    out = bytes.fromhex(ENDS.out_mac.replace(":", ""))
    hop = ModelHop(kind="forward", mac=mac, source_mac=out)
    hops = {
        "198.51.100.0/24": hop,
        "198.51.100.128/25": ModelHop(kind="blackhole"),
        "198.51.100.200/32": hop,
        "203.0.113.0/24": ModelHop(kind="local"),
        "2001:db8:99::/48": hop,
        "2001:db8:99:dead::/64": ModelHop(kind="blackhole"),
    }
    model = RouterModel({ip_network(prefix): hop for prefix, hop in hops.items()})
    for case in ALL["router"].cases:
        outcome = model.route(case.packet)
        assert (outcome.verdict, outcome.frame.hex()) == (
            expected(case)[0],
            expected(case)[1].hex(),
        ), case.description
        assert case.port in (None, OUT, "stack")


def test_the_balancers_stream_is_what_the_model_says(tmp_path: Path) -> None:
    tables = config_of(ALL["l4lb"], tmp_path).tables
    assert isinstance(tables, L4lbTables)
    model = Balancer(tables)
    for case in ALL["l4lb"].cases:
        verdict, frame = model.handle(case.packet)
        assert (verdict, frame.hex()) == (expected(case)[0], expected(case)[1].hex()), (
            case.description
        )
