"""One of BenchMARL's learners in VMAS: `python benchmarks/benchmarl_peer.py mappo navigation 204800 100 0`.

It runs in a Python that has BenchMARL, which this project does not install, and imports nothing of the
project. After each batch of frames it prints an evaluation as a line of JSON: `frames` so far,
`processor_seconds` so far without what evaluations cost, and `returns`, one of each episode.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from statistics import fmean
from typing import Any

from benchmarl import algorithms
from benchmarl.environments import VmasTask
from benchmarl.experiment import Callback, Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig

FINE_TUNED = {
    "gamma": 0.9,
    "lr": 0.00005,
    "exploration_eps_init": 0.8,
    "exploration_eps_end": 0.01,
    "exploration_anneal_frames": 1_000_000,
    "max_n_frames": 10_000_000,
    "on_policy_collected_frames_per_batch": 60_000,
    "on_policy_n_envs_per_worker": 600,
    "on_policy_n_minibatch_iters": 45,
    "on_policy_minibatch_size": 4096,
    "off_policy_collected_frames_per_batch": 6000,
    "off_policy_n_envs_per_worker": 60,
    "off_policy_n_optimizer_steps": 1000,
    "off_policy_train_batch_size": 128,
    "off_policy_memory_size": 1_000_000,
    "evaluation_episodes": 200,
}
"""What BenchMARL's `fine_tuned/vmas/conf/config.yaml` has in place of its defaults, but for devices."""
QUIET = {"render": False, "loggers": []}
"""Evaluations need a logger or a JSON file, which is on by default."""


class _Curve(Callback):  # type: ignore[misc]  # of unknown type: BenchMARL is not installed here
    """Prints each evaluation, and ends the training once frames and processor time are both enough."""

    def __init__(self, frames: int, seconds: float) -> None:
        super().__init__()
        self.frames = frames
        self.seconds = seconds
        self.spent = 0.0
        """Processor seconds of training."""
        self.since = time.process_time()

    def on_train_end(self, training_td: Any, group: str) -> None:
        """Comes before each evaluation."""
        now = time.process_time()
        self.spent, self.since = self.spent + now - self.since, now

    def on_evaluation_end(self, rollouts: list[Any]) -> None:
        """Prints returns as BenchMARL counts them: means over the agents of a group, and over groups."""
        groups = self.experiment.group_map
        returns = [
            fmean(float(rollout["next", group, "reward"].sum(0).mean()) for group in groups)
            for rollout in rollouts
        ]
        line = {
            "frames": self.experiment.total_frames,
            "processor_seconds": round(self.spent, 2),
            "returns": [round(each, 5) for each in returns],
        }
        self.since = time.process_time()
        print(json.dumps(line), flush=True)
        if self.experiment.total_frames >= self.frames and self.spent >= self.seconds:
            sys.exit()  # BenchMARL has no hook that ends a training


def train(algorithm: str, scenario: str, frames: int, seconds: float, seed: int) -> None:
    """Trains by BenchMARL's values for VMAS, for at least so many frames and so much processor time."""
    learner = getattr(algorithms, f"{algorithm.capitalize()}Config").get_from_yaml()
    config = ExperimentConfig.get_from_yaml()
    vars(config).update(FINE_TUNED | QUIET)
    config.evaluation_interval = config.collected_frames_per_batch(learner.on_policy())
    with tempfile.TemporaryDirectory() as folder:
        config.save_folder = folder
        experiment = Experiment(
            task=VmasTask[scenario.upper()].get_from_yaml(),
            algorithm_config=learner,
            model_config=MlpConfig.get_from_yaml(),
            critic_model_config=MlpConfig.get_from_yaml(),
            seed=seed,
            config=config,
            callbacks=[_Curve(frames, seconds)],
        )
        experiment.run()


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
