# SPDX-License-Identifier: GPL-2.0-only
"""Changes of the load balancer's tables, and flows as code, against the model."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from random import Random

import pytest

from iridescent_xdp.decision.nodes import Field, evaluate
from iridescent_xdp.errors import ConfigError
from iridescent_xdp.functions.l4lb_flows import (
    NO_SERVICE,
    NOT_HOT,
    Flow,
    hot_node,
    service_keys,
    services_node,
)
from iridescent_xdp.functions.l4lb_tables import (
    Backend,
    Change,
    DrainBackend,
    L4lbTables,
    RemoveBackend,
    RemoveService,
    Service,
    ServiceId,
    SetBackend,
    SetService,
    Settings,
    changed,
)
from iridescent_xdp.template import find_template, read_template
from tests.unit.l4lb_model import hash_of

WEB = ServiceId(address=ip_address("192.0.2.80"), port=80, protocol="tcp")
TLS = ServiceId(address=ip_address("192.0.2.80"), port=443, protocol="tcp")
DNS = ServiceId(address=ip_address("2001:db8::53"), port=53, protocol="udp")
ONE, TWO, SIX = map(ip_address, ("10.0.0.1", "10.0.0.2", "2001:db8::2"))
SETTINGS = Settings(source_address4=IPv4Address("192.0.2.1"))
TABLES = L4lbTables(
    services=(Service(id=WEB, backends=(Backend(address=ONE), Backend(address=TWO))),),
    settings=SETTINGS,
)


def backends_after(*changes: Change) -> dict[str, tuple[int, bool]]:
    (service,) = changed(TABLES, changes).services
    return {str(b.address): (b.weight, b.draining) for b in service.backends}


def test_changes() -> None:
    assert backends_after(SetBackend(service=WEB, backend=Backend(address=ONE, weight=5))) == {
        "10.0.0.1": (5, False), "10.0.0.2": (1, False),
    }  # fmt: skip
    assert backends_after(DrainBackend(service=WEB, address=TWO))["10.0.0.2"] == (1, True)
    undone = (
        DrainBackend(service=WEB, address=TWO),
        DrainBackend(service=WEB, address=TWO, draining=False),
    )
    assert backends_after(*undone)["10.0.0.2"] == (1, False)
    assert list(backends_after(RemoveBackend(service=WEB, address=ONE))) == ["10.0.0.2"]
    replaced = Service(id=WEB, backends=(Backend(address=TWO),), encapsulation="gue")
    assert changed(TABLES, [SetService(service=replaced)]).services == (replaced,)
    assert changed(TABLES, [RemoveService(service=WEB)]).services == ()


def test_only_the_result_of_a_batch_must_be_right() -> None:
    batch = (
        RemoveBackend(service=WEB, address=ONE),
        RemoveBackend(service=WEB, address=TWO),
        SetBackend(service=WEB, backend=Backend(address=ip_address("10.0.0.3"))),
    )
    assert list(backends_after(*batch)) == ["10.0.0.3"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (RemoveBackend(service=WEB, address=SIX), "has no backend 2001:db8::2"),
        (DrainBackend(service=WEB, address=SIX), "has no backend"),
        (SetBackend(service=WEB, backend=Backend(address=SIX)), "other family"),
        (SetBackend(service=TLS, backend=Backend(address=ONE)), "no service 192.0.2.80:443/tcp"),
        (RemoveService(service=DNS), r"no service \[2001:db8::53\]:53/udp"),
        (
            SetService(service=Service(id=DNS, backends=(Backend(address=SIX),))),
            "IPv6 need an outer source address",
        ),
        ("remove everything", "no change of a load balancer"),
    ],
)
def test_wrong_changes(change: object, says: str) -> None:
    good = DrainBackend(service=WEB, address=ONE)
    with pytest.raises(ConfigError, match=says):
        changed(TABLES, [good, change])


def test_a_service_keeps_somebody_for_new_flows() -> None:
    drains = [DrainBackend(service=WEB, address=address) for address in (ONE, TWO)]
    with pytest.raises(ConfigError, match="sum to zero"):
        changed(TABLES, drains)
    removes = [RemoveBackend(service=WEB, address=address) for address in (ONE, TWO)]
    with pytest.raises(ConfigError, match="no backends"):
        changed(TABLES, removes)


def random_flow(rng: Random, service: ServiceId) -> Flow:
    size = 32 if service.address.version == 4 else 128
    source = type(service.address)(rng.getrandbits(size))
    return Flow(source=source, port=rng.randrange(65536), service=service)


def fields_of(flow: Flow) -> dict[Field, int]:
    """What ``struct flow_key`` holds, word by word."""
    found = {
        Field("family"): flow.source.version,
        Field("ports"): flow.port << 16 | flow.service.port,
    }
    found[Field("protocol")] = 6 if flow.service.protocol == "tcp" else 17
    for name, address in (("source", flow.source), ("destination", flow.service.address)):
        raw = address.packed.ljust(16, b"\0")
        for word in range(4):
            found[Field(name, word)] = int.from_bytes(raw[4 * word : 4 * word + 4])
    return found


def test_hash_and_keys_are_the_models() -> None:
    template, rng = read_template(find_template("l4lb")), Random(3)
    for place in range(200):
        flow = random_flow(rng, (WEB, DNS)[place % 2])
        hashed = hash_of(flow.source, (flow.port, flow.service.port))
        assert flow.hash == hashed
        assert flow.gue_port == 49152 + hashed % 16384
        assert flow.ring_place == (hashed // 2**32) * 65537 // 2**32
        assert Flow.of_key(flow.key(template), template) == flow


def test_hot_flows_as_code() -> None:
    rng = Random(4)
    flows = [random_flow(rng, (WEB, TLS, DNS)[place % 3]) for place in range(60)]
    node = hot_node([(flow, place) for place, flow in enumerate(flows)])
    for place, flow in enumerate(flows):
        assert evaluate(node, fields_of(flow)) == flow.gue_port << 16 | place
        for field in fields_of(flow):
            near = fields_of(flow)
            near[field] ^= 1
            if field.name == "family" or (flow.source.version == 4 and field.index):
                continue
            assert evaluate(node, near) == NOT_HOT
    assert evaluate(hot_node([]), fields_of(flows[0])) == NOT_HOT


def test_services_as_code() -> None:
    numbers = {TLS: 0, WEB: 1, DNS: 2}
    node = services_node(service_keys(numbers))

    def found(address: str, port: int, protocol: int) -> int:
        host = ip_address(address)
        raw = host.packed.ljust(16, b"\0")
        key = {Field("family"): host.version, Field("port"): port, Field("wide"): 0}
        key[Field("protocol")] = protocol
        for word in range(4):
            key[Field("destination", word)] = int.from_bytes(raw[4 * word : 4 * word + 4])
        return evaluate(node, key)

    assert [found("192.0.2.80", port, 6) for port in (443, 80, 81, 0)] == [
        0,
        1,
        NO_SERVICE,
        NO_SERVICE,
    ]
    assert found("192.0.2.80", 80, 17) == NO_SERVICE
    assert found("192.0.2.80", 0, 1) == NO_SERVICE  # ICMP asks the map
    assert found("2001:db8::53", 53, 17) == 2
    assert found("2001:db8::54", 53, 17) == NO_SERVICE
