"""From one centralized expert to one policy for each agent: dataset, collector, losses, trainer."""

from cesma_sb3.imitation.base import DAggerProgress, TeamTrainer
from cesma_sb3.imitation.bc import BehaviouralCloningTrainer
from cesma_sb3.imitation.collector import Collector
from cesma_sb3.imitation.communication import Communication
from cesma_sb3.imitation.dagger import MultiAgentDAggerTrainer
from cesma_sb3.imitation.dataset import AggregatedDataset, Batch, Samples
from cesma_sb3.imitation.forward_training import ForwardTrainer
from cesma_sb3.imitation.iterative import IterativeTrainer
from cesma_sb3.imitation.losses import ColumnwiseLoss, ImitationLoss, LabelCounts
from cesma_sb3.imitation.mixtures import (
    MixtureTrainer,
    SearnTrainer,
    SmileTrainer,
    searn_weights,
    smile_weights,
)
from cesma_sb3.imitation.settings import BufferConfig, LabelConfig, MessageConfig, OptimizerConfig

__all__ = [
    "AggregatedDataset",
    "Batch",
    "BehaviouralCloningTrainer",
    "BufferConfig",
    "Collector",
    "ColumnwiseLoss",
    "Communication",
    "DAggerProgress",
    "ForwardTrainer",
    "ImitationLoss",
    "IterativeTrainer",
    "LabelConfig",
    "LabelCounts",
    "MessageConfig",
    "MixtureTrainer",
    "MultiAgentDAggerTrainer",
    "OptimizerConfig",
    "Samples",
    "SearnTrainer",
    "SmileTrainer",
    "TeamTrainer",
    "searn_weights",
    "smile_weights",
]
