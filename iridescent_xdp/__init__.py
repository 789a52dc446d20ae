# SPDX-License-Identifier: GPL-2.0-only
"""Specializes XDP fast paths while they run, and keeps what measures best."""

import os

# More threads of the linear algebra would compete with the packets that are being measured.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
