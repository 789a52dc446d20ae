# SPDX-License-Identifier: GPL-2.0-only
"""The work tree as one tar file, which the guest reads from a disk as if it were a tape.

It is what git would take: committed or not, without what it ignores. Nothing of this machine
(owner, cache, virtual environment) goes along.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from vagrant.vm.errors import VmError

ROOT = Path(__file__).resolve().parents[2]
_SECTOR_BYTES = 512


def tree_files(root: Path = ROOT) -> list[str]:
    """Names relative to ``root``; raises VmError where git cannot tell."""
    listing = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), *listing]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise VmError(
            "git is missing, which lists the work tree", cure="apt install git"
        ) from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise VmError(f"git cannot list {root}: {' '.join(reason)}")
    names = sorted({name.decode() for name in done.stdout.split(b"\0") if name})
    return [name for name in names if (root / name).is_file() or (root / name).is_symlink()]


def pack(target: Path, extra: Mapping[str, str], root: Path = ROOT) -> None:
    """Write the tree and ``extra`` files (name to text) to ``target``, in whole sectors."""
    with tarfile.open(target, "w") as archive:
        for name in tree_files(root):
            archive.add(root / name, arcname=name, recursive=False, filter=_anonymous)
        for name, text in extra.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    with target.open("ab") as file:
        file.write(bytes(-file.tell() % _SECTOR_BYTES))


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info
