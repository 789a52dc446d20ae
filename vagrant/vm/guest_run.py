# SPDX-License-Identifier: GPL-2.0-only
"""One guest from start to power-off: whatever happens, it does not outlive this call."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from vagrant.vm.errors import GuestHangError, GuestPanicError, VmError
from vagrant.vm.host import qemu_version
from vagrant.vm.image import Image
from vagrant.vm.qemu import Machine, threads_for
from vagrant.vm.tree import ROOT, pack
from vagrant.vm.watch import Stopwatch, Tail, last_line, panic_reason
from vagrant.vm.wires import tap_refusal

# until the command starts, in seconds of this process
BOOT_S = {"kvm": 60.0, "tcg": 300.0}
SILENT_S = 20.0  # a kernel that runs under KVM says something within that
_TICK_S, _LAST_WORDS_S, _STOP_S = 0.2, 2.0, 10.0
_ENDED_FROM_OUTSIDE = "terminating on signal"
PID_FILE = "pid"  # of QEMU's process group, while it runs


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a guest is booted for. ``timeout_s`` counts from the start of the command."""

    command: str
    kernel_name: str
    timeout_s: float
    cpus: int = 2
    memory_mib: int = 2048
    show: bool = True


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``exit_code`` of the command, ``folder`` with all that is kept, ``accel`` that was used."""

    exit_code: int
    folder: Path
    accel: str
    seconds: float

    @property
    def results(self) -> Path:
        """What the guest wrote."""
        return self.folder / "results"


class KvmUnusableError(VmError):
    """KVM is there, and a stock kernel does not run under it."""


def run(image: Image, job: Job, folder: Path, accel: str = "auto") -> Outcome:
    """Boot, run, power off. Raises VmError; ``folder`` keeps the logs either way."""
    refusal = tap_refusal()
    if refusal:
        click.echo(f"vm: NICs have one queue each, because of {refusal}", err=True)
    wire = "hub" if refusal else "tap"
    chosen, reason = (accel, "") if accel != "auto" else _choose_accel()
    if chosen == "kvm" and accel == "auto":
        try:
            return _run(_machine(image, job, folder, "kvm", wire), job)
        except KvmUnusableError as error:
            chosen, reason = "tcg", error.message
    if reason:
        click.echo(f"vm: software emulation, {reason}", err=True)
    machine = _machine(image, job, folder, chosen, wire)
    if chosen == "tcg" and machine.threads == "single":
        click.echo("vm: one thread for all CPUs, because QEMU before 8.1 needs that here", err=True)
    return _run(machine, job)


def _choose_accel() -> tuple[str, str]:
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as error:
        return "tcg", f"because /dev/kvm cannot be used ({error.strerror})"
    return "kvm", ""


def _run(machine: Machine, job: Job) -> Outcome:
    shutil.rmtree(machine.run, ignore_errors=True)
    machine.results.mkdir(parents=True)
    variables = (
        f"VM_ACCEL={machine.accel}\nVM_QUEUES={machine.queues}\nVM_KERNEL='{job.kernel_name}'\n"
    )
    pack(machine.tree, {".vm/run.env": variables, ".vm/command": job.command + "\n"})
    watch = Stopwatch()
    try:
        with _started(machine) as process:
            _follow(process, machine, job, watch)
    finally:
        machine.tree.unlink()
    code = _exit_code(machine)
    return Outcome(exit_code=code, folder=machine.run, accel=machine.accel, seconds=watch.seconds)


def _machine(image: Image, job: Job, folder: Path, accel: str, wire: str) -> Machine:
    return Machine(
        kernel=image.kernel,
        initrd=image.initrd,
        disk=image.disk,
        tree=folder / "tree.tar",
        run=folder,
        results=folder / "results",
        accel=accel,
        threads=threads_for(image.release, qemu_version()),
        cpus=job.cpus,
        memory_mib=job.memory_mib,
        wire=wire,
    )


@contextmanager
def _started(machine: Machine) -> Iterator[subprocess.Popen[bytes]]:
    """QEMU, which dies with this process and at the end of the block."""
    command = machine.command()
    if machine.wire == "tap":
        wires = (sys.executable, "-m", "vagrant.vm.wires", str(machine.run))
        command = ["unshare", "--net", "--", *wires, *command]
    with (machine.run / "qemu.log").open("w") as log:
        process = subprocess.Popen(
            ("setpriv", "--pdeathsig", "TERM", "--", *command),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (machine.run / PID_FILE).write_text(f"{process.pid}\n")
    try:
        yield process
    finally:
        _stop(process)
        (machine.run / PID_FILE).unlink()
        machine.monitor.unlink(missing_ok=True)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _follow(process: subprocess.Popen[bytes], machine: Machine, job: Job, watch: Stopwatch) -> None:
    """Until QEMU ends: show what the command says, look out for a panic and for the time."""
    console, tail, boot, began = b"", Tail(machine.console), 0, 0.0
    said = Tail(machine.results / "command-boot1.log")
    while process.poll() is None:
        time.sleep(_TICK_S)
        console += tail.read()
        if job.show:
            _show(said.read())
        if panic_reason(console):
            time.sleep(_LAST_WORDS_S)
            break
        if (machine.results / f"started-{boot + 1}").exists():
            boot, began = boot + 1, watch.seconds
            said = Tail(machine.results / f"command-boot{boot}.log")
        _check_time(machine, job, console, boot=boot, spent=watch.tick() - began)
    console += tail.read()
    if job.show:
        _show(said.read())
    check_end(process.poll(), machine.accel, console, machine.run)


def _check_time(machine: Machine, job: Job, console: bytes, *, boot: int, spent: float) -> None:
    if machine.accel == "kvm" and not console and spent > SILENT_S:
        raise KvmUnusableError(f"because the guest said nothing for {SILENT_S:.0f} s under KVM")
    done = boot > 0 and (machine.results / f"exit-code-{boot}").exists()
    limit = job.timeout_s if boot else BOOT_S[machine.accel]
    limit += BOOT_S[machine.accel] if done else 0.0  # to shut down, and to boot again
    if spent <= limit:
        return
    doing = "did not boot" if not boot else "did not shut down" if done else "hangs"
    log = machine.results / f"command-boot{boot}.log"
    words = (last_line(log.read_bytes()) if log.exists() else "") or last_line(console)
    raise GuestHangError(
        f"the guest {doing} (more than {limit:.0f} s; its last line: {words!r}); "
        "it was switched off",
        cure=f"logs: {machine.run}",
    )


def check_end(code: int | None, accel: str, console: bytes, folder: Path) -> None:
    """Raise what a guest's end means; ``code`` is QEMU's, ``folder`` has its log."""
    if reason := panic_reason(console):
        raise GuestPanicError(f"the guest's kernel panicked: {reason}", cure=f"logs: {folder}")
    said = (folder / "qemu.log").read_text(errors="replace").strip()
    if code == 0 and console and _ENDED_FROM_OUTSIDE not in said:
        return
    if accel == "kvm" and not console:
        first = said.splitlines()[0] if said else f"QEMU ended with {code}"
        raise KvmUnusableError(f"because KVM does not work ({first})")
    cause = f"exit code {code}" + (f", {said.splitlines()[-1]}" if said else "")
    raise VmError(f"QEMU failed: {cause}", cure=f"logs: {folder}")


def _exit_code(machine: Machine) -> int:
    """The first command that failed, of all boots. Raises VmError when one did not end."""
    boot, code = 1, 0
    while not code:
        file = machine.results / f"exit-code-{boot}"
        if not file.exists():
            line = last_line(machine.console.read_bytes())
            raise VmError(
                f"the guest switched off before the command of boot {boot} ended "
                f"(its last line: {line!r})",
                cure=f"logs: {machine.run}",
            )
        code = int(file.read_text())
        if not (machine.results / f"rebooted-{boot}").exists():
            break
        boot += 1
    return code


def _show(text: bytes) -> None:
    if text:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
