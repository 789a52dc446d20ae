# SPDX-License-Identifier: GPL-2.0-only
"""Boots stock Debian kernels in QEMU, with virtio NICs on one cable, and runs the suite inside."""
