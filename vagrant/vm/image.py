# SPDX-License-Identifier: GPL-2.0-only
"""Disk images from Debian packages, made once and kept by a digest of what they are made from.

A *base* is a Debian release with everything that ``provision.sh`` installs, as a tar file. An
*image* is a base with one kernel and its headers: an ext4 file system, kernel and initrd beside it.
Whatever fails leaves nothing behind but the log.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from vagrant.vm.errors import VmError
from vagrant.vm.host import BUILD_BYTES, BUILD_TOOLS, mirror, require_space, require_tools
from vagrant.vm.kernels import Kernel
from vagrant.vm.packages import check_kernel, fetch_wheels, requirements, sources
from vagrant.vm.steps import Steps
from vagrant.vm.tree import ROOT, pack

GUEST = ROOT / "vagrant" / "vm" / "guest"
INCLUDE = ("systemd-sysv", "udev", "kmod", "initramfs-tools", "lz4", "python3", "ca-certificates")
# what a base is made from, beside the requirements of pyproject.toml
BASE_FILES = (
    *("vagrant/provision.sh", "scripts/setup.sh", "scripts/hatch_build.py"),
    *("vagrant/vm/guest/base.sh", "vagrant/vm/guest/start.sh"),
    "vagrant/vm/guest/iridescent-vm.service",
)
KERNEL_FILES = ("vagrant/vm/guest/kernel.sh",)
FREE_BYTES = 2 << 30  # room inside the guest's file system


@dataclass(frozen=True, kw_only=True)
class Image:
    """A complete image: ``release`` is ``uname -r`` of its kernel, ``version`` its package's."""

    disk: Path
    kernel: Path
    initrd: Path
    release: str
    version: str


def base_digest(release: str) -> str:
    """Changes when a base would."""
    parts = [release, *INCLUDE, *requirements()]
    return _digest(parts, BASE_FILES)


def image_digest(kernel: Kernel) -> str:
    """Changes when an image would; not when Debian updates a package (``--rebuild``)."""
    parts = [base_digest(kernel.release), kernel.suite, kernel.package]
    return _digest(parts, KERNEL_FILES)


def image_folder(kernel: Kernel, cache: Path) -> Path:
    """Where the image is, or will be."""
    return cache / f"image-{_slug(kernel)}-{image_digest(kernel)}"


def find_image(kernel: Kernel, cache: Path) -> Image | None:
    """The image, if it was built."""
    folder = image_folder(kernel, cache)
    return _read_image(folder) if (folder / "image.json").exists() else None


def _read_image(folder: Path) -> Image:
    facts = json.loads((folder / "image.json").read_text())
    return Image(
        disk=folder / "disk.ext4",
        kernel=folder / "vmlinuz",
        initrd=folder / "initrd",
        release=facts["release"],
        version=facts["version"],
    )


def ensure_image(kernel: Kernel, cache: Path, rebuild: bool = False) -> Image:
    """Build the image if it is not there. Raises VmError, MissingFeatureError."""
    found = None if rebuild else find_image(kernel, cache)
    if found is not None:
        return found
    require_tools(BUILD_TOOLS)
    require_space(cache, BUILD_BYTES, "building an image")
    target = image_folder(kernel, cache)  # of the files as they are now
    steps = Steps(cache / "build.log")
    with _lock(cache), _scratch(cache) as scratch:
        version = check_kernel(kernel, scratch / "apt", steps)
        click.echo(f"vm: {kernel.package} {version} of {kernel.suite}", err=True)
        base = _base(kernel.release, cache, scratch, steps, rebuild)
        _build_image(kernel, version, base, scratch, steps)
        _forget(cache, f"image-{_slug(kernel)}-*")
        (scratch / "image").rename(target)
    return _read_image(target)


