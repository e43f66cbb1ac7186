"""An expert that pays for what students do not see, and what it then does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env

import cesma_sb3
from cesma_sb3 import JointEnv
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import ConfigError
from cesma_sb3.imitation.dataset import Samples
from cesma_sb3.imitation.information_cost import LIMIT, InformationCostVecEnv
from cesma_sb3.policies.networks.factory import NetworkSpec
from tests.envs_for_tests import MortalEnv

EXAMPLES = Path(__file__).parents[2] / "examples"
SPEC = NetworkSpec(hidden_sizes=(32,))


@pytest.fixture
def doors(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import information_cost

    return information_cost.Doors


def information_cost(make_env, n_envs: int = 8, **kwargs: Any) -> InformationCostVecEnv:
    venv = joint_vec_env(make_env, n_envs, seed=0, team_reward="mean")
    return InformationCostVecEnv(venv, **{"weight": 0.5, "spec": SPEC, **kwargs})


def costs_of(
    venv: InformationCostVecEnv, act, n_steps: int = 400
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is paid in the end, the rewards, and what they would be, of the last steps."""
    observations = venv.reset()
    paid, got, infos_of = [], [], []
    for _ in range(n_steps):
        observations, rewards, _, infos = venv.step(act(observations))
        paid.append(venv.cost)
        got.append(rewards)
        infos_of.append([info.get("episode", {}).get("r") for info in infos])
    return np.array(paid[-100:]), np.array(got[-100:]), np.array(infos_of[-100:], dtype=object)


def knows(observations: np.ndarray) -> np.ndarray:
    """Opens the right doors at once, by what the other agent sees."""
    return np.where(observations[:, [3, 0]] < 0, 1, 2)


def looks(observations: np.ndarray) -> np.ndarray:
    """Looks, then opens the right door."""
    own = observations[:, [1, 4]]
    return np.where(own == 0, 0, np.where(own < 0, 1, 2))


def test_the_doors_are_an_environment(doors):
    from pettingzoo.test import parallel_api_test

    parallel_api_test(doors(), num_cycles=50)
    check_env(JointEnv(doors()))


@pytest.mark.no_cover
def test_the_cost_is_the_information_that_own_observations_lack(doors):
    """Of a fair coin that the agent does not see: log 2 nats, for each of two agents."""
    venv = information_cost(doors, samples_per_update=8)
    paid, got, returns = costs_of(venv, knows)
    assert paid.mean() == pytest.approx(2 * np.log(2), abs=0.1)
    np.testing.assert_allclose(got, 2.0 - 0.5 * paid, atol=1e-5)
    assert {r for r in returns.flatten() if r is not None} == {2.0}  # statistics are of the unchanged reward


@pytest.mark.no_cover
def test_what_agents_see_themselves_is_free(doors):
    paid, *_ = costs_of(information_cost(doors, samples_per_update=8), looks)
    assert abs(paid.mean()) < 0.05


@pytest.mark.no_cover
def test_acting_at_random_is_free(doors):
    rng = np.random.default_rng(0)
    paid, *_ = costs_of(
        information_cost(doors, samples_per_update=8), lambda seen: rng.integers(3, size=(len(seen), 2))
    )
    assert abs(paid.mean()) < 0.1


@pytest.mark.slow
def test_students_follow_an_expert_that_pays(doors, tmp_path):
    import information_cost

    found = information_cost.main(tmp_path)
    assert found["plain"]["expert"] > 1.9
    assert found["plain"]["students"] < 1.0
    assert found["information_cost"]["students"] > 1.6
    assert found["information_cost"]["expert"] < found["plain"]["expert"]


@pytest.mark.slow
def test_an_expert_learns_to_look(doors):
    venv = information_cost(doors, n_envs=16, weight=1.0, samples_per_update=16)
    model = PPO(
        "MlpPolicy",
        venv,
        n_steps=64,
        batch_size=512,
        ent_coef=0.05,
        gamma=0.95,
        learning_rate=lambda remaining: 2e-3 * (0.05 + 0.95 * remaining),
        policy_kwargs={"net_arch": [32, 32]},
        seed=0,
    ).learn(100_000)
    actions, _ = model.predict(venv.reset(), deterministic=True)
    assert (actions == 0).mean() > 0.9


