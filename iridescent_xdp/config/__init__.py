# SPDX-License-Identifier: GPL-2.0-only
"""The operator's configuration: a TOML file, strictly checked (docs/operator-file.md)."""

from iridescent_xdp.config.model import (
    AdaptConfig,
    Config,
    ConstraintsConfig,
    InterfaceConfig,
    LimitsConfig,
    PointValue,
    SearchConfig,
)
from iridescent_xdp.config.objective import ObjectiveConfig
from iridescent_xdp.config.problems import ConfigFileError
from iridescent_xdp.config.reader import load_config, read_config

__all__ = [
    "AdaptConfig",
    "Config",
    "ConfigFileError",
    "ConstraintsConfig",
    "InterfaceConfig",
    "LimitsConfig",
    "ObjectiveConfig",
    "PointValue",
    "SearchConfig",
    "load_config",
    "read_config",
]
