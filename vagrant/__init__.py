# SPDX-License-Identifier: GPL-2.0-only
"""Virtual machines: a Vagrantfile for people, and a plain QEMU runner (``vagrant.vm``)."""
