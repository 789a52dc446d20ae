# SPDX-License-Identifier: GPL-2.0-only
"""What a guest is started with, and how it is watched; no QEMU runs here."""

from __future__ import annotations

import io
import itertools
import subprocess
import tarfile
from pathlib import Path

import pytest

from iridescent_xdp.errors import ConfigError
from vagrant.vm.kernels import KERNELS, kernel_named
from vagrant.vm.qemu import Machine, threads_for
from vagrant.vm.tree import ROOT, pack, tree_files
from vagrant.vm.watch import Stopwatch, Tail, last_line, panic_reason

PANIC = (
    b"[ 3.1] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000200\r\n[ 3.2] CPU"
)


def machine(**changes: object) -> Machine:
    given: dict[str, object] = {
        "kernel": Path("/i/vmlinuz"),
        "initrd": Path("/i/initrd"),
        "disk": Path("/i/disk"),
        "tree": Path("/r/tree.tar"),
        "run": Path("/r"),
        "results": Path("/r/results"),
        "accel": "tcg",
    }
    return Machine(**(given | changes))  # type: ignore[arg-type]


def options(words: list[str], name: str) -> list[str]:
    """All values of an option."""
    return [value for option, value in itertools.pairwise(words) if option == name]


@pytest.mark.parametrize(("cpus", "queues"), [(1, 2), (2, 4), (4, 8)])
def test_twice_as_many_queues_as_processors(cpus: int, queues: int) -> None:
    words = machine(cpus=cpus).command()
    taps = [value for value in options(words, "-netdev") if value.startswith("tap,")]
    nics = [value for value in options(words, "-device") if value.startswith("virtio-net")]
    assert len(taps) == len(nics) == 2
    assert all(f"queues={queues}," in tap for tap in taps)
    assert all(f"mq=on,vectors={2 * queues + 2}," in nic for nic in nics)


