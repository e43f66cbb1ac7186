"""Rollouts of an expert or its students, with what both would do at each step."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cesma_sb3.analysis.run_data import Role
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.envs.rollouts import Rollout, reset_actor
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.communication import MessageChannel, message_columns
from cesma_sb3.spaces.types import Actor, Masks, Observations, Packed

Array = npt.NDArray[Any]
SoftLabels = Callable[[Observations, Masks | None], npt.NDArray[np.float32]]
"""Joint observations and masks to the expert's distribution over categories, [B, M]."""


@dataclasses.dataclass(frozen=True)
class Rollouts:
    """Steps of whole episodes, in any order.

    Shapes: S steps, E episodes, I entries of joint observations, C action columns, M categories, N agents.
    """

    observations: npt.NDArray[np.float32]  # [S, I]
    labels: Array  # the expert's joint actions [S, C]
    actions: Array  # the students' joint actions [S, C]
    alive: npt.NDArray[np.bool_]  # [S, N]
    episodes: npt.NDArray[np.int64]  # which episode, from 0 [S]
    times: npt.NDArray[np.int64]  # which step of it, from 0 [S]
    masks: npt.NDArray[np.bool_] | None = None  # available categories [S, M]
    probabilities: npt.NDArray[np.float32] | None = None  # the expert's soft labels [S, M]

    @property
    def n_episodes(self) -> int:
        """How many episodes there are."""
        return int(self.episodes.max()) + 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """How many steps each episode has, [E]."""
        return np.bincount(self.episodes, minlength=self.n_episodes)

    def first_observations(self) -> npt.NDArray[np.float32]:
        """Return the first joint observation of each episode, [E, I]."""
        first = self.times == 0
        observations: npt.NDArray[np.float32] = self.observations[first][np.argsort(self.episodes[first])]
        return observations

    def episode_means(self, values: Array) -> npt.NDArray[np.float64]:
        """Average values over the steps of each episode, [E]; NaN where an episode has none.

        Args:
            values: One for each step, [S]; those that are not finite are left out.
        """
        finite = np.isfinite(values)
        sums = np.bincount(self.episodes[finite], values[finite], minlength=self.n_episodes)
        counts = np.bincount(self.episodes[finite], minlength=self.n_episodes)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


class _BothPolicies:
    """An actor that is one of two policies, and keeps what both would do in the latest observations.

    Where the expert acts, the students still send their messages: it sends none.
    """

    def __init__(self, expert: Actor, students: Actor, role: Role, sends: npt.NDArray[np.bool_]) -> None:
        self.expert, self.students = expert, students
        self.from_students = sends | (role == "students")

    def __call__(self, observations: Observations, masks: Masks | None) -> Packed:
        self.labels = np.array(self.expert(observations, masks))
        self.actions = np.array(self.students(observations, masks))
        return np.where(self.from_students, self.actions, self.labels)

    def reset(self, episode_starts: npt.NDArray[np.bool_] | None) -> None:
        reset_actor(self.expert, episode_starts)
        reset_actor(self.students, episode_starts)


def collect_rollouts(
    expert: Actor,
    students: Actor,
    role: Role,
    venv: JointVecEnv,
    *,
    n_episodes: int,
    seed: int,
    soft_labels: SoftLabels | None = None,
) -> Rollouts:
    """Run whole episodes of one of two policies, and ask both at each step.

    Args:
        expert: The expert.
        students: The students, with their likeliest actions.
        role: Which of the two acts.
        venv: Batched joint environment in the `joint` action view.
        n_episodes: Rounded up to as many in each environment.
        seed: Seed of the initial states.
        soft_labels: The expert's distribution, if the students imitated that.
    """
    venv.seed(seed)
    actor = _BothPolicies(expert, students, role, message_columns(venv.team))
    n_envs = venv.num_envs
    quota = -(-n_episodes // n_envs)
    number, time = np.zeros(n_envs, dtype=np.int64), np.zeros(n_envs, dtype=np.int64)
    columns: dict[str, list[Array]] = defaultdict(list)
    for step in Rollout(venv, actor):
        fields = {
            "observations": step.observations,
            "labels": actor.labels,
            "actions": actor.actions,
            "alive": step.alive,
            "episodes": number * n_envs + np.arange(n_envs),
            "times": time,
            "masks": step.masks,
            "probabilities": None if soft_labels is None else soft_labels(step.observations, step.masks),
        }
        for name, values in fields.items():
            if values is not None:
                columns[name].append(values[number < quota])
        number, time = number + step.dones, np.where(step.dones, 0, time + 1)
        if (number >= quota).all():
            break
    joined: dict[str, Any] = {name: np.concatenate(values) for name, values in columns.items()}
    return Rollouts(**joined)


def with_messages_of(policy: TeamPolicy, rollouts: Rollouts) -> Rollouts:
    """Return the same states, in which the agents receive what another team would have sent on the way.

    Two teams that were trained apart have different codes, and each is lost with the messages of the other.

    Args:
        policy: The other team; without a memory, if it sends messages.
        rollouts: Rollouts of any team; not changed.
    """
    channel = MessageChannel.of(policy.team)
    if channel is None:
        return rollouts
    observations = rollouts.observations.copy()
    steps = np.full((int(rollouts.times.max()) + 1, rollouts.n_episodes), -1)
    steps[rollouts.times, rollouts.episodes] = np.arange(len(rollouts.times))
    for before, now in pairwise(steps):
        continues = now >= 0
        sent, received = before[continues], now[continues]
        masks = None if rollouts.masks is None else rollouts.masks[sent]
        actions, _ = policy.predict(observations[sent], deterministic=True, action_masks=masks)
        places = np.ix_(received, channel.places)
        was_alive = rollouts.alive[sent][:, channel.senders]
        observations[places] = np.where(was_alive, channel.encode(actions), observations[places])
    return dataclasses.replace(rollouts, observations=observations)
