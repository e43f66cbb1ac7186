"""The schema of an experiment: one pydantic model for each part."""

from cesma_sb3.config.schema.experiment import (
    AgentSliceConfig,
    CallbackConfig,
    CheckpointConfig,
    EnvConfig,
    EvaluationConfig,
    Experiment,
    WrapperConfig,
    differences,
)
from cesma_sb3.config.schema.expert import ExpertConfig, InformationCostConfig
from cesma_sb3.config.schema.fields import (
    IN_MEMORY,
    ONNX,
    PATHS,
    RANDOM,
    SCRIPTED,
    TORCHSCRIPT,
    Arguments,
    PositiveFloat,
    PositiveInt,
    Resets,
    Text,
    whole,
)
from cesma_sb3.config.schema.students import (
    BetaConfig,
    DaggerConfig,
    ExperienceConfig,
    FineTuningConfig,
    StudentsConfig,
)

__all__ = [
    "IN_MEMORY",
    "ONNX",
    "PATHS",
    "RANDOM",
    "SCRIPTED",
    "TORCHSCRIPT",
    "AgentSliceConfig",
    "Arguments",
    "BetaConfig",
    "CallbackConfig",
    "CheckpointConfig",
    "DaggerConfig",
    "EnvConfig",
    "EvaluationConfig",
    "ExperienceConfig",
    "Experiment",
    "ExpertConfig",
    "FineTuningConfig",
    "InformationCostConfig",
    "PositiveFloat",
    "PositiveInt",
    "Resets",
    "StudentsConfig",
    "Text",
    "WrapperConfig",
    "differences",
    "whole",
]
