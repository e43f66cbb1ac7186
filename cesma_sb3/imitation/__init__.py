"""From one centralized expert to one policy for each agent: dataset, collector, losses, trainer."""

from cesma_sb3.imitation.class_weights import LabelCounts
from cesma_sb3.imitation.collector import Collector
from cesma_sb3.imitation.communication import Communication
from cesma_sb3.imitation.dataset import AggregatedDataset, Batch, Samples
from cesma_sb3.imitation.losses import ColumnwiseLoss, ImitationLoss
from cesma_sb3.imitation.trainer import DAggerProgress, MultiAgentDAggerTrainer

__all__ = [
    "AggregatedDataset",
    "Batch",
    "Collector",
    "ColumnwiseLoss",
    "Communication",
    "DAggerProgress",
    "ImitationLoss",
    "LabelCounts",
    "MultiAgentDAggerTrainer",
    "Samples",
]
