"""Callbacks in SB3's form that an experiment names, in SB3's `learn` and in imitation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from cesma_sb3.config.resolve import callback_class
from cesma_sb3.config.schema import CallbackConfig
from cesma_sb3.errors import CesmaError, ConfigError, error_line
from cesma_sb3.imitation import DAggerProgress, TeamTrainer
from cesma_sb3.policies import TeamEnsemble, TeamPolicy
from cesma_sb3.utils.signatures import with_integers


def make_callbacks(configs: Sequence[CallbackConfig]) -> dict[str, list[BaseCallback]]:
    """Makes the callbacks of an experiment, by stage.

    Raises:
        ConfigError: There is no such class, or its constructor refuses the arguments.
    """
    made: dict[str, list[BaseCallback]] = {}
    for index, config in enumerate(configs):
        kind = callback_class(config.name)
        for stage in config.stages:
            try:
                made.setdefault(stage, []).append(kind(**with_integers(kind, config.kwargs)))
            except CesmaError:
                raise
            except Exception as error:  # whatever a foreign class raises
                raise ConfigError(f"callbacks.{index}: {config.name}: {error_line(error)}") from error
    return made


class ImitationCallbacks:
    """Calls SB3's callbacks while students learn by imitation, which is no algorithm of SB3.

    They are called after each vector step, and after each gradient step before the first of them. Their
    `model` is a `TrainerModel`, and their `locals` hold the `progress` (`DAggerProgress`).

    Args:
        callbacks: The callbacks.
        trainer: Who trains the students.
    """

    def __init__(self, callbacks: list[BaseCallback], trainer: TeamTrainer) -> None:
        self._all = CallbackList(callbacks)
        self._all.init_callback(TrainerModel(trainer))  # type: ignore[arg-type]  # what callbacks use of one

    def start(self) -> None:
        """The training begins, or goes on after an interruption."""
        self._all.on_training_start({}, {})
        self._all.on_rollout_start()

    def step(self, progress: DAggerProgress) -> bool:
        """A step is done; False ends the training."""
        self._all.update_locals({"progress": progress})
        return self._all.on_step()

    def end(self) -> None:
        """The training has ended."""
        self._all.on_rollout_end()
        self._all.on_training_end()


class TrainerModel:
    """What SB3's callbacks use of their `model`, of a trainer of students.

    Args:
        trainer: The trainer.
    """

    def __init__(self, trainer: TeamTrainer) -> None:
        self.trainer = trainer
        self.n_envs = trainer.venv.num_envs

    @property
    def num_timesteps(self) -> int:
        """Environment timesteps so far."""
        return self.trainer.timesteps

    @property
    def policy(self) -> TeamPolicy | TeamEnsemble:
        """The students."""
        return self.trainer.policy

    @property
    def logger(self) -> Logger:
        """The logger of the stage."""
        return self.trainer.logger

    def get_env(self) -> VecEnv:
        """The students' environments; with a budget of no timesteps, a stand-in that cannot be stepped."""
        return self.trainer.venv

    def predict(
        self, observation: npt.NDArray[np.float32], *args: Any, **kwargs: Any
    ) -> tuple[npt.NDArray[Any], Any]:
        """The students' joint actions: see `TeamPolicy.predict`."""
        return self.policy.predict(observation, *args, **kwargs)

    def save(self, path: Path | str) -> None:
        """Saves the students as a folder, from which `load_team` reads them."""
        self.trainer.save_policy(path)
