# SPDX-License-Identifier: GPL-2.0-only
"""`iridescent traffic pktgen`: a mix, sent by the kernel's own packet generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from iridescent_xdp.commands.output import emit_json, json_option
from iridescent_xdp.errors import TrafficError
from iridescent_xdp.kernel.features import Feature, require

if TYPE_CHECKING:
    from traffic.pktgen import PktgenReport
    from traffic.pktgen_plan import PktgenPlan

DEFAULT_COUNT = 100_000
MAX_COUNT = 10_000_000_000


@click.command()
@click.option("--interface", required=True, help="Packets leave this interface.")
@click.option("--mix", required=True, help="A mix's name, or a traffic file (*.toml).")
@click.option(
    "--count", type=click.IntRange(1, MAX_COUNT), default=DEFAULT_COUNT, show_default=True
)
@click.option("--pps", type=click.FloatRange(min=1), help="Packets per second; default: no limit.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--to-mac", help="Destination MAC address; a NIC takes its own only.")
@click.option("--clone", type=click.IntRange(0), default=0, help="Send each packet so often.")
@click.option("--burst", type=click.IntRange(1), default=1, help="Packets per call of the driver.")
@click.option("--approximate", is_flag=True, help="Send what comes nearest to the mix.")
@json_option
def pktgen(  # noqa: PLR0913, PLR0917
    interface: str,
    mix: str,
    count: int,
    pps: float | None,
    threads: int,
    to_mac: str | None,
    clone: int,
    burst: int,
    approximate: bool,
    as_json: bool,
) -> None:
    """Send COUNT packets of a mix with pktgen, and read back what was sent.

    The module must be loaded (modprobe pktgen). What pktgen can not express is told, and refused
    without --approximate.
    """
    from iridescent_xdp.kernel.netlink import find_interface
    from traffic.mix_file import mix_of
    from traffic.packet_build import DESTINATION_MAC
    from traffic.pktgen import Pktgen
    from traffic.pktgen_plan import plan_mix

    plan = plan_mix(
        mix_of(mix),
        count,
        pps=pps,
        destination_mac=to_mac or DESTINATION_MAC,
        approximate=approximate,
    )
    require(Feature.PRIVILEGE)
    find_interface(interface)
    with Pktgen(interface, plan, cpus=range(threads), clone=clone, burst=burst) as generator:
        report = generator.run()
    _tell(interface, plan, report, as_json)
    if report.sent < plan.count:
        raise TrafficError(
            f"pktgen sent {report.sent:,} of {plan.count:,} packets, {report.errors:,} refused",
            cure=f"see 'ip -s link show {interface}'",
        )


def _tell(interface: str, plan: PktgenPlan, report: PktgenReport, as_json: bool) -> None:
    if as_json:
        emit_json(
            {
                "interface": interface,
                "mix": plan.name,
                "notes": list(plan.notes),
                "sent": report.sent,
                "errors": report.errors,
                "pps": report.pps,
                "devices": [
                    {"name": r.device, "sent": r.sent, "errors": r.errors, "result": r.result}
                    for r in report.readings
                ],
            }
        )
        return
    for note in plan.notes:
        click.echo(f"note: {note}")
    for reading in report.readings:
        click.echo(f"{reading.device}: sent {reading.sent:,}, errors {reading.errors:,}")
    rate = f"{report.pps / 1e6:.3f} Mpps"
    click.echo(f"sent {report.sent:,} packets of mix {plan.name} out of {interface}, {rate}")
