"""Returns of a team's policy over many episodes, and the normalised score."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.envs.rollouts import Rollout, ValidatedActor
from cesma_sb3.evaluation.reorder import acting_for, made_for
from cesma_sb3.experts.base import Actions, Actor, Masks, Observations
from cesma_sb3.experts.wrappers import name_of
from cesma_sb3.policies.ensembles import TeamEnsemble
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.team_spaces import TeamSpaces

_ROUNDING = 1e-6
"""Relative differences up to this are those of float32."""


@dataclasses.dataclass(frozen=True)
class Returns:
    """What some episodes returned."""

    team: npt.NDArray[np.float64]
    """Undiscounted team return of each episode, [n_episodes]."""
    lengths: npt.NDArray[np.int64]
    """Timesteps of each episode, [n_episodes]."""
    agents: dict[str, npt.NDArray[np.float64]]
    """Undiscounted return of each agent, [n_episodes] each."""
    wins: npt.NDArray[np.bool_] | None = None
    """Which episodes were won, [n_episodes]; None where there is nothing to win."""
    traces: npt.NDArray[np.float64] | None = None
    """A number made of all observations and actions of each episode, [n_episodes]: it is the same in episodes
    that are the same step by step; None: unknown."""

    @property
    def are_alike(self) -> bool:
        """Whether there are several episodes, and all of them are the same up to rounding.

        The environment and the policy then have no randomness (or ignore their seeds).
        """
        more = [column for column in (self.wins, self.traces) if column is not None]
        columns = np.array([self.team, self.lengths, *self.agents.values(), *more], dtype=np.float64)
        # Rows of one batch may differ by rounding, even where the same is computed in each.
        same = np.ptp(columns, axis=1) <= _ROUNDING * np.abs(columns).max(axis=1)
        return len(self.team) > 1 and bool(same.all())

    @property
    def n_samples(self) -> int:
        """How many independent measurements these episodes are: episodes that are all alike are one.

        Whoever makes an interval asks this first: a single measurement has none.
        """
        return 1 if self.are_alike else len(self.team)

    @property
    def win_rate(self) -> float | None:
        """Share of the episodes that were won."""
        return None if self.wins is None else float(self.wins.mean())

    @property
    def win_interval(self) -> tuple[float, float] | None:
        """The win rate's 95% confidence interval, by Wilson's score (1927); None of a single measurement."""
        if self.wins is None or self.n_samples < 2:
            return None
        interval = binomtest(int(self.wins.sum()), len(self.wins)).proportion_ci(method="wilson")
        return float(interval.low), float(interval.high)

    @property
    def mean(self) -> float:
        """Mean team return."""
        return float(self.team.mean())

    @property
    def std(self) -> float:
        """Sample standard deviation of the team return over episodes; 0 for one episode."""
        return float(self.team.std(ddof=1)) if len(self.team) > 1 else 0.0

    @property
    def standard_error(self) -> float:
        """Standard error of the mean team return; NaN of a single measurement."""
        return self.std / math.sqrt(len(self.team)) if self.n_samples > 1 else float("nan")


def evaluate(act: Actor, venv: JointVecEnv, *, n_episodes: int, seed: int | None = None) -> Returns:
    """Runs `n_episodes` episodes.

    Every environment runs the same number of them, so that short episodes are not counted more often than
    long ones (rounded up: a few more than asked for may run; the first `n_episodes`, environment by
    environment, count).

    Args:
        act: Who acts. A `StatefulActor` is reset where episodes begin; one that knows its team acts for the
            agents of the same names.
        venv: Batched joint environment in the `joint` action view. It is reset first.
        n_episodes: At least 1.
        seed: Seeds the environments: policies evaluated with one seed meet the same initial states.

    Raises:
        ValueError: `n_episodes` is below 1.
        InvalidActionError: Actions that cannot be done.
        SpaceError: Who acts is made for other agents.
    """
    if n_episodes < 1:
        raise ValueError(f"n_episodes={n_episodes}: expected at least 1")
    quotas = np.full(venv.num_envs, n_episodes // venv.num_envs)
    quotas[: n_episodes % venv.num_envs] += 1
    finished: list[list[dict[str, Any]]] = [[] for _ in range(venv.num_envs)]
    if seed is not None:
        venv.seed(seed)
    actor = ValidatedActor(acting_for(act, venv.team), venv, _name(act))
    traces = _Traces(venv)
    for step in Rollout(venv, actor):
        traces.add(step.observations, step.actions)
        for index in np.flatnonzero(step.dones):
            if len(finished[index]) < quotas[index]:
                finished[index].append({**step.infos[index], "trace": traces.now[index]})
        traces.begin(step.dones)
        if sum(map(len, finished)) == n_episodes:
            break
    episodes = [info for infos_of_one in finished for info in infos_of_one]
    return Returns(
        team=np.array([info["episode"]["r"] for info in episodes], dtype=np.float64),
        lengths=np.array([info["episode"]["l"] for info in episodes], dtype=np.int64),
        agents={
            agent: np.array([info["agent_returns"][agent] for info in episodes], dtype=np.float64)
            for agent in venv.team.agents
        },
        wins=_wins(episodes),
        traces=np.array([info["trace"] for info in episodes], dtype=np.float64),
    )


class _Traces:
    """A number for each environment's episode so far, made of all that was observed and done in it."""

    def __init__(self, venv: JointVecEnv) -> None:
        self.now = np.zeros(venv.num_envs)
        # Weights without a pattern, so that different steps hardly ever give the same sum.
        self._seen, self._done = (
            np.sin(np.arange(1, size + 1) ** 2.0)
            for size in (venv.team.observation_size, venv.team.n_columns)
        )

    def add(self, observations: Observations, actions: Actions) -> None:
        """Adds a step of every environment: [B, I] and [B, A]."""
        self.now = 0.99 * self.now + 1.0 + observations @ self._seen + actions @ self._done

    def begin(self, starts: npt.NDArray[np.bool_]) -> None:
        """Begins anew where an episode has ended, [B]."""
        self.now = np.where(starts, 0.0, self.now)


