"""How the policies of an experiment are measured: one evaluator for every stage, on seeds of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch as th

from cesma_sb3.config.schema import Experiment
from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.envs.partition import AgentSlice
from cesma_sb3.errors import ConfigError
from cesma_sb3.evaluation import (
    Actor,
    Returns,
    Score,
    evaluate,
    greedy,
    make_actor,
    normalized,
    random_act,
    sampled,
)
from cesma_sb3.experts import reference_expert
from cesma_sb3.policies import TeamEnsemble, TeamPolicy
from cesma_sb3.training.callbacks import Seen
from cesma_sb3.utils.torch_defaults import own_generators, plain_torch


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """PyTorch's threads for the time of a run; None leaves them as they are.

    Its defaults are those of `plain_torch`, and the global generators are afterwards as they were.
    """
    before = th.get_num_threads()
    th.set_num_threads(before if count is None else count)
    try:
        with plain_torch(), own_generators():
            yield
    finally:
        th.set_num_threads(before)


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
        """The seeds that follow from an experiment's."""
        state = np.random.SeedSequence(seed).generate_state(len(dataclasses.fields(cls)))
        return cls(*(int(word) % 2**31 for word in state))


Watch = Callable[[str, int, float], None]
"""Told of each measurement on the way: the stage, environment timesteps so far in it, and the normalised
score (the mean return, where the environment has no reference)."""


class Evaluator:
    """Measures policies of an experiment, all on the same initial states.

    Args:
        experiment: As resolved.
        watch: Told of each measurement on the way; what it raises ends the run.
        agents: The order of a saved team. An environment of the same agents is joined in it; one of others
            keeps its own order, and what was saved is then checked by whoever loads it.
        drawn: The environments are to give pictures, where they can.
    """

    def __init__(
        self,
        experiment: Experiment,
        watch: Watch | None = None,
        agents: Sequence[str] | None = None,
        *,
        drawn: bool = False,
    ) -> None:
        self.experiment = experiment
        self.watch = watch
        self.seeds = Seeds.of(experiment.seed)
        n_envs = experiment.evaluation.n_envs
        self.venv = joint_env(experiment, n_envs, self.seeds.curve, drawn=drawn)
        found = self.venv.team.agents
        if agents is not None and set(found) == set(agents) and found != tuple(agents):
            self.venv.close()
            self.venv = joint_env(experiment, n_envs, self.seeds.curve, agents=agents, drawn=drawn)
        self.reference = reference_expert(self.venv)
        self._anchors: dict[str, Returns] = {}

    def on_curve(self, act: Actor) -> Score:
        """Measure a policy on few episodes, for a learning curve and for the choice of the best weights."""
        n_episodes = self.experiment.evaluation.n_eval_episodes
        return Score.of(evaluate(act, self.venv, n_episodes=n_episodes, seed=self.seeds.curve))

    def seen(self, stage: str) -> Seen | None:
        """What a stage's learning curve tells of its measurements."""
        watch = self.watch
        return watch and (lambda timesteps, value: watch(stage, timesteps, self.score(value)))

    def act_of(self, policy: TeamPolicy | TeamEnsemble, *, deterministic: bool | None = None) -> Actor:
        """A team in its own way or in a given one; if it samples, with the same draws every time.

        They are not those of an expert that samples: two that draw alike would seem to agree.
        """
        deterministic = policy.acts_deterministically if deterministic is None else deterministic
        return greedy(policy) if deterministic else sampled(policy, self.seeds.sampling + 1)

    def final(self, act: Actor) -> Returns:
        """Returns over many episodes that no choice was made on.

        The one exception: how an expert that is a distribution acts (`ways`).
        """
        return evaluate(
            act, self.venv, n_episodes=self.experiment.evaluation.n_final_episodes, seed=self.seeds.final
        )

    def anchors(self) -> dict[str, Returns]:
        """`random`, and `reference` where the environment has one; measured once."""
        if not self._anchors:
            rng = np.random.default_rng(self.seeds.random)
            self._anchors["random"] = self.final(random_act(self.venv.team, rng))
            if self.reference is not None:
                self._anchors["reference"] = self.final(make_actor(self.reference))
        return self._anchors

    def span(self) -> float:
        """Distance from random to reference, the unit of the normalised score; NaN without a reference."""
        anchors = self.anchors()
        return anchors["reference"].mean - anchors["random"].mean if "reference" in anchors else float("nan")

    def score(self, value: float) -> float:
        """A return as a normalised score (`normalized`); where there is no reference, as it is."""
        anchors = self.anchors()
        if "reference" not in anchors:
            return value
        return normalized(value, random=anchors["random"].mean, reference=anchors["reference"].mean)

    def slack(self) -> float:
        """How far below the expert's return `dagger.early_stopping_tolerance` still counts as a match.

        Raises:
            ConfigError: There is a tolerance, and no reference that is better than a random team.
        """
        config = self.experiment.dagger
        if config is None or not config.early_stopping_tolerance:
            return 0.0
        if self.reference is not None and (span := self.span()) > 0:
            return config.early_stopping_tolerance * span
        why = "is no better than a random team" if self.reference is not None else "does not exist"
        raise ConfigError(
            f"dagger.early_stopping_tolerance {config.early_stopping_tolerance:g}: a fraction of the "
            f"distance from a random team to the reference, which {why} for {self.experiment.env.id}; "
            "expected 0"
        )

    def close(self) -> None:
        """Ends the environments' processes, if they have any."""
        self.venv.close()


def joint_env(
    experiment: Experiment,
    n_envs: int,
    seed: int,
    view: str = "joint",
    *,
    agents: Sequence[str] | None = None,
    drawn: bool = False,
) -> JointVecEnv:
    """The experiment's environment, batched, in one joint space.

    Args:
        experiment: As resolved.
        n_envs: How many.
        seed: Of their generators.
        view: The name of the action view.
        agents: The agents in the order that joint arrays are to keep; None: the environment's own.
        drawn: They are to give pictures, where they can.

    Raises:
        SpaceError: See `make_vec_env`.
    """
    env = experiment.env
    return make_vec_env(
        env.id,
        kwargs=env.kwargs,
        team=None
        if env.team is None
        else {a: AgentSlice(s.observation, s.action) for a, s in env.team.items()},
        wrappers=[{"name": wrapper.name, **wrapper.kwargs} for wrapper in env.wrappers],
        team_reward=env.team_reward,
        max_steps=env.max_steps,
        processes=env.processes,
        step_timeout=env.step_timeout,
        n_envs=n_envs,
        seed=seed,
        view=view,
        renderable=drawn,
        agents=agents,
    )