def test_the_dead_and_masks_have_their_place():
    venv = information_cost(MortalEnv, n_envs=4, batch_size=16)
    rng = np.random.default_rng(0)
    venv.reset()
    for _ in range(60):
        masks = venv.action_masks()
        columns = [masks[:, where] for where in venv.team.column_masks]
        actions = np.stack([(rng.random(c.shape) * c).argmax(axis=1) for c in columns], axis=1)
        assert venv.agent_masks is None or venv.agent_masks.shape == (4, venv.team.mask_size)
        _, rewards, _, _ = venv.step(actions)
        assert np.isfinite(rewards).all()
        assert (np.abs(venv.cost) <= LIMIT * venv.team.n_agents).all()


def test_the_same_seed_has_the_same_costs_and_leaves_torch_alone(doors):
    found = []
    for _ in range(2):
        th.manual_seed(1)
        before = th.random.get_rng_state()
        venv = information_cost(doors, samples_per_update=8, seed=3)
        assert th.equal(before, th.random.get_rng_state())
        found.append(costs_of(venv, knows, 120)[0])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"weight": 0.0}, "information_cost: weight is 0.0, expected more than 0"),
        ({"batch_size": 0}, "information_cost: batch_size is 0"),
        ({"spec": NetworkSpec("recurrent", (8,))}, "expected students without a memory"),
    ],
)
def test_bad_values_are_refused(doors, kwargs, text):
    with pytest.raises(ConfigError, match=text):
        information_cost(doors, **kwargs)


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"expert.keep": "best"}, "information_cost: expected keep: last beside it"),
        ({"expert.information_cost.weight": 0}, "expert.information_cost.weight"),
        (
            {"env": {"id": "spread"}, "expert.algorithm": "scripted", "expert.total_timesteps": 0},
            "information_cost",
        ),
        ({"env": {"id": "speaker-listener"}}, "information_cost: expected agents that do not communicate"),
        ({"students": {"network": "recurrent", "hidden_sizes": [8]}}, "expected students without a memory"),
    ],
)
def test_experiments_that_make_no_sense_are_refused(doors, tmp_path, overrides, text):
    with pytest.raises(ConfigError, match=text):
        cesma_sb3.run(EXAMPLES / "information_cost.yaml", out=tmp_path / "run", **overrides)


def test_what_cannot_be_done_is_not_predicted():
    """An agent with one action left is no riddle to anybody, whoever sees more: it costs nothing."""
    venv = information_cost(lambda: MortalEnv(deaths=(None, None), length=4), 4)
    venv.reset()
    observations = np.random.default_rng(0).normal(size=(6, venv.team.observation_size)).astype(np.float32)
    only = np.zeros((6, venv.team.mask_size), dtype=bool)
    only[:, [where.start + 1 for where in venv.team.column_masks]] = True
    alive = np.ones((6, 2), dtype=bool)
    ones = np.ones((6, 2), dtype=np.int64)
    np.testing.assert_allclose(venv.costs(Samples(observations, ones, alive, only)), 0.0, atol=1e-6)
    free = Samples(observations, ones, alive, np.ones_like(only))
    assert (np.abs(venv.costs(free)) > 1e-4).all()
    np.testing.assert_array_equal(venv.costs(free._replace(alive=~alive)), 0.0)
    venv.step(np.array([flags.argmax() for flags in np.split(venv.agent_masks[0], [3])] * 4).reshape(4, 2))
    stored = venv.dataset.sample(1)
    assert stored.masks is not None
    assert not stored.masks.all()


def test_predictors_learn_as_often_as_they_should(monkeypatch):
    venv = information_cost(lambda: MortalEnv(masks=None), 8, samples_per_update=20, batch_size=24)
    updates = []
    monkeypatch.setattr(venv, "_update", lambda: updates.append(len(venv.dataset)))
    venv.reset()
    for _ in range(20):
        _, rewards, _, _ = venv.step(np.zeros((8, 3), dtype=np.int64))
    assert rewards.dtype == np.float32
    # One for every 20 of the 160 samples; the first with 24, which is a batch.
    assert len(updates) == 160 // 20
    assert updates[0] == 24