def _name(act: Actor) -> str:
    """What messages call it: of a method, whose."""
    owner = getattr(act, "__self__", act)
    return f"the actions of {name_of(owner)}" if not inspect.isfunction(owner) else "the actions"


@dataclasses.dataclass(frozen=True)
class Score:
    """The mean return of some episodes, and how many of them were won."""

    mean: float
    win_rate: float | None = None
    """Share of the episodes, 0 to 1; None where there is nothing to win."""

    @classmethod
    def of(cls, returns: Returns) -> Score:
        """Returns the score of some episodes."""
        return cls(returns.mean, returns.win_rate)


def _wins(episodes: list[dict[str, Any]]) -> npt.NDArray[np.bool_] | None:
    """`battle_won` of each episode; None if no environment tells of it."""
    if not any("battle_won" in info for info in episodes):
        return None
    return np.array([bool(info.get("battle_won", False)) for info in episodes])


def normalized(score: float, *, random: float, reference: float) -> float:
    """(score - random) / (reference - random): 0 is a random team, 1 the reference.

    NaN where the reference is no better than random.
    """
    span = reference - random
    return (score - random) / span if span > 0 else float("nan")


def sampled(policy: TeamPolicy | TeamEnsemble, seed: int = 0) -> Actor:
    """A team that draws its moves from its distribution; the draws begin with `seed`."""
    return made_for(policy.actor(np.random.default_rng(seed)), policy.team)


def greedy(policy: TeamPolicy | TeamEnsemble) -> Actor:
    """A team that takes its likeliest actions; of an ensemble, those of whoever's turn it is."""
    if policy.is_recurrent:
        return made_for(policy.actor(), policy.team)

    def act(observations: Observations, masks: Masks | None) -> Actions:
        return policy.predict(observations, deterministic=True, action_masks=masks)[0]

    return made_for(act, policy.team)


def random_act(team: TeamSpaces, rng: np.random.Generator) -> Actor:
    """A team that acts uniformly at random among what is available."""
    low = np.asarray(getattr(team.action_space, "low", 0), dtype=np.float64)
    high = np.asarray(getattr(team.action_space, "high", 0), dtype=np.float64)

    def act(observations: Observations, masks: Masks | None) -> Actions:
        batch = len(observations)
        packed: Any = np.zeros((batch, team.n_columns), dtype=team.action_dtype)
        start = 0
        for column, k in enumerate(team.column_categories):
            if k == 0:
                packed[:, column] = rng.uniform(low[column], high[column], size=batch)
                continue
            keys = rng.random((batch, k))  # the largest key among the available ones: a uniform draw
            if masks is not None:
                keys = np.where(masks[:, start : start + k], keys, -1.0)
            packed[:, column] = keys.argmax(axis=1)
            start += k
        actions: Actions = packed
        return actions

    return made_for(act, team)
