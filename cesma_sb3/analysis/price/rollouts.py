"""The states that somebody comes to, with what the expert would do there and what the students would."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.experts.base import Actor, Masks, Observations, StatefulActor
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.communication import MessageChannel, message_columns

Array = npt.NDArray[Any]
Soft = Callable[[Observations, Masks | None], npt.NDArray[np.float32]]
"""Joint observations and masks to the expert's distribution over categories, [B, M]."""


@dataclasses.dataclass(frozen=True)
class Visits:
    """Steps of whole episodes. Shapes: S steps, I entries of joint observations, C columns, N agents."""

    observations: npt.NDArray[np.float32]  # [S, I]
    labels: Array  # the expert's joint actions [S, C]
    actions: Array  # the students' [S, C]
    alive: npt.NDArray[np.bool_]  # [S, N]
    masks: npt.NDArray[np.bool_] | None  # available categories [S, M]
    episodes: npt.NDArray[np.int64]  # which episode, from 0 [S]
    times: npt.NDArray[np.int64]  # which step of it, from 0 [S]
    probabilities: npt.NDArray[np.float32] | None = None  # soft labels, if those were imitated [S, M]

    @property
    def n_episodes(self) -> int:
        """How many."""
        return int(self.episodes.max()) + 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Steps of each episode, [E]."""
        return np.bincount(self.episodes, minlength=self.n_episodes)

    def first_observations(self) -> npt.NDArray[np.float32]:
        """What each episode begins with, [E, I]."""
        first = self.times == 0
        found: npt.NDArray[np.float32] = self.observations[first][np.argsort(self.episodes[first])]
        return found

    def of_episode(self, values: Array) -> npt.NDArray[np.float64]:
        """Means over the steps of each episode, [E]; NaN where an episode has none.

        Args:
            values: One for each step, [S]; what is not a number does not count.
        """
        there = np.isfinite(values)
        sums = np.bincount(self.episodes[there], values[there], minlength=self.n_episodes)
        counts = np.bincount(self.episodes[there], minlength=self.n_episodes)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def with_messages_of(policy: TeamPolicy, visits: Visits) -> Visits:
    """The same states, in which the agents hear what this team would have said on the way to them.

    Two teams that learned apart have codes of their own, and one that hears the other's is lost.

    Args:
        policy: Without a memory, if it talks.
        visits: Whoever's; not changed.
    """
    channel = MessageChannel.of(policy.team)
    if channel is None:
        return visits
    observations = visits.observations.copy()
    steps = np.full((int(visits.times.max()) + 1, visits.n_episodes), -1)
    steps[visits.times, visits.episodes] = np.arange(len(visits.times))
    for before, now in pairwise(steps):
        goes_on = now >= 0
        said, heard = before[goes_on], now[goes_on]
        masks = None if visits.masks is None else visits.masks[said]
        actions, _ = policy.predict(observations[said], deterministic=True, action_masks=masks)
        places = np.ix_(heard, channel.places)
        spoke = visits.alive[said][:, channel.senders]
        observations[places] = np.where(spoke, channel.encode(actions), observations[places])
    return dataclasses.replace(visits, observations=observations)


def visit(
    act: Actor,
    expert: Actor,
    students: Actor,
    venv: JointVecEnv,
    *,
    n_episodes: int,
    seed: int,
    soft: Soft | None = None,
) -> Visits:
    """Runs whole episodes, and asks expert and students at each step.

    Where the expert acts, the students still talk: it has nothing to say.

    Args:
        act: Who acts: one of the two.
        expert: Labels.
        students: Greedy.
        venv: Batched joint environment in the `joint` action view.
        n_episodes: Rounded up to as many in each environment.
        seed: Of the initial states.
        soft: The expert's distribution, if that was imitated.
    """
    venv.seed(seed)
    observations = np.asarray(venv.reset(), dtype=np.float32)
    asked = list({id(each): each for each in (act, expert, students)}.values())
    for each in asked:
        if isinstance(each, StatefulActor):
            each.reset(None)
    n_envs, says = venv.num_envs, message_columns(venv.team)
    quota = -(-n_episodes // n_envs)
    number, time = np.zeros(n_envs, dtype=np.int64), np.zeros(n_envs, dtype=np.int64)
    steps: list[tuple[Array | None, ...]] = []
    while (number < quota).any():
        masks, counts = venv.agent_masks, number < quota
        given = {id(each): each(observations, masks) for each in asked}
        fields = (
            *(observations, given[id(expert)], given[id(students)], venv.alive, masks),
            *(number * n_envs + np.arange(n_envs), time),
            None if soft is None else soft(observations, masks),
        )
        steps.append(tuple(None if field is None else np.array(field)[counts] for field in fields))
        following, _, dones, _ = venv.step(np.where(says, given[id(students)], given[id(act)]))
        observations = np.asarray(following, dtype=np.float32)
        for each in asked:
            if isinstance(each, StatefulActor):
                each.reset(np.asarray(dones))
        number, time = number + dones, np.where(dones, 0, time + 1)
    joined: list[Any] = [
        None if column[0] is None else np.concatenate(column) for column in zip(*steps, strict=True)
    ]
    return Visits(*joined)
