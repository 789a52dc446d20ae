# SPDX-License-Identifier: GPL-2.0-only
"""From an event log to one HTML page: read, collected into a model, drawn, written."""
