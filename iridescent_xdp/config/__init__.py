# SPDX-License-Identifier: GPL-2.0-only
"""The operator's configuration: a TOML file, strictly checked (docs/operator-file.md)."""

from iridescent_xdp.config.model import Config, InterfaceConfig, PointValue, SearchConfig
from iridescent_xdp.config.problems import ConfigFileError
from iridescent_xdp.config.reader import load_config, read_config

__all__ = [
    "Config",
    "ConfigFileError",
    "InterfaceConfig",
    "PointValue",
    "SearchConfig",
    "load_config",
    "read_config",
]
