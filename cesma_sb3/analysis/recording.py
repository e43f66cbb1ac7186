"""Record episodes of a team: of a finished run, of expert and students from the same initial states."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from cesma_sb3.config.schema import TRAJECTORIES
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.envs.rendering import RGB, to_rgb
from cesma_sb3.envs.rollouts import Rollout
from cesma_sb3.errors import CesmaError, EnvError, StorageError
from cesma_sb3.evaluation import make_actor
from cesma_sb3.spaces.types import Actor, Pixels
from cesma_sb3.training.context import torch_settings
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.load import load_expert, load_students
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils.closing import closing

_MOST_STEPS = 400
"""Steps of an episode that are recorded, besides its end."""


@dataclasses.dataclass
class Episode:
    """The recording of one episode: a point before each step and one after the last.

    Of a long episode, only the first steps and the end are recorded.
    """

    frames: list[Pixels] = dataclasses.field(default_factory=list)
    """Rendered states, [height, width, 3] each; empty if none were asked for."""
    steps: list[int] = dataclasses.field(default_factory=list)
    """How many steps had been done at each point of the recording."""
    returns: list[float] = dataclasses.field(default_factory=list)
    """The team's return until then; the last is the episode's."""
    won: bool | None = None
    """Whether it was won; None where there is nothing to win."""

    def add(self, frame: Pixels | None, n_steps: int, team_return: float) -> None:
        """Add a point to the recording."""
        if frame is not None:
            self.frames.append(frame)
        self.steps.append(n_steps)
        self.returns.append(team_return)


def record_episodes(
    run_dir: Path | str,
    *,
    episodes: int = 3,
    seed: int | None = None,
    trust: bool = False,
    frames: bool = True,
) -> dict[str, list[Episode]]:
    """Record episodes of each policy of a run, all from the same initial states.

    With the run's own seed they are the first episodes of its final evaluation in its first environment.

    Args:
        run_dir: The folder of a finished run, or the name of a pretrained team.
        episodes: Episodes of each policy, at least 1.
        seed: Seed of the initial states; None: the run's.
        trust: Let the folder run the code that it names or holds, though it was made elsewhere.
        frames: Whether states are rendered.

    Returns:
        The episodes of each policy: `students`, and `expert` if there is one that acts.

    Raises:
        StorageError: A file is missing, or the environment cannot be rendered.
        UntrustedError: The folder would run code, and was not made here.
    """
    folder = RunFolder.open(run_dir, trust=trust)
    experiment = folder.load({} if seed is None else {"seed": seed})
    evaluator = Evaluator(experiment, agents=folder.agents, renderable=frames)
    with torch_settings(experiment.threads), closing(evaluator):
        actors: dict[str, Actor] = {}
        if experiment.dagger is not None and experiment.expert.algorithm != TRAJECTORIES:
            actors["expert"] = make_actor(load_expert(folder, experiment, evaluator))
        actors["students"] = evaluator.act_of(load_students(folder, evaluator.venv.team))
        camera = Camera(evaluator.venv, experiment.env.id) if frames else None
        return {
            policy: record(actor, evaluator.venv, episodes, evaluator.seeds.final, camera)
            for policy, actor in actors.items()
        }


def record(
    actor: Actor, venv: JointVecEnv, n_episodes: int, seed: int, camera: Camera | None
) -> list[Episode]:
    """Record successive episodes of the first environment; the others are stepped as in an evaluation.

    Args:
        actor: Who acts.
        venv: The environments, in the `joint` action view.
        n_episodes: How many episodes, at least 1.
        seed: Seeds the environments.
        camera: What renders the first environment; None: states are not rendered.

    Raises:
        StorageError: The environment cannot be rendered.
    """
    venv.seed(seed)
    rollout = Rollout(venv, actor)
    _ = rollout.observations  # resets the environments, so that there is a first frame
    episodes: list[Episode] = []
    while len(episodes) < n_episodes:
        episode, team_return = Episode(), 0.0
        episode.add(None if camera is None else camera.frame(), 0, team_return)
        for n_steps, step in enumerate(rollout, start=1):
            team_return += float(step.rewards[0])
            if step.dones[0]:
                break
            if n_steps < _MOST_STEPS:
                episode.add(None if camera is None else camera.frame(), n_steps, team_return)
        info = step.infos[0]
        last = None if camera is None else camera.to_pixels(info["terminal_frame"])
        episode.add(last, n_steps, float(info["episode"]["r"]))
        episode.won = bool(info["battle_won"]) if "battle_won" in info else None
        episodes.append(episode)
    return episodes


class Camera:
    """Renders the first environment.

    Args:
        venv: The environments, which are made renderable.
        name: The environment's name in messages.
    """

    def __init__(self, venv: JointVecEnv, name: str) -> None:
        self.venv = venv
        self.name = name
        venv.render_terminal()

    def frame(self) -> Pixels:
        """Render the environment's state.

        Raises:
            StorageError: It cannot be rendered.
        """
        try:
            rendered = self.venv.get_images()[0]
        except CesmaError as error:
            raise StorageError(f"{self.name}: cannot be drawn: {error}") from None
        if rendered is None and self.venv.get_attr("render_mode", 0)[0] != RGB:
            raise StorageError(f"{self.name}: gives no pictures: its metadata has no render mode {RGB}")
        return self.to_pixels(rendered)

    def to_pixels(self, rendered: Any) -> Pixels:
        """Convert what the environment rendered, such as the state that an episode ended in.

        Raises:
            StorageError: It is no picture.
        """
        try:
            return to_rgb(rendered, self.name)
        except EnvError as error:
            raise StorageError(str(error)) from None
