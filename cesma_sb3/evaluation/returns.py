"""Returns of a policy or an expert over many episodes, and the normalized score."""

from __future__ import annotations

import dataclasses
import inspect
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.envs.rollouts import Rollout, ValidatedActor
from cesma_sb3.evaluation.actors import TeamActor, actor_for
from cesma_sb3.experts.wrappers import name_of
from cesma_sb3.spaces.types import Actor, Observations, Packed

_ROUNDING = 1e-6
"""Relative differences up to this are those of float32."""


@dataclasses.dataclass(frozen=True)
class Returns:
    """Returns of some episodes."""

    team: npt.NDArray[np.float64]
    """Undiscounted team return of each episode, [n_episodes]."""
    lengths: npt.NDArray[np.int64]
    """Timesteps of each episode, [n_episodes]."""
    agents: dict[str, npt.NDArray[np.float64]]
    """Undiscounted return of each agent, [n_episodes] each."""
    wins: npt.NDArray[np.bool_] | None = None
    """Which episodes were won, [n_episodes]; None where there is nothing to win."""
    traces: npt.NDArray[np.float64] | None = None
    """A scalar made of all observations and actions of each episode, [n_episodes]: it is equal in episodes
    that are equal step by step; None: unknown."""

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
        """Independent measurements: the number of episodes, or 1 if they are all alike.

        A single measurement has no confidence interval.
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
        from scipy.stats import binomtest  # slow to import, and only battles are won

        interval = binomtest(int(self.wins.sum()), len(self.wins)).proportion_ci(method="wilson")
        return float(interval.low), float(interval.high)

    @property
    def mean(self) -> float:
        """Mean team return; NaN of no episode."""
        return float(self.team.mean()) if len(self.team) else float("nan")

    @property
    def std(self) -> float:
        """Sample standard deviation of the team return over episodes; 0 for one episode."""
        return float(self.team.std(ddof=1)) if len(self.team) > 1 else 0.0

    @property
    def standard_error(self) -> float:
        """Standard error of the mean team return; NaN of a single measurement."""
        return self.std / math.sqrt(len(self.team)) if self.n_samples > 1 else float("nan")


def evaluate(
    policy: Any,
    venv: JointVecEnv,
    *,
    n_eval_episodes: int = 10,
    deterministic: bool = True,
    seed: int | None = None,
) -> Returns:
    """Evaluate a policy, an expert or an actor on whole episodes.

    Every environment runs the same number of episodes, so that short ones are not counted more often than
    long ones. A few more than asked for may run; the first ones of each environment count. What was recorded
    (`RecordedExpert`) has the returns of its recorded episodes.

    Args:
        policy: A `TeamPolicy`, an ensemble, an `Expert`, a model or policy of SB3, a mapping with one
            controller for each agent, or an actor: a function of joint observations and masks. A policy acts
            for the agents of the same names, whatever order the environment has them in.
        venv: Batched joint environment in the `joint` action view. It is reset first.
        n_eval_episodes: Episodes, at least 1.
        deterministic: Take the likeliest actions; False: sample, where there is a distribution. An actor acts
            as it does.
        seed: Seeds the environments, and the samples: policies evaluated with one seed meet the same initial
            states.

    Raises:
        ValueError: `n_eval_episodes` is below 1.
        InvalidActionError: An action cannot be done.
        ExpertError: The model or expert does not fit the team.
        SpaceError: The policy is one of other agents.
    """
    if n_eval_episodes < 1:
        raise ValueError(f"n_eval_episodes={n_eval_episodes}: expected at least 1")
    recorded = getattr(policy, "__self__", policy)  # its actor is its method `labels`
    if (known := getattr(recorded, "recorded_returns", None)) is not None:
        return Returns(known, recorded.recorded_lengths, {})
    quotas = np.full(venv.num_envs, n_eval_episodes // venv.num_envs)
    quotas[: n_eval_episodes % venv.num_envs] += 1
    finished: list[list[dict[str, Any]]] = [[] for _ in range(venv.num_envs)]
    if seed is not None:
        venv.seed(seed)
    actor = actor_for(policy, venv.team, deterministic=deterministic, seed=seed or 0)
    traces = _Traces(venv)
    for step in Rollout(venv, ValidatedActor(actor, venv, _name(actor))):
        traces.add(step.observations, step.actions)
        for index in np.flatnonzero(step.dones):
            if len(finished[index]) < quotas[index]:
                finished[index].append({**step.infos[index], "trace": traces.now[index]})
        traces.reset(step.dones)
        if sum(map(len, finished)) == n_eval_episodes:
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
    """A scalar for each environment's episode so far, made of all observations and actions in it."""

    def __init__(self, venv: JointVecEnv) -> None:
        self.now = np.zeros(venv.num_envs)
        # Weights without a pattern, so that different steps hardly ever give the same sum.
        self._seen, self._done = (
            np.sin(np.arange(1, size + 1) ** 2.0)
            for size in (venv.team.observation_size, venv.team.n_columns)
        )

    def add(self, observations: Observations, actions: Packed) -> None:
        """Add a step of every environment: [B, I] and [B, A]."""
        self.now = 0.99 * self.now + 1.0 + observations @ self._seen + actions @ self._done

    def reset(self, starts: npt.NDArray[np.bool_]) -> None:
        """Start again where an episode has ended, [B]."""
        self.now = np.where(starts, 0.0, self.now)


def _name(actor: Actor) -> str:
    """What error messages call an actor's actions."""
    owner = getattr(actor, "__self__", actor)
    known = inspect.isfunction(owner) or isinstance(owner, TeamActor)
    return "the actions" if known else f"the actions of {name_of(owner)}"


@dataclasses.dataclass(frozen=True)
class Score:
    """The mean return of some episodes, and how many of them were won."""

    mean: float
    win_rate: float | None = None
    """Share of the episodes, 0 to 1; None where there is nothing to win."""

    @classmethod
    def of(cls, returns: Returns) -> Score:
        """The score of some episodes."""
        return cls(returns.mean, returns.win_rate)


def _wins(episodes: list[dict[str, Any]]) -> npt.NDArray[np.bool_] | None:
    """`battle_won` of each episode, [n_episodes]; None where there is nothing to win."""
    if not any("battle_won" in info for info in episodes):
        return None
    return np.array([bool(info.get("battle_won", False)) for info in episodes])


def normalized(score: float, *, random: float, reference: float) -> float:
    """The normalized score (score - random) / (reference - random): 0 is a random team, 1 the reference.

    Args:
        score: The return to normalize.
        random: The return of a random team.
        reference: The return of the reference policy.

    Returns:
        The normalized score; NaN where the reference is no better than random.
    """
    span = reference - random
    return (score - random) / span if span > 0 else float("nan")
