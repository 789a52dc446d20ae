# SPDX-License-Identifier: GPL-2.0-only
"""Operator files of the suite, and the commands that a person would run on them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iridescent_xdp.builder import Builder
from iridescent_xdp.config.reader import load_config
from iridescent_xdp.controller import Controller
from iridescent_xdp.events import EventLog
from iridescent_xdp.plan import make_plan
from tests.kernel.command_lab import tried
from tests.kernel.fixtures import counted
from tests.kernel.live import Events
from tests.vm.rig import ROOT, Rig
from traffic.testbed import inside

FIRST_PORT, PORTS = 100, 8  # of the load: each port in turn
DROPPED = {0: (100, 101), 1: (102, 103)}  # rule: its ports
UNUSED_RULES = 14  # in front of nothing, but looked at by the generic code
COMMAND_S = 60.0
OURS = ("BCC_KERNEL_SOURCE",)  # which a toolchain in this process sets, not the machine


def filter_site(
    interface: str, *, seconds: float = 30, mode: str = "native", unused: int = UNUSED_RULES
) -> str:
    """Two rules that the load meets, others that it does not; the rest goes to the stack."""
    at = f'interface."{interface}"'
    lines = [
        f'[{at}]\nfunction = "filter"\ntoolchain = "llvm"\nmode = "{mode}"',
        f'[{at}.policy]\ndefault_action = "pass"\nsample_shift = 0',
        f"[{at}.search]\nmax_seconds = {seconds}\n[{at}.search.points]",
        *(f"{name} = {value}" for name, value in tried(SEARCHED).items()),
    ]
    ports = [f'"{low}-{high}"' for low, high in DROPPED.values()]
    ports += [str(20_000 + number) for number in range(unused)]
    for port in ports:
        rule = f'protocol = "udp"\ndestination_port = {port}\naction = "drop"'
        lines.append(f"[[{at}.rules]]\n{rule}")
    return "\n".join(lines) + "\n"


SEARCHED = {"rule_layout": '["map", "tree"]', "vlan_depth": "[0, 2]"}


class Site:
    """An interface with an operator file; ``folder`` keeps what belongs to it."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self.rig, self.folder = rig, folder
        self.path = folder / "site.toml"

    def write(self, **options: Any) -> Path:
        """The filter's file."""
        self.path.write_text(filter_site(self.rig.dut.interface, **options))
        return self.path

    @contextlib.contextmanager
    def controlled(
        self, events: Events | None = None, *, release: bool = True, builder: Builder | None = None
    ) -> Iterator[Controller]:
        """A controller in this process, from the file."""
        (config,) = load_config(self.path).interfaces
        plan = make_plan(config, self.path)
        with inside(self.rig.dut.namespace):
            controller = Controller(plan, builder or Builder("llvm"), EventLog(None, events))
        try:
            yield controller
        finally:
            if release:
                controller.release()
            else:
                controller.close()

    # -- as a person would ---------------------------------------------------------------------

    def start(self, *words: object, namespace: str = "") -> subprocess.Popen[str]:
        """``iridescent WORDS``, by default in the namespace of the interface under test."""
        space = f"--net=/run/netns/{namespace or self.rig.dut.namespace}"
        command = ("nsenter", space, sys.executable, "-m")
        return subprocess.Popen(
            [*command, "iridescent_xdp.cli", *map(str, words)],
            cwd=self.folder,
            env={k: v for k, v in os.environ.items() if k not in OURS} | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str, str]:
        """Exit code and output; killed when it takes too long."""
        try:
            out, err = process.communicate(timeout=COMMAND_S * self.rig.slow)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            raise
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def facts(self, *words: object, namespace: str = "") -> Any:
        """The document that a command prints; the exit code is in it as ``exit_code``."""
        code, out, err = self.finish(self.start(*words, "--json", namespace=namespace))
        assert out, err
        return {**json.loads(out), "exit_code": code}


def verdicts(controller: Controller) -> dict[str, int]:
    """Packets of the filter by verdict."""
    return {name: packets for name, (packets, _) in counted(controller.state).verdicts.items()}


def stack_packets(rig: Rig) -> int:
    """IPv4 packets that came to the stack of the namespace under test (InReceives, RFC 4293)."""
    with inside(rig.dut.namespace):
        text = Path("/proc/thread-self/net/snmp").read_text()
    names, values = (line.split()[1:] for line in text.splitlines() if line.startswith("Ip:"))
    return int(values[names.index("InReceives")])
