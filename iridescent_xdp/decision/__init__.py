# SPDX-License-Identifier: GPL-2.0-only
"""Tables compiled into code: a graph of tests, made in Python and printed as C or LLVM IR."""
