# SPDX-License-Identifier: GPL-2.0-only
"""The checksum that follows the TTL, for every checksum there is."""

from __future__ import annotations

from contextlib import closing
from ipaddress import IPv4Network

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.functions.base import function_for
from iridescent_xdp.functions.router_tables import Hop, Route, RouterTables
from iridescent_xdp.preflight import Sandbox
from iridescent_xdp.template import find_template, read_template
from iridescent_xdp.variant import Variant
from traffic.corpus_routes import ip_frame

TTL, SUM = slice(22, 23), slice(24, 26)
DROP, REDIRECT = 1, 4
MAC = bytes.fromhex("020000000001")
HOP = Hop(ifindex=1, mac=MAC, source_mac=MAC, mtu=1500)
ROUTE = Route(prefix=IPv4Network("10.0.0.0/8"), interface="lo", via=MAC, hop=HOP)


def equation_3(checksum: int) -> int:
    """RFC 1624: HC' = ~(~HC + ~m + m'), where m' is m less 0x0100."""
    total = (0xFFFF - checksum) + (0xFFFF - 0x0100)
    return 0xFFFF - ((total & 0xFFFF) + (total >> 16))


@pytest.mark.parametrize("toolchain", ["llvm", "bcc"])
@pytest.mark.parametrize("verify", [0, 1])
def test_every_checksum(toolchain: str, verify: int) -> None:
    template = read_template(find_template("router"))
    function = function_for(template, RouterTables(routes=(ROUTE,)))
    generic = Variant.generic(template.points, {"verify_ip_checksum": verify})
    frame = ip_frame(4, 10 << 24 | 1, ttl=2)
    right = int.from_bytes(frame[SUM], "big")
    forwarded = 0
    with closing(Sandbox(Builder(toolchain), function, generic)) as box:
        runner = box.generic.runner()
        for checksum in range(0x10000):
            data = frame[: SUM.start] + checksum.to_bytes(2, "big") + frame[SUM.stop :]
            run = runner.run(data)
            if verify and checksum != right:
                assert (run.verdict, run.data) == (DROP, data)
                continue
            forwarded += 1
            assert run.verdict == REDIRECT and run.data[TTL] == b"\x01"
            assert int.from_bytes(run.data[SUM], "big") == equation_3(checksum), hex(checksum)
    assert forwarded == (1 if verify else 0x10000)
