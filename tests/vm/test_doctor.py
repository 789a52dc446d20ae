# SPDX-License-Identifier: GPL-2.0-only
"""What `doctor` says of this kernel, against what the kernel itself lists, in both directions."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from iridescent_xdp.builder import Builder
from iridescent_xdp.kernel.features import Feature
from tests.vm.rig import Rig
from tests.vm.sites import Site

# a feature, and a function of the kernel that is there if and only if it has it
SYMBOLS = {
    Feature.BPF: "__x64_sys_bpf",
    Feature.TEST_RUN: "bpf_prog_test_run_xdp",
    Feature.LIVE_FRAMES: "xdp_test_run_init_page",
    Feature.XDP_LINK: "bpf_xdp_link_attach",
    Feature.DEVMAP: "dev_map_alloc",
    Feature.LPM_TRIE: "trie_alloc",
    Feature.PROG_ARRAY: "prog_fd_array_get_ptr",
    Feature.PERCPU_ARRAY: "percpu_array_map_lookup_elem",
    Feature.BPFFS: "bpf_obj_pin_user",
    Feature.STATS: "bpf_stats_release",
    Feature.VETH: "veth_dev_init",
    Feature.XDP_NATIVE: "veth_xdp",
}
HEADERS = "kernel headers"


@pytest.fixture(scope="module")
def told(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Each check of doctor by its name."""
    facts = Site(rig, tmp_path_factory.mktemp("doctor")).facts("doctor")
    return {"exit_code": facts["exit_code"]} | {check["name"]: check for check in facts["checks"]}


@pytest.fixture(scope="module")
def symbols(told: dict[str, Any]) -> set[str]:
    """After doctor, which loads modules by making interfaces."""
    lines = Path("/proc/kallsyms").read_text().splitlines()
    return {line.split()[2] for line in lines}


def test_nothing_that_is_required_is_missing(told: dict[str, Any]) -> None:
    assert told["exit_code"] == 0
    missing = [name for name, check in told.items() if name != "exit_code" and not check["ok"]]
    assert all(told[name]["cure"] for name in missing), "a cure for everything that is missing"


@pytest.mark.parametrize("feature", SYMBOLS, ids=lambda feature: feature.name.lower())
def test_what_the_kernel_lists(told: dict[str, Any], symbols: set[str], feature: Feature) -> None:
    assert told[feature.value]["ok"] == (SYMBOLS[feature] in symbols)


def test_other_witnesses(told: dict[str, Any]) -> None:
    """Where no function of the kernel says it."""
    jit = Path("/proc/sys/net/core/bpf_jit_enable").read_text().strip() != "0"
    assert told[Feature.JIT.value]["ok"] == jit
    assert told[Feature.BTF.value]["ok"] == Path("/sys/kernel/btf/vmlinux").exists()
    assert told[Feature.NETNS.value]["ok"] == Path("/proc/self/ns/net").exists()
    assert told[Feature.PRIVILEGE.value]["ok"] == (os.geteuid() == 0)


def test_headers_are_those_of_the_running_kernel(told: dict[str, Any]) -> None:
    if os.environ.get("VM_ACCEL") is None:
        pytest.skip("VM_ACCEL is not set: this is no guest of the runner")
    check = told[HEADERS]
    assert check["ok"] and told["bcc compiles"]["ok"]
    release = platform.release()
    generated = Path(check["detail"]) / "include" / "generated" / "utsrelease.h"
    assert f'"{release}"' in generated.read_text()
    template, insns = Builder("bcc", cached=False).helper("root")
    assert template.name == "root" and insns


@contextmanager
def hidden(*paths: Path) -> Iterator[None]:
    """Files and folders that are not there for a while."""
    moved = []
    try:
        for path in paths:
            if path.exists() or path.is_symlink():
                path.rename(path.with_name(path.name + ".hidden"))
                moved.append(path)
        yield
    finally:
        for path in moved:
            path.with_name(path.name + ".hidden").rename(path)


def test_without_headers_it_says_so_with_the_cure(rig: Rig, site: Site) -> None:
    if os.environ.get("VM_ACCEL") is None:
        pytest.skip("VM_ACCEL is not set: this is no guest of the runner")
    sources = list(Path("/usr/src").glob("linux-headers-*"))
    assert sources
    with hidden(*sources):
        facts = site.facts("doctor")
    checks = {check["name"]: check for check in facts["checks"]}
    assert not checks[HEADERS]["ok"] and not checks["bcc compiles"]["ok"]
    assert "apt-get install linux-headers-" in checks[HEADERS]["cure"]
    assert checks["a toolchain"]["ok"] and facts["exit_code"] == 0, "LLVM is enough"
