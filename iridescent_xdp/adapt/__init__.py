# SPDX-License-Identifier: GPL-2.0-only
"""After a search: what the traffic looks like, whether that has shifted, what worked before."""