def test_what_native_xdp_on_virtio_demands() -> None:
    nics = [n for n in options(machine().command(), "-device") if n.startswith("virtio-net")]
    for nic in nics:
        for offload in ("guest_csum", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo"):
            assert f"{offload}=off" in nic.split(",")


def test_without_tap_one_queue_and_a_hub_that_is_recorded() -> None:
    words = machine(wire="hub").command()
    assert not any("tap," in word or "mq=on" in word for word in words)
    hubs = [value.split("hubid=")[1] for value in options(words, "-netdev")]
    assert sorted(hubs) == ["0", "0", "1", "1"]
    assert any("filter-dump" in value for value in options(words, "-object"))


def test_the_image_is_never_written() -> None:
    drives = options(machine().command(), "-drive")
    assert any("file=/i/disk," in drive and "snapshot=on" in drive for drive in drives)
    assert any("file=/r/tree.tar," in drive and "readonly=on" in drive for drive in drives)


@pytest.mark.parametrize(
    ("accel", "words"), [("kvm", ["kvm", "host"]), ("tcg", ["tcg,thread=multi", "max"])]
)
def test_accelerators(accel: str, words: list[str]) -> None:
    command = machine(accel=accel).command()
    assert [*options(command, "-accel"), *options(command, "-cpu")] == words


@pytest.mark.parametrize(
    ("kernel", "qemu", "threads"),
    [
        ("6.1.0-56-amd64", "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "multi"),
        ("6.12.95+deb12-amd64", "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", "single"),
        ("7.3.4+deb13-amd64", "QEMU emulator version 8.0.2", "single"),
        ("6.12.95+deb12-amd64", "QEMU emulator version 10.0.2", "multi"),
        ("6.12.95+deb12-amd64", "", "single"),
    ],
)
def test_one_thread_where_an_old_emulator_would_kill_the_guest(
    kernel: str, qemu: str, threads: str
) -> None:
    assert threads_for(kernel, qemu) == threads
    (accel,) = options(machine(threads=threads).command(), "-accel")
    assert accel == f"tcg,thread={threads}"


@pytest.mark.parametrize("run", [Path("/r"), Path("/r" * 80)])
def test_a_monitor_by_which_the_guest_is_paused(run: Path) -> None:
    (monitor,) = options(machine(run=run).command(), "-monitor")
    path = monitor.removeprefix("unix:").removesuffix(",server=on,wait=off")
    assert "monitor" in path and len(path) < 108


@pytest.mark.parametrize(
    "changes",
    [{"accel": "xen"}, {"wire": "string"}, {"threads": "many"}, {"cpus": 0}, {"memory_mib": 0}],
)
def test_impossible_machines(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=str(next(iter(changes.values())))):
        machine(**changes)


def test_hardware_addresses_are_those_that_the_guest_looks_for() -> None:
    script = (ROOT / "vagrant/vm/guest/run.sh").read_text()
    for device in options(machine().command(), "-device"):
        if "mac=" in device:
            assert device.split("mac=")[1].split(",")[0] in script


# -- kernels -------------------------------------------------------------------------------


def test_kernels_by_name_and_by_package() -> None:
    assert kernel_named("6.12") is KERNELS["6.12"]
    backport = kernel_named("bookworm-backports:linux-image-6.12.9+deb12-amd64")
    assert backport.release == "bookworm"
    assert backport.headers == "linux-headers-6.12.9+deb12-amd64"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5.99", "no kernel called '5.99'.*6.1, 6.12"),
        ("book worm:linux-image-amd64", "a suite is"),
        ("bookworm:vim", "a kernel package is .*got 'vim'"),
        ("bookworm:linux-image-amd64; true", "a kernel package is"),
    ],
)
def test_what_is_no_kernel(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kernel_named(text)


# -- the tree ------------------------------------------------------------------------------


def test_the_tree_is_what_git_would_take(tmp_path: Path) -> None:
    root, target = tmp_path / "tree", tmp_path / "tree.tar"
    root.mkdir()
    subprocess.run(("git", "init", "-q", root), check=True)
    (root / ".gitignore").write_text("ignored\n")
    for name in ("committed", "removed", "new", "ignored"):
        (root / name).write_text(name)
    subprocess.run(("git", "-C", root, "add", "committed", "removed", ".gitignore"), check=True)
    (root / "removed").unlink()
    assert tree_files(root) == [".gitignore", "committed", "new"]

    pack(target, {".vm/command": "true\n"}, root)
    assert target.stat().st_size % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(target.read_bytes())) as archive:
        assert archive.getnames() == [".gitignore", "committed", "new", ".vm/command"]
        assert {member.uid for member in archive} == {0}
        command = archive.extractfile(".vm/command")
        assert command is not None and command.read() == b"true\n"


# -- watching ------------------------------------------------------------------------------


def test_a_panic_is_told_in_the_kernels_words() -> None:
    assert panic_reason(PANIC) == "Attempted to kill init! exitcode=0x00000200"
    assert panic_reason(b"[ 1.0] all is well\n") == ""


def test_the_last_line_is_one_for_people() -> None:
    assert last_line(b"one\r\n[\x1b[0;32m  OK  \x1b[0m] Reached target\r\n\r\n") == (
        "[  OK  ] Reached target"
    )
    assert last_line(b"") == ""


def test_no_time_passes_while_this_process_is_stopped() -> None:
    times = iter([0.0, 0.5, 1.0, 3600.0, 3600.25])
    watch = Stopwatch(lambda: next(times))
    assert [watch.tick() for _ in range(4)] == [0.5, 1.0, 3.0, 3.25]


def test_a_file_that_grows(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "log")
    assert tail.read() == b""
    tail.path.write_bytes(b"one")
    assert tail.read() == b"one"
    with tail.path.open("ab") as file:
        file.write(b", two")
    assert [tail.read(), tail.read()] == [b", two", b""]
