"""From one centralized expert to one policy for each agent: dataset, collector, losses, trainer."""

from cesma_sb3.imitation.bc import BehaviouralCloningTrainer
from cesma_sb3.imitation.class_weights import LabelCounts
from cesma_sb3.imitation.collector import Collector
from cesma_sb3.imitation.communication import Communication
from cesma_sb3.imitation.dagger import DAggerProgress, MultiAgentDAggerTrainer
from cesma_sb3.imitation.dataset import AggregatedDataset, Batch, Samples
from cesma_sb3.imitation.forward_training import ForwardTrainer
from cesma_sb3.imitation.iterative import IterativeTrainer
from cesma_sb3.imitation.losses import ColumnwiseLoss, ImitationLoss
from cesma_sb3.imitation.mixtures import (
    MixtureTrainer,
    SearnTrainer,
    SmileTrainer,
    searn_weights,
    smile_weights,
)

__all__ = [
    "AggregatedDataset",
    "Batch",
    "BehaviouralCloningTrainer",
    "Collector",
    "ColumnwiseLoss",
    "Communication",
    "DAggerProgress",
    "ForwardTrainer",
    "ImitationLoss",
    "IterativeTrainer",
    "LabelCounts",
    "MixtureTrainer",
    "MultiAgentDAggerTrainer",
    "Samples",
    "SearnTrainer",
    "SmileTrainer",
    "searn_weights",
    "smile_weights",
]
