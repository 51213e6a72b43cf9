"""Everything that decides a detector and its training; presets and files that hold it flat."""

from clare.heads.config.detector import PARTS, SETTABLE, DetectorConfig
from clare.heads.config.files import (
    DEFAULT_DECODER_PRESET,
    DEFAULT_PRESET,
    PRESETS,
    assign_settings,
    begin_from,
    list_presets,
    read_config,
    read_preset,
)
from clare.heads.config.training import (
    RUN_RECORD,
    Machine,
    Memory,
    Scope,
    TrainConfig,
    create_config,
    refuse_beside_protocol,
)

__all__ = [
    "DEFAULT_DECODER_PRESET",
    "DEFAULT_PRESET",
    "PARTS",
    "PRESETS",
    "RUN_RECORD",
    "SETTABLE",
    "DetectorConfig",
    "Machine",
    "Memory",
    "Scope",
    "TrainConfig",
    "assign_settings",
    "begin_from",
    "create_config",
    "list_presets",
    "read_config",
    "read_preset",
    "refuse_beside_protocol",
]
