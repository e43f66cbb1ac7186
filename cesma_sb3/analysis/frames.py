"""Episodes of a finished run as pictures: expert and students from the same initial states."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.envs.rendering import RGB, Pixels, to_rgb
from cesma_sb3.errors import CesmaError, EnvError, StorageError
from cesma_sb3.evaluation import Actor, make_actor
from cesma_sb3.experts.base import StatefulActor
from cesma_sb3.training.evaluator import Evaluator, threads
from cesma_sb3.training.load import load_expert, load_students
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils.closing import closing

_MOST_STEPS = 400
"""Of an episode that are drawn."""


@dataclasses.dataclass
class Rollout:
    """One episode."""

    pictures: list[Pixels] = dataclasses.field(default_factory=list)
    """[height, width, 3] before each step and after the last one; of a long episode the start and the end.
    Empty where no pictures are wanted."""
    steps: list[int] = dataclasses.field(default_factory=list)
    """How many steps had been done when each picture was taken."""
    returns: list[float] = dataclasses.field(default_factory=list)
    """The team's return until then; the last is the episode's."""
    won: bool | None = None
    """Whether it was won; None where there is nothing to win."""

    def add(self, picture: Pixels | None, step: int, total: float) -> None:
        """Adds a picture, or a step without one."""
        if picture is not None:
            self.pictures.append(picture)
        self.steps.append(step)
        self.returns.append(total)


def record(
    run_dir: Path | str,
    *,
    episodes: int = 3,
    seed: int | None = None,
    trust: bool = False,
    pictures: bool = True,
) -> dict[str, list[Rollout]]:
    """Episodes of each policy of a run, all from the same initial states.

    With the run's own seed they are the first of its final evaluation that its first environment runs.

    Args:
        run_dir: A finished run.
        episodes: Of each policy, at least 1.
        seed: Of the initial states; None: the run's.
        trust: That the folder may run the code that it names or holds, though it was made elsewhere.
        pictures: False plays the episodes without.

    Returns:
        By policy: `expert` (not of a baseline) and `students`.

    Raises:
        StorageError: A file is missing, or the environment gives no pictures.
        UntrustedError: The folder would run code, and was not made here.
    """
    folder = RunFolder.open(run_dir, trust=trust)
    experiment = folder.load({} if seed is None else {"seed": seed})
    evaluator = Evaluator(experiment, agents=folder.agents, drawn=pictures)
    with threads(experiment.threads), closing(evaluator):
        acts: dict[str, Actor] = {}
        if experiment.dagger is not None:
            acts["expert"] = make_actor(load_expert(folder, evaluator))
        acts["students"] = evaluator.act_of(load_students(folder, evaluator.venv.team))
        seed = evaluator.seeds.final
        camera = _Camera(evaluator.venv, experiment.env.id) if pictures else None
        return {name: _episodes(act, evaluator.venv, episodes, seed, camera) for name, act in acts.items()}


class _Camera:
    """Takes pictures of the first environment."""

    def __init__(self, venv: JointVecEnv, name: str) -> None:
        self.venv = venv
        self.name = name
        venv.render_terminal()

    def now(self) -> Pixels:
        """The environment's state.

        Raises:
            StorageError: There is no picture of it.
        """
        try:
            found = self.venv.get_images()[0]
        except CesmaError as error:
            raise StorageError(f"{self.name}: cannot be drawn: {error}") from None
        if found is None and self.venv.get_attr("render_mode", 0)[0] != RGB:
            raise StorageError(f"{self.name}: gives no pictures: its metadata has no render mode {RGB}")
        return self._pixels(found)

    def last(self, info: Mapping[str, Any]) -> Pixels:
        """The state that an episode ended in: the environment has begun its next one."""
        return self._pixels(info["terminal_frame"])

    def _pixels(self, found: Any) -> Pixels:
        try:
            return to_rgb(found, self.name)
        except EnvError as error:
            raise StorageError(str(error)) from None


def _episodes(
    act: Actor, venv: JointVecEnv, n_episodes: int, seed: int, camera: _Camera | None
) -> list[Rollout]:
    """Successive episodes of the first environment; the others are stepped as in an evaluation."""
    venv.seed(seed)
    observations = np.asarray(venv.reset(), dtype=np.float32)
    if isinstance(act, StatefulActor):
        act.reset(None)
    found: list[Rollout] = []
    while len(found) < n_episodes:
        episode, step, total, over = Rollout(), 0, 0.0, False
        episode.add(None if camera is None else camera.now(), step, total)
        while not over:
            following, rewards, dones, infos = venv.step(act(observations, venv.agent_masks))
            observations = np.asarray(following, dtype=np.float32)
            if isinstance(act, StatefulActor):
                act.reset(np.asarray(dones))
            step, total, over = step + 1, total + float(rewards[0]), bool(dones[0])
            if over:
                picture = None if camera is None else camera.last(infos[0])
                episode.add(picture, step, float(infos[0]["episode"]["r"]))
                episode.won = bool(infos[0]["battle_won"]) if "battle_won" in infos[0] else None
            elif len(episode.steps) < _MOST_STEPS:
                episode.add(None if camera is None else camera.now(), step, total)
        found.append(episode)
    return found
