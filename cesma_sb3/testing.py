"""Checks for what you bring: an environment, an expert, a team of students. To be called in your own tests.

Each raises `AssertionError` with one line that says what was wrong, where, and what was expected; or the
`CesmaError` that the same thing would raise in a run.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch as th

from cesma_sb3.envs.joint_env import TeamReward
from cesma_sb3.envs.joint_vec_env import JointVecEnv, joint_vec_env
from cesma_sb3.envs.rollouts import Rollout, Step, reset_actor
from cesma_sb3.evaluation import random_actor
from cesma_sb3.experts import Expert, RecurrentExpert, SoftExpert
from cesma_sb3.policies import TeamPolicy, load_team, save_team
from cesma_sb3.policies.networks.custom import MakeModule
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Actor, Masks, Packed
from cesma_sb3.utils.torch_defaults import plain_torch

__all__ = ["check_environment", "check_expert", "check_team"]


def check_environment(
    make_env: Callable[[], Any], *, team_reward: TeamReward = "shared", n_steps: int = 200, seed: int = 0
) -> TeamSpaces:
    """Check a PettingZoo environment: that a run takes it, and that a seed gives the same episodes again.

    It accepts what a run accepts, and refuses the rest in the same words.

    Args:
        make_env: Makes a new one at every call, parallel or AEC.
        team_reward: How rewards become one.
        n_steps: Steps of random actions, over as many episodes as fit; one that has no end does no harm.
        seed: Of the episodes and of the actions.

    Returns:
        The team's spaces, as a run would see them.

    Raises:
        AssertionError: Two environments with one seed and the same actions differ.
        CesmaError: The environment has no joint view, two of them are not alike or are one object, or one
            does something that a run would refuse.
    """
    first, second = (_random_steps(make_env, team_reward, n_steps, seed) for _ in range(2))
    for index, (one, other) in enumerate(zip(first.steps, second.steps, strict=True)):
        for what in ("observations", "rewards", "dones"):
            _expect(
                np.array_equal(getattr(one, what), getattr(other, what), equal_nan=True),
                f"{what} at step {index}: two environments with seed {seed} and the same actions differ",
            )
    return first.team


class _RandomSteps(NamedTuple):
    team: TeamSpaces
    steps: list[Step]


def _random_steps(
    make_env: Callable[[], Any], team_reward: TeamReward, n_steps: int, seed: int
) -> _RandomSteps:
    """Step two environments of one batch with random available actions."""
    venv = joint_vec_env(make_env, 2, seed=seed, team_reward=team_reward)
    with closing(venv):
        rollout = Rollout(venv, random_actor(venv.team, np.random.default_rng(seed)))
        return _RandomSteps(venv.team, list(itertools.islice(rollout, n_steps)))


@plain_torch()
def check_expert(expert: Expert, venv: JointVecEnv, *, n_steps: int = 50, seed: int = 0) -> None:
    """Check that an expert labels each environment by itself, with available actions.

    Args:
        expert: The expert, of the environment's team.
        venv: Environments in the `joint` action view, two at least. They are reset and stepped.
        n_steps: How many steps are labelled, of random behaviour.
        seed: Of the behaviour.

    Raises:
        AssertionError: A label is of another shape or kind, no action, unavailable, or depends on the other
            environments; soft labels do not add up; a memory is not forgotten where an episode begins.
    """
    _expect(venv.num_envs > 1, f"venv: {venv.num_envs} environment, expected two at least")
    name = type(expert).__name__
    label: Actor = expert.actor() if isinstance(expert, RecurrentExpert) else expert.labels
    rollout = Rollout(venv, random_actor(venv.team, np.random.default_rng(seed)))
    for index, step in enumerate(itertools.islice(rollout, n_steps)):
        observations, masks = step.observations.copy(), step.masks
        labels = label(observations, None if masks is None else masks.copy())
        where = f"{name} at step {index}"
        _expect(np.array_equal(step.observations, observations), f"{where}: wrote into the observations")
        _check_labels(labels, venv.team, step, where)
        if not isinstance(expert, RecurrentExpert):
            alone = expert.labels(observations[1:2], None if masks is None else masks[1:2])
            _expect(
                np.allclose(alone, labels[1:2], atol=1e-5),
                f"{where}: a label depends on the other environments",
            )
        if isinstance(expert, SoftExpert) and not isinstance(expert, RecurrentExpert):
            _check_probabilities(expert.probabilities(observations, masks), venv.team, masks, where)
        reset_actor(label, step.dones)
    if isinstance(expert, RecurrentExpert):
        _check_memory(expert, venv, name)


def _check_labels(labels: Packed, team: TeamSpaces, step: Step, where: str) -> None:
    masks = step.masks
    wanted = (len(step.observations), team.n_columns)
    _expect(np.shape(labels) == wanted, f"{where}: labels of shape {np.shape(labels)}, expected {wanted}")
    _expect(bool(np.isfinite(labels).all()), f"{where}: a label is not a finite number")
    living = np.repeat(step.alive, [c.stop - c.start for c in team.action_columns], axis=1)
    for agent, columns in zip(team.agents, team.action_columns, strict=True):
        for column in range(columns.start, columns.stop):
            n, mine = team.column_categories[column], labels[living[:, column], column]
            if not n:
                continue
            exists = np.all((mine >= 0) & (mine < n) & (mine == np.rint(mine)))
            _expect(bool(exists), f"{where}: {mine.tolist()} for {agent}, expected 0 to {n - 1}")
            if masks is not None:
                flags = masks[living[:, column]][:, team.column_masks[column]]
                available = np.take_along_axis(flags, mine.astype(np.int64)[:, None], axis=1)
                _expect(bool(available.all()), f"{where}: an action of {agent} is not available")


def _check_probabilities(
    found: npt.NDArray[np.float32], team: TeamSpaces, masks: Masks | None, where: str
) -> None:
    _expect(
        found.shape[1:] == (team.mask_size,),
        f"{where}: probabilities of shape {found.shape}, expected (B, {team.mask_size})",
    )
    _expect(bool((found >= 0).all()), f"{where}: a probability is below 0")
    for column, flags in enumerate(team.column_masks):
        if flags.stop > flags.start:
            sums = found[:, flags].sum(axis=1)
            _expect(np.allclose(sums, 1, atol=1e-3), f"{where}: column {column} sums to {sums.tolist()}")
    if masks is not None:
        _expect(not found[~masks].any(), f"{where}: an unavailable category has a probability")


def _check_memory(expert: RecurrentExpert, venv: JointVecEnv, name: str) -> None:
    """Check that an episode does not change the actions of the next one."""
    observations: Any = venv.reset()
    masks = venv.agent_masks
    fresh: Any = expert.actor()
    wanted = fresh(observations, masks)
    used: Any = expert.actor()
    for _ in range(2):
        used(observations, masks)
    used.reset(np.ones(venv.num_envs, dtype=bool))
    same = np.allclose(used(observations, masks), wanted, atol=1e-5)
    _expect(same, f"{name}: remembers across the beginning of an episode")


@plain_torch()
def check_team(
    policy: TeamPolicy, *, module: MakeModule | None = None, n_samples: int = 64, seed: int = 0
) -> None:
    """Check that students are decentralized, and that each alone acts as it does in the team.

    Args:
        policy: The students.
        module: Of custom networks, what they are made by.
        n_samples: Observations that are tried.
        seed: They are drawn from.

    Raises:
        AssertionError: An agent's outputs depend on what it does not see, one taken out acts otherwise, a
            team read back does, or an unavailable action is done.
        SpaceError: The actors see the whole team.
    """
    team, rng = policy.team, np.random.default_rng(seed)
    observations = rng.normal(size=(n_samples, team.observation_size)).astype(np.float32)
    _check_visibility(policy, observations)
    actions, _ = policy.predict(observations, deterministic=True)
    parts = team.split_observations(observations)
    for index, agent in enumerate(team.agents):
        columns = team.action_columns[index]
        with th.no_grad():
            outputs = policy.agent(agent)(th.as_tensor(parts[agent]))
            together = policy.action_net(th.as_tensor(observations))[:, team.output_slices[index]]
        close = th.allclose(outputs, together, atol=1e-4)
        _expect(close, f"{agent}: alone, its outputs differ by {(outputs - together).abs().max():.2g}")
        _expect(columns.stop > columns.start, f"{agent}: has no action")
    with tempfile.TemporaryDirectory() as folder:
        save_team(policy, Path(folder))
        again, _ = load_team(folder, module=module).predict(observations, deterministic=True)
    _expect(np.array_equal(actions, again), "the team: acts otherwise once it was saved and read back")
    if team.is_discrete:
        _check_available(policy, observations, rng)


def _check_visibility(policy: TeamPolicy, observations: npt.NDArray[np.float32]) -> None:
    team = policy.team
    inputs = th.as_tensor(observations).requires_grad_()
    outputs = policy.action_net(inputs)
    for index, (agent, seen) in enumerate(zip(team.agents, team.observation_slices, strict=True)):
        own = outputs[:, team.output_slices[index]].sum()
        (gradient,) = th.autograd.grad(own, inputs, retain_graph=True)
        gradient[:, seen] = 0.0
        hidden = gradient.abs().amax(dim=0)
        entry = int(hidden.argmax())
        _expect(not hidden.any(), f"{agent}: its outputs depend on entry {entry}, which it does not see")


def _check_available(
    policy: TeamPolicy, observations: npt.NDArray[np.float32], rng: np.random.Generator
) -> None:
    team = policy.team
    masks = rng.random((len(observations), team.mask_size)) < 0.5
    for flags in team.column_masks:
        masks[~masks[:, flags].any(axis=1), flags.start] = True
    for deterministic in (True, False):
        actions, _ = policy.predict(observations, deterministic=deterministic, action_masks=masks)
        for column, flags in enumerate(team.column_masks):
            done = np.take_along_axis(masks[:, flags], actions[:, column, None], axis=1)
            _expect(bool(done.all()), f"column {column}: an unavailable action is done")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
