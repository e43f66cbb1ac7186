"""What all stages of a run share: the evaluator, the checkpoints, the device, and new environments."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import get_device

from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import ConfigError, message_of
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training.checkpoint import Checkpoints
from cesma_sb3.training.evaluator import Evaluator, Seeds, joint_env
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils.torch_defaults import own_generators, plain_torch


@dataclasses.dataclass(frozen=True)
class RunContext:
    """What all stages of a run share."""

    evaluator: Evaluator
    """Measures policies, in the one environment that is open during the whole run."""
    checkpoints: Checkpoints
    """Where a stage is resumed, and where it is kept."""
    device: th.device
    """Where networks learn."""
    eval_freq: int
    """Environment timesteps between two evaluations of a stage."""
    callbacks: Mapping[str, list[BaseCallback]] = dataclasses.field(default_factory=dict)
    """The user's callbacks, by stage."""

    @property
    def folder(self) -> RunFolder:
        """The run folder."""
        return self.checkpoints.folder

    @property
    def seeds(self) -> Seeds:
        """One seed for each user of randomness."""
        return self.evaluator.seeds

    @property
    def team(self) -> TeamSpaces:
        """The team, whose order of agents every environment of the run keeps."""
        return self.evaluator.venv.team

    def make_env(self, n_envs: int, seed: int, view: str = "joint") -> JointVecEnv:
        """The run's environment, batched, for one stage, which closes it.

        Args:
            n_envs: Number of environments stepped together.
            seed: Seed of their generators.
            view: Name of the action view.
        """
        return joint_env(self.evaluator.env, n_envs, seed, view, agents=self.team.agents)


@contextmanager
def torch_settings(threads: int | None) -> Iterator[None]:
    """PyTorch as a run needs it, for the time of the block.

    Its defaults are those of `plain_torch`, and the global generators are restored afterwards.

    Args:
        threads: Number of PyTorch's threads; None leaves it as it is.
    """
    before = th.get_num_threads()
    th.set_num_threads(before if threads is None else threads)
    try:
        with plain_torch(), own_generators():
            yield
    finally:
        th.set_num_threads(before)


def find_device(name: str) -> th.device:
    """The device of that name, where networks learn.

    Args:
        name: `cpu`, `cuda`, `mps`, or `auto`: `cuda` if there is one.

    Raises:
        ConfigError: This machine, or this PyTorch, has no such device.
    """
    if name == "auto":
        return get_device("auto")
    try:
        return th.zeros(0, device=name).device
    except (AssertionError, RuntimeError) as error:  # of a PyTorch without it, or a machine
        message = message_of(error)
        raise ConfigError(f"device: {name} is not here, expected cpu or auto: {message}") from None