def _base(release: str, cache: Path, scratch: Path, steps: Steps, rebuild: bool) -> Path:
    target = cache / f"base-{release}-{base_digest(release)}.tar"
    if target.exists() and not rebuild:
        return target
    wheels, tree = scratch / "wheels", scratch / "tree.tar"
    fetch_wheels(release, wheels, steps)
    pack(tree, {})
    built = scratch / "base.tar"
    command = (
        *("mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar"),
        *(f"--include={','.join(INCLUDE)}", f"--customize-hook={GUEST / 'base.sh'}"),
        *(release, str(built), *sources(release)),
    )
    settings = {"VM_TREE": str(tree), "VM_WHEELS": str(wheels)}
    steps.run(f"Debian {release} with provision.sh", command, _environment(scratch, settings))
    _forget(cache, f"base-{release}-*")
    built.rename(target)
    shutil.rmtree(wheels)
    return target


def _build_image(kernel: Kernel, version: str, base: Path, scratch: Path, steps: Steps) -> None:
    system, result = scratch / "system", scratch / "image"
    command = (
        *("mmdebstrap", "--mode=root", "--variant=custom", "--format=directory"),
        *("--skip=update,setup,cleanup", f'--setup-hook=tar -C "$1" -xf {base}'),
        *(f"--customize-hook={GUEST / 'kernel.sh'}", kernel.release, str(system)),
        *sources(kernel.release),
    )
    settings = {
        "VM_SUITE": kernel.suite,
        "VM_IMAGE_PACKAGE": kernel.package,
        "VM_HEADERS_PACKAGE": kernel.headers,
        "VM_MIRROR": mirror(),
    }
    steps.run(f"kernel {kernel.name}", command, _environment(scratch, settings))
    release = (system / "etc" / "iridescent-kernel").read_text().strip()
    result.mkdir()
    for name, target in (("vmlinuz", "vmlinuz"), ("initrd.img", "initrd")):
        shutil.copyfile(system / "boot" / f"{name}-{release}", result / target)
    size = _used_bytes(system) + FREE_BYTES
    disk = (result / "disk.ext4", f"{size >> 20}M")
    steps.run("disk image", ("mke2fs", "-q", "-t", "ext4", "-d", system, *disk))
    shutil.rmtree(system)
    facts = {"release": release, "version": version, "package": kernel.package}
    (result / "image.json").write_text(json.dumps(facts | {"suite": kernel.suite}, indent=1))


def _environment(scratch: Path, settings: dict[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "http_proxy") if name in os.environ}
    return kept | {"LC_ALL": "C.UTF-8", "TMPDIR": str(scratch)} | settings


def _used_bytes(folder: Path) -> int:
    return sum(f.lstat().st_blocks * 512 for f in folder.rglob("*"))


def _digest(parts: list[str], files: tuple[str, ...]) -> str:
    state = hashlib.sha256(json.dumps(parts).encode())
    for name in files:
        state.update(name.encode() + (ROOT / name).read_bytes())
    return state.hexdigest()[:12]


def _slug(kernel: Kernel) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", kernel.name)


def _forget(cache: Path, pattern: str) -> None:
    """Remove what is replaced; a guest that runs from it keeps its open file."""
    for old in cache.glob(pattern):
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()


@contextlib.contextmanager
def _lock(cache: Path) -> Iterator[None]:
    with (cache / "build.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise VmError(f"another build runs in {cache}", cure="wait for it") from error
        yield


@contextlib.contextmanager
def _scratch(cache: Path) -> Iterator[Path]:
    """A folder that is gone afterwards, with all that was mounted in it."""
    for left in cache.glob("building-*"):  # of a build that was killed
        _remove(left)
    folder = Path(tempfile.mkdtemp(prefix="building-", dir=cache))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    inside = [place for place in mounted if place.startswith(f"{folder}/")]
    if inside:
        raise VmError(f"still mounted: {', '.join(inside)}", cure=f"umount, then rm -r {folder}")
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C does not stop this
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        signal.signal(signal.SIGINT, previous)
