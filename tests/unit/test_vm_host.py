# SPDX-License-Identifier: GPL-2.0-only
"""What stops a guest from being built or started: one line each, with the cure."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import pytest

from iridescent_xdp.errors import MissingFeatureError
from iridescent_xdp.kernel.features import Feature
from vagrant.vm import guest_run, host, image, packages, session
from vagrant.vm.__main__ import main
from vagrant.vm.errors import GuestHangError, GuestPanicError, VmError
from vagrant.vm.guest_run import Job, Outcome
from vagrant.vm.kernels import KERNELS
from vagrant.vm.matrix import ROWS, Column, markdown, read_column
from vagrant.vm.qemu import Machine
from vagrant.vm.steps import Steps
from vagrant.vm.tree import ROOT

MEMINFO = ["MemTotal:  4000000 kB", "MemAvailable:  2097152 kB"]


def test_missing_programs_come_with_the_line_for_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingFeatureError) as caught:
        host.require_tools(host.RUN_TOOLS)
    said = str(caught.value)
    assert "qemu-system-x86_64" in said
    assert "apt-get install" in said and "qemu-system-x86 " in said and "mmdebstrap" in said
    assert "\n" not in said


def test_no_room_is_told_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(MissingFeatureError, match=r"needs 1048576\.0 GiB in .* GiB are free.*make"):
        host.require_space(tmp_path, 1 << 50, "building an image")
    host.require_space(tmp_path, 1, "a file")


def test_no_memory() -> None:
    host.require_memory(1536, MEMINFO)
    with pytest.raises(MissingFeatureError, match=r"wants 2048 MiB.*2048 MiB are available.*--mem"):
        host.require_memory(2048, MEMINFO)


def test_root_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MissingFeatureError, match=r"a VM needs root.*make vm-smoke"):
        host.require_root()


def test_the_set_up_brings_what_the_runner_looks_for() -> None:
    script = (ROOT / "scripts" / "setup-vm.sh").read_text()
    line = next(line for line in script.splitlines() if line.startswith("WANTED="))
    wanted = set(line.split('"')[1].split())
    assert wanted >= {*host.RUN_TOOLS.values(), *host.BUILD_TOOLS.values()} - {"apt", "tar"}


# -- building ------------------------------------------------------------------------------


def test_a_step_that_fails_is_told_in_its_own_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = Steps(tmp_path / "log")
    steps.run("fine", ("true",))
    with pytest.raises(VmError, match=r"it: E: no such package \(log: .*/log\)"):
        steps.run("it", ("sh", "-c", "echo fine; echo 'E: no such package'; exit 100"))
    with pytest.raises(VmError, match="it: No space left on device"):
        steps.run("it", ("sh", "-c", "echo 'tar: x: No space left on device' >&2; exit 2"))
    with pytest.raises(VmError, match="it: exit code 3"):
        steps.run("it", ("sh", "-c", "exit 3"))
    assert capsys.readouterr().err.count("\n") == 4


def test_an_image_is_known_by_what_it_is_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (image.image_digest(KERNELS[name]) for name in ("6.1", "6.12"))
    assert first != second
    assert image.image_digest(KERNELS["6.1"]) == first
    monkeypatch.setattr(image, "requirements", lambda: ["numpy==1"])
    assert image.image_digest(KERNELS["6.1"]) != first
    monkeypatch.undo()
    monkeypatch.setattr(image, "BASE_FILES", image.BASE_FILES[1:])
    assert image.image_digest(KERNELS["6.1"]) != first


def test_wheels_are_for_everything_that_is_installed_inside() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = packages.requirements()
    assert set(project["project"]["dependencies"]) <= set(wanted)
    assert set(project["project"]["optional-dependencies"]["dev"]) <= set(wanted)
    assert set(project["build-system"]["requires"]) <= set(wanted)


def test_every_kernel_is_of_a_release_that_is_known() -> None:
    for kernel in KERNELS.values():
        assert packages.python_of(kernel.release)
        assert any(f" {kernel.suite} " in x for x in packages.sources(kernel.release, kernel.suite))
    with pytest.raises(VmError, match="Debian woody is not known here"):
        packages.python_of("woody")


def test_scratch_is_gone_whatever_happens(tmp_path: Path) -> None:
    left = tmp_path / "building-before"
    left.mkdir()

    def interrupted() -> None:
        with image._scratch(tmp_path) as folder:
            (folder / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


# -- running -------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(
        kernel=tmp_path / "vmlinuz",
        initrd=tmp_path / "initrd",
        disk=tmp_path / "disk",
        tree=tmp_path / "tree.tar",
        run=tmp_path,
        results=tmp_path / "results",
        accel="tcg",
    )
    made.results.mkdir()
    made.console.write_text("Welcome\n")
    return made


JOB = Job(command="true", kernel_name="6.1", timeout_s=10.0)


def test_a_guest_that_hangs_is_told_by_where_it_hangs(machine: Machine) -> None:
    limit = guest_run.BOOT_S["tcg"]
    guest_run._check_time(machine, JOB, b"Welcome\n", boot=0, spent=limit)
    with pytest.raises(GuestHangError, match=r"did not boot .*'Welcome'.*logs: "):
        guest_run._check_time(machine, JOB, b"Welcome\n", boot=0, spent=limit + 1)
    guest_run._check_time(machine, JOB, b"Welcome\n", boot=1, spent=10.0)
    (machine.results / "command-boot1.log").write_text("one\ntest_two \n")
    with pytest.raises(GuestHangError, match=r"the guest hangs .more than 10 s.*'test_two'"):
        guest_run._check_time(machine, JOB, b"Welcome\n", boot=1, spent=10.5)
    (machine.results / "exit-code-1").write_text("0\n")
    with pytest.raises(GuestHangError, match="did not shut down"):
        guest_run._check_time(machine, JOB, b"Welcome\n", boot=1, spent=limit + 11)


def test_exit_codes_of_all_boots(machine: Machine) -> None:
    results = machine.results
    with pytest.raises(VmError, match=r"before the command of boot 1 ended.*'Welcome'"):
        guest_run._exit_code(machine)
    (results / "exit-code-1").write_text("0\n")
    assert guest_run._exit_code(machine) == 0
    (results / "rebooted-1").touch()
    with pytest.raises(VmError, match="before the command of boot 2 ended"):
        guest_run._exit_code(machine)
    (results / "exit-code-2").write_text("4\n")
    assert guest_run._exit_code(machine) == 4
    (results / "exit-code-1").write_text("3\n")
    assert guest_run._exit_code(machine) == 3


def test_kvm_that_refuses_is_no_failure_of_qemu(tmp_path: Path) -> None:
    refusal = "qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69"
    (tmp_path / "qemu.log").write_text(f"{refusal}\nAborted\n")
    with pytest.raises(guest_run.KvmUnusableError, match="failed to set MSR"):
        guest_run.check_end(-6, "kvm", b"", tmp_path)
    with pytest.raises(VmError, match="QEMU failed: exit code -6, Aborted"):
        guest_run.check_end(-6, "tcg", b"", tmp_path)
    with pytest.raises(GuestPanicError, match="panicked: Oops"):
        guest_run.check_end(0, "tcg", b"Kernel panic - not syncing: Oops\n", tmp_path)
    guest_run.check_end(0, "tcg", b"Power down\n", tmp_path)
    (tmp_path / "qemu.log").write_text("qemu: terminating on signal 15 from pid 7 (x)\n")
    with pytest.raises(VmError, match="exit code 0, qemu: terminating on signal 15"):
        guest_run.check_end(0, "tcg", b"Welcome\n", tmp_path)


@pytest.mark.parametrize("code", [0, 1])
def test_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int) -> None:
    (tmp_path / "wire.pcap0").write_bytes(b"packets")
    (tmp_path / "wire.json").write_text(json.dumps({"dut0": {"lost": 0}, "gen0": {"lost": 7}}))
    session._tell(Outcome(exit_code=code, folder=tmp_path, accel="tcg", seconds=61.0))
    said = capsys.readouterr().err
    assert "lost packets: {'gen0': 7}" in said and f"exit code {code} after 61 s (tcg)" in said
    assert (tmp_path / "wire.pcap0").exists() == bool(code)
    assert ("wire.pcap0" in said) == ("console.log" in said) == bool(code)


def test_reports_of_both_boots_are_added_up(tmp_path: Path) -> None:
    for boot, counts in enumerate(('tests="5" failures="1" errors="1" skipped="1"', 'tests="2"')):
        text = f"<testsuites><testsuite {counts}/></testsuites>"
        (tmp_path / f"junit-boot{boot + 1}.xml").write_text(text)
    assert str(session.tally(tmp_path)) == "4 passed, 2 failed, 1 skipped"
    assert str(session.tally(tmp_path / "none")) == "0 passed, 0 failed, 0 skipped"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["test", "--kernel", "5.99"], 2, "error: there is no kernel called '5.99'"),
        (["test", "--accel", "xen"], 2, "'xen' is not one of"),
        (["dance"], 2, "No such command 'dance'"),
    ],
)
def test_mistakes_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.setattr("sys.argv", ["vm", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert message in capsys.readouterr().err


# -- the table -----------------------------------------------------------------------------


def column(kernel: str, **missing: str) -> Column:
    features = {row.key: {"ok": True, "detail": "seen"} for row in ROWS}
    features |= {key: {"ok": False, "detail": why} for key, why in missing.items()}
    return Column(kernel=kernel, release=f"{kernel}.0", required=True, features=features)


def test_the_table_has_a_row_for_each_feature_and_says_why_one_is_missing() -> None:
    table = markdown([column("6.1", pktgen="No such file"), column("6.12")])
    lines = table.splitlines()
    assert lines[0] == "| feature | 6.1 (6.1.0) | 6.12 (6.12.0) | instead |"
    assert len([line for line in lines if line.startswith("|")]) == len(ROWS) + 3
    assert "| pktgen | no | yes | live frames |" in lines
    assert lines[-1] == "- 6.1, pktgen: No such file"
    assert {line.count("|") for line in lines if line.startswith("|")} == {5}


def test_a_feature_nobody_looked_at_is_no_empty_cell() -> None:
    with pytest.raises(VmError, match=r"kernel 6.1 did not look at 'link native virtio'"):
        markdown([Column(kernel="6.1", release="6.1", required=True, features={})])


def test_rows_are_features_that_exist() -> None:
    from iridescent_xdp.doctor import _things
    from vagrant.vm.features import PROBES

    known = {*PROBES, *_things(), *(feature.value for feature in Feature)}
    assert {str(row.key) for row in ROWS} <= known


def test_a_guest_that_told_nothing(tmp_path: Path) -> None:
    with pytest.raises(VmError, match=r"kernel 6.1 told nothing of its features"):
        read_column("6.1", tmp_path)
    (tmp_path / "features.json").write_text("{}")
    with pytest.raises(VmError, match="told nothing"):
        read_column("6.1", tmp_path)


def test_a_run_does_not_take_the_folder_of_another_that_still_runs(tmp_path: Path) -> None:
    assert session.free_folder(tmp_path, "test-6.1") == tmp_path / "test-6.1"
    (tmp_path / "test-6.1").mkdir()
    pid = tmp_path / "test-6.1" / guest_run.PID_FILE
    pid.write_text(f"{os.getpid()}\n")
    assert session.free_folder(tmp_path, "test-6.1") == tmp_path / "test-6.1.2"
    pid.write_text(f"{1 << 22}\n")  # no process has this number
    assert session.free_folder(tmp_path, "test-6.1") == tmp_path / "test-6.1"
