# SPDX-License-Identifier: GPL-2.0-only
"""What this kernel and this process can do, found by trying, never from a version number.

Each feature is tried once per process (how: ``probes``) and the finding is kept.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from iridescent_xdp.errors import MissingFeatureError
from iridescent_xdp.kernel import fib_probe, probes


class Feature(StrEnum):
    """A thing that a machine has or lacks."""

    PRIVILEGE = "privilege"
    SYS_ADMIN = "system administration"
    BPF = "bpf(2)"
    BPFFS = "bpf file system"
    TEST_RUN = "test runs"
    PROG_ARRAY = "program arrays"
    PERCPU_ARRAY = "per-CPU arrays"
    LPM_TRIE = "prefix tries"
    JIT = "JIT compiler"
    XDP_LINK = "XDP links"
    XDP_NATIVE = "native XDP on veth"
    STATS = "program statistics"
    LIVE_FRAMES = "live frames"
    DEVMAP = "device maps"
    NETNS = "network namespaces"
    VETH = "veth pairs"
    BTF = "kernel type information"
    FIB_LOOKUP = "look-ups in the kernel's routes"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of trying one feature; ``detail`` says what was seen or refused."""

    feature: Feature
    ok: bool
    detail: str
    cure: str


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How a feature is tried. ``attempt`` returns a detail, or raises OSError with the reason."""

    attempt: Callable[[], str]
    needed_for: str
    cure: str
    required: bool = True


@cache
def probe(feature: Feature) -> Finding:
    """Try ``feature``, at most once per process; never raises."""
    spec = PROBES[feature]
    try:
        detail = spec.attempt()
    except ImportError as error:
        return Finding(feature=feature, ok=False, detail=str(error), cure="make setup")
    except OSError as error:
        reason = error.strerror or str(error)
        denied = error.errno in (errno.EPERM, errno.EACCES)
        cure = _permission_cure() if denied else spec.cure
        return Finding(feature=feature, ok=False, detail=reason, cure=cure)
    return Finding(feature=feature, ok=True, detail=detail, cure="")


def has(feature: Feature) -> bool:
    """Whether the feature can be used."""
    return probe(feature).ok


def require(*features: Feature) -> None:
    """Raise MissingFeatureError, reason and cure, for the first feature that is missing."""
    for feature in features:
        finding = probe(feature)
        if not finding.ok:
            raise MissingFeatureError(f"{feature}: {finding.detail}", cure=finding.cure)


def _permission_cure() -> str:
    if probes.is_root():
        return "give this container CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN, or run outside it"
    return "run as root (sudo)"


def forget() -> None:
    """Try again when asked next, because the machine was changed."""
    probe.cache_clear()


_KERNEL = "boot a kernel with CONFIG_BPF_SYSCALL=y, CONFIG_NET=y"
_LAB = "demo, bench, tests"
PROBES: Mapping[Feature, Probe] = {
    Feature.PRIVILEGE: Probe(
        attempt=probes.try_privilege, needed_for="everything but inspect", cure="run as root (sudo)"
    ),
    Feature.SYS_ADMIN: Probe(
        attempt=probes.try_sys_admin,
        needed_for=f"{_LAB}, telling who owns a foreign program, links that change at once",
        cure="run as root (sudo)",
        required=False,
    ),
    Feature.BPF: Probe(attempt=probes.try_bpf, needed_for="everything but inspect", cure=_KERNEL),
    Feature.BPFFS: Probe(
        attempt=probes.try_bpffs,
        needed_for="state that outlives the controller",
        cure=f"mount -t bpf bpf {probes.BPFFS}; a unit must not set ProtectKernelTunables",
    ),
    Feature.TEST_RUN: Probe(attempt=probes.try_test_run, needed_for="preflight", cure=_KERNEL),
    Feature.PROG_ARRAY: Probe(attempt=probes.try_prog_array, needed_for="swapping", cure=_KERNEL),
    Feature.PERCPU_ARRAY: Probe(
        attempt=probes.try_percpu_array, needed_for="counters", cure=_KERNEL
    ),
    Feature.LPM_TRIE: Probe(attempt=probes.try_lpm_trie, needed_for="address sets", cure=_KERNEL),
    Feature.JIT: Probe(
        attempt=probes.try_jit,
        needed_for="speed",
        cure="sysctl net.core.bpf_jit_enable=1",
        required=False,
    ),
    Feature.XDP_LINK: Probe(
        attempt=probes.try_xdp_link,
        needed_for="attaching by a link that is kept in the bpf file system",
        cure="boot Linux 5.9 or newer",
        required=False,
    ),
    Feature.XDP_NATIVE: Probe(
        attempt=probes.try_xdp_native,
        needed_for=f"native mode in {_LAB}",
        cure="boot Linux 4.19 or newer",
        required=False,
    ),
    Feature.STATS: Probe(
        attempt=probes.try_stats,
        needed_for="the second observer of a measurement",
        cure="run as root (sudo) on Linux 5.8 or newer",
        required=False,
    ),
    Feature.LIVE_FRAMES: Probe(
        attempt=probes.try_live_frames,
        needed_for=f"the traffic generator of {_LAB}",
        cure="boot Linux 5.18 or newer",
        required=False,
    ),
    Feature.DEVMAP: Probe(
        attempt=probes.try_devmap,
        needed_for=f"the traffic generator of {_LAB}",
        cure=_KERNEL,
        required=False,
    ),
    Feature.NETNS: Probe(
        attempt=probes.try_netns,
        needed_for=_LAB,
        cure="run as root (sudo) on a kernel with CONFIG_NET_NS=y",
        required=False,
    ),
    Feature.VETH: Probe(
        attempt=probes.try_veth, needed_for=_LAB, cure="modprobe veth", required=False
    ),
    Feature.BTF: Probe(
        attempt=probes.try_btf,
        needed_for="bpftool's listings",
        cure="boot a kernel with CONFIG_DEBUG_INFO_BTF=y",
        required=False,
    ),
    Feature.FIB_LOOKUP: Probe(
        attempt=fib_probe.try_fib_lookup,
        needed_for="a router that asks the kernel's tables",
        cure="boot Linux 6.3 or newer",
        required=False,
    ),
}
