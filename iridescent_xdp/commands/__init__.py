# SPDX-License-Identifier: GPL-2.0-only
"""One module per command (its ``command``), and what several of them share."""
