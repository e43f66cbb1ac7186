"""From one centralized expert to one policy for each agent: dataset, collector, losses, trainer."""

from cesma_sb3.decentralize.class_weights import LabelCounts
from cesma_sb3.decentralize.collector import Collector
from cesma_sb3.decentralize.communication import Communication
from cesma_sb3.decentralize.dataset import AggregatedDataset, Batch, Samples
from cesma_sb3.decentralize.losses import ColumnwiseLoss, ImitationLoss
from cesma_sb3.decentralize.trainer import DAggerProgress, MultiAgentDAggerTrainer

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
