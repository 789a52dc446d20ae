# SPDX-License-Identifier: GPL-2.0-only
"""What can go wrong around a guest: each is one line with the cause and where to look."""

from __future__ import annotations

from iridescent_xdp.errors import IridescentError


class VmError(IridescentError, RuntimeError):
    """An image cannot be built, or a guest did not do what it should."""

    exit_code = 9


class GuestHangError(VmError):
    """The guest did not get on in time; it was switched off."""

    exit_code = 10


class GuestPanicError(VmError):
    """The guest's kernel panicked; it was switched off."""

    exit_code = 11
