# SPDX-License-Identifier: GPL-2.0-only
"""Which kernel a guest gets: stock packages of Debian, by a short name or by release and package.

A kernel comes with the Debian release that it is made for, because its header packages depend on
that release's libraries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from iridescent_xdp.errors import ConfigError

IMAGE_PACKAGE = "linux-image-amd64"
_IMAGE_PATTERN = re.compile(r"linux-image-[a-z0-9.+~-]*amd64")
_SUITE_PATTERN = re.compile(r"([a-z]+)(-backports)?")


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A kernel package: ``suite`` is the release, or the release's backports."""

    name: str
    suite: str
    package: str = IMAGE_PACKAGE

    def __post_init__(self) -> None:
        if not _SUITE_PATTERN.fullmatch(self.suite):
            raise ConfigError(
                f"a suite is RELEASE or RELEASE-backports, got {self.suite!r}",
                cure="for example bookworm-backports",
            )
        if not _IMAGE_PATTERN.fullmatch(self.package):
            raise ConfigError(
                f"a kernel package is linux-image-...-amd64, got {self.package!r}",
                cure=f"for example {IMAGE_PACKAGE}",
            )

    @property
    def release(self) -> str:
        """The Debian release of everything else in the guest."""
        return self.suite.removesuffix("-backports")

    @property
    def headers(self) -> str:
        """The package with the headers that bcc compiles against."""
        return self.package.replace("linux-image-", "linux-headers-", 1)


KERNELS: Mapping[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        Kernel(name="6.1", suite="bookworm"),
        Kernel(name="6.12", suite="bookworm-backports"),
        Kernel(name="newest", suite="trixie-backports"),
    )
}
DEFAULT = "6.1"


def kernel_named(text: str) -> Kernel:
    """A name of ``KERNELS``, or ``SUITE:PACKAGE``. Raises ConfigError."""
    if text in KERNELS:
        return KERNELS[text]
    suite, colon, package = text.partition(":")
    if not colon:
        raise ConfigError(
            f"there is no kernel called {text!r}",
            cure=f"one of {', '.join(KERNELS)}, or SUITE:PACKAGE",
        )
    return Kernel(name=text, suite=suite, package=package)
