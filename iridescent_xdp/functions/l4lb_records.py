# SPDX-License-Identifier: GPL-2.0-only
"""What the load balancer's maps hold for services, rings and backends."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np

from iridescent_xdp.functions.l4lb_flows import ServiceKey
from iridescent_xdp.functions.l4lb_places import Pair, Places
from iridescent_xdp.functions.l4lb_tables import Address, Service, Settings
from iridescent_xdp.functions.maglev import maglev_ring
from iridescent_xdp.kernel.maps import Map, Records
from iridescent_xdp.template import Template

IPIP, UDP = 4, 17
OUTER_TTL, DONT_FRAGMENT = 64, 0x4000  # of bpf/include/l4lb_packet.h


def ring_of(service: Service, numbers: Mapping[Pair, int]) -> Records:
    """The service's ring of backends' numbers."""
    chosen = sorted((str(b.address), b.share, b.address) for b in service.backends if b.share)
    ring = maglev_ring(tuple((name, share) for name, share, _ in chosen))
    return np.array([numbers[service.id, a] for *_, a in chosen], dtype=np.uint16)[ring]


def ring_record(template: Template, ring: Records) -> Records:
    """A ``struct ring``."""
    record = np.zeros(1, dtype=template.structs["ring"])
    record["backends"] = ring
    return record


def service_record(template: Template, service: Service, ring: int) -> Records:
    """A ``struct service`` whose ring is in place ``ring``."""
    record = np.zeros(1, dtype=template.structs["service"])
    record["ring"], record["gue"] = ring, service.encapsulation == "gue"
    return record


def backend_record(
    template: Template, settings: Settings, service: Service, address: Address, generation: int
) -> Records:
    """A ``struct backend``."""
    version = address.version
    source = settings.source(version)
    assert source is not None  # L4lbTables checks it
    record = np.zeros(1, dtype=template.structs["backend"])
    for name, value in (("address", address), ("source", source)):
        words = np.frombuffer(value.packed, dtype="<u4")
        record[name][0, : len(words)] = words
    record["gateway"] = int.from_bytes(settings.gateway_mac, "little")
    record["generation"], record["gue"] = generation, service.encapsulation == "gue"
    if version == 4:
        record["header_sum"] = _header_sum(source, address, service.encapsulation == "gue")
    return record


def _header_sum(source: Address, address: Address, gue: bool) -> int:
    """Of an outer header without TOS, length and checksum, words as BPF reads them."""
    protocol = UDP if gue else IPIP
    fixed = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, DONT_FRAGMENT, OUTER_TTL, protocol, 0)
    return sum(struct.unpack("<10H", fixed + source.packed + address.packed))


def write_backends(
    held: Map, template: Template, settings: Settings, services: Sequence[Service], places: Places
) -> None:
    """The backends of ``services``, in one system call."""
    rows = [
        (places.numbers[service.id, backend.address], service, backend.address)
        for service in services
        for backend in service.backends
    ]
    keys = np.array([number for number, *_ in rows], dtype=np.uint32)
    records = [
        backend_record(template, settings, service, address, places.generation(number))
        for number, service, address in rows
    ]
    held.write_many(keys, b"".join(record.tobytes() for record in records))


def write_identities(held: Map, places: Places, numbers: Sequence[int]) -> None:
    """Whose numbers these are."""
    keys = np.array(numbers, dtype=np.uint32)
    held.write_many(keys, places.records[list(numbers)].tobytes())


def write_keys(
    held: Map, template: Template, old: Mapping[ServiceKey, int], new: Mapping[ServiceKey, int]
) -> None:
    """Bring ``services`` from the old keys to the new ones."""
    for key, number in new.items():
        if old.get(key) != number:
            held.write(key.raw(template), struct.pack("<I", number))
    for key in old:
        if key not in new:
            held.delete(key.raw(template))
