"""One evaluator measures all policies of a run, in every stage, on seeds of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from cesma_sb3.config.schema import EnvConfig, Experiment
from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.evaluation import (
    Returns,
    Score,
    evaluate,
    make_actor,
    normalized,
    policy_actor,
    random_actor,
)
from cesma_sb3.experts import reference_expert
from cesma_sb3.policies import TeamEnsemble, TeamPolicy
from cesma_sb3.spaces.agent_slices import AgentSlice
from cesma_sb3.spaces.types import Actor
from cesma_sb3.training.callbacks import CurvePoint, Seen
from cesma_sb3.training.others import declared_side
from cesma_sb3.utils.torch_defaults import own_generators


@dataclasses.dataclass(frozen=True)
class Seeds:
    """One seed for each user of randomness, all from the experiment's."""

    expert: int
    students: int
    curve: int
    final: int
    random: int
    fine_tuning: int
    sampling: int

    @classmethod
    def of(cls, seed: int) -> Seeds:
        """Derives all seeds from an experiment's."""
        state = np.random.SeedSequence(seed).generate_state(len(dataclasses.fields(cls)))
        return cls(*(int(word) % 2**31 for word in state))


Watch = Callable[[str, int, float], None]
"""A callback after each evaluation during training. Its arguments: the stage, its environment timesteps so
far, and the normalised score (the mean return, where the environment has no reference)."""


class Spectator(Protocol):
    """Somebody who looks on while a run trains, such as a page, and on whom no result depends."""

    def begin(self, run_dir: Path) -> object:
        """Takes the run folder, before anything is trained."""

    def see(self, stage: str, point: CurvePoint, act: Actor, evaluator: Evaluator) -> object:
        """Looks at the policy that trains, after each of its evaluations.

        Args:
            stage: `expert`, `students` (of a baseline, its team) or `fine-tuning`.
            point: The evaluation.
            act: The policy as it is now, acting with draws of its own if it samples.
            evaluator: What measured it. Its environments are the run's: a spectator makes others.
        """


class Evaluator:
    """Measures policies of an experiment, all on the same initial states.

    Args:
        experiment: As resolved: its environment, seed and evaluation are used.
        watch: Called after each evaluation during training; what it raises ends the run.
        agents: The order of agents in a saved team. An environment of the same agents is joined in it; one of
            other agents keeps its own, and whoever loads the saved team refuses it.
        renderable: Whether the environments render pictures, where they can.
        spectator: Shown the policy in training after each of its evaluations.
    """

    def __init__(
        self,
        experiment: Experiment,
        watch: Watch | None = None,
        agents: Sequence[str] | None = None,
        *,
        renderable: bool = False,
        spectator: Spectator | None = None,
    ) -> None:
        self.env = experiment.env
        self.config = experiment.evaluation
        self.watch = watch
        self.spectator = spectator
        self.seeds = Seeds.of(experiment.seed)
        n_envs = self.config.n_envs
        self.venv = joint_env(self.env, n_envs, self.seeds.curve, renderable=renderable)
        own_order = self.venv.team.agents
        if agents is not None and set(own_order) == set(agents) and own_order != tuple(agents):
            self.venv.close()
            self.venv = joint_env(self.env, n_envs, self.seeds.curve, agents=agents, renderable=renderable)
        self.reference = reference_expert(self.venv, self.config.reference_collision_cost)
        self._anchors: dict[str, Returns] = {}

    def on_curve(self, act: Actor) -> Score:
        """Measures the mean return over few episodes, for learning curves and the choice of weights."""
        n_episodes = self.config.n_eval_episodes
        return Score.of(evaluate(act, self.venv, n_eval_episodes=n_episodes, seed=self.seeds.curve))

    def seen(self, stage: str, actor: Callable[[], Actor]) -> Seen | None:
        """Returns what a stage's learning curve calls after each measurement; None if nobody wants to know.

        Args:
            stage: The stage's name.
            actor: Makes the actor of the policy in training.
        """
        if self.watch is None and self.spectator is None:
            return None

        def see(point: CurvePoint) -> None:
            if self.watch is not None:
                self.watch(stage, point.timesteps, self.score(point.score.mean))
            if self.spectator is not None:
                with own_generators():
                    self.spectator.see(stage, point, actor(), self)

        return see

    def act_of(self, policy: TeamPolicy | TeamEnsemble, *, deterministic: bool | None = None) -> Actor:
        """Makes a team act; if it samples, with the same draws every time.

        These draws are not those of a sampling expert: two that draw alike would seem to agree.

        Args:
            policy: The team.
            deterministic: Whether it acts by its likeliest actions or samples; None: as it does by itself.
        """
        deterministic = policy.acts_deterministically if deterministic is None else deterministic
        return policy_actor(policy, deterministic=deterministic, seed=self.seeds.sampling + 1)

    def final(self, act: Actor) -> Returns:
        """Measures returns over many episodes, on which nothing else is chosen.

        The one exception: whether an expert that is a distribution samples (`acting_mode`).
        """
        return evaluate(act, self.venv, n_eval_episodes=self.config.n_final_episodes, seed=self.seeds.final)

    def anchors(self) -> dict[str, Returns]:
        """Returns of `random`, and of `reference` where the environment has one; measured once."""
        if not self._anchors:
            rng = np.random.default_rng(self.seeds.random)
            self._anchors["random"] = self.final(random_actor(self.venv.team, rng))
            if self.reference is not None:
                self._anchors["reference"] = self.final(make_actor(self.reference))
        return self._anchors

    def span(self) -> float:
        """Distance from random to reference, the unit of the normalised score; NaN without a reference."""
        anchors = self.anchors()
        return anchors["reference"].mean - anchors["random"].mean if "reference" in anchors else float("nan")

    def score(self, value: float) -> float:
        """Converts a return to a normalised score (`normalized`); without a reference it stays as it is."""
        anchors = self.anchors()
        if "reference" not in anchors:
            return value
        return normalized(value, random=anchors["random"].mean, reference=anchors["reference"].mean)

    def close(self) -> None:
        """Closes the environments, and with them their processes."""
        self.venv.close()


def declared_slices(env: EnvConfig) -> dict[str, AgentSlice] | None:
    """Returns the parts of the agents of an environment that an experiment divides; None of any other."""
    if env.team is None:
        return None
    return {name: AgentSlice(own.observation, own.action) for name, own in env.team.items()}


def joint_env(
    env: EnvConfig,
    n_envs: int,
    seed: int,
    view: str = "joint",
    *,
    agents: Sequence[str] | None = None,
    renderable: bool = False,
) -> JointVecEnv:
    """Makes an experiment's environment, batched, in one joint space.

    Args:
        env: The environment's part of the experiment.
        n_envs: Number of environments stepped together.
        seed: Seed of their generators.
        view: Name of the action view.
        agents: Order of the agents in joint arrays; None: the environment's own.
        renderable: Whether they render pictures, where they can.

    Raises:
        SpaceError: The environment's spaces cannot be joined (`make_vec_env`).
    """
    return make_vec_env(
        env.id,
        kwargs=env.kwargs,
        team=declared_slices(env),
        message_size=env.message_size,
        wrappers=[{"name": wrapper.name, **wrapper.kwargs} for wrapper in env.wrappers],
        team_reward=env.team_reward,
        reward_weights=env.reward_weights,
        max_steps=env.max_steps,
        processes=env.processes,
        step_timeout=env.step_timeout,
        n_envs=n_envs,
        seed=seed,
        view=view,
        renderable=renderable,
        agents=agents,
        side=declared_side(env),
    )
