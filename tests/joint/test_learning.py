"""Single-agent learners learn on a team that looks like one agent."""

from functools import partial

import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy

from cesma_sb3.envs.joint_vec_env import JointVecEnv, joint_vec_env
from tests.envs_for_tests import MatchingGame, MortalEnv

ON_POLICY = {"n_steps": 32, "batch_size": 64, "n_epochs": 5, "learning_rate": 3e-3, "gamma": 0.5, "seed": 0}


def mean_return(model, venv: JointVecEnv, n_episodes: int = 20, *, masked: bool = False) -> float:
    observations, returns = venv.reset(), []
    while len(returns) < n_episodes:
        extra = {"action_masks": get_action_masks(venv)} if masked else {}
        observations, _, _, infos = venv.step(model.predict(observations, deterministic=True, **extra)[0])
        returns += [info["episode"]["r"] for info in infos if "episode" in info]
    return float(np.mean(returns))


@pytest.mark.no_cover
def test_ppo_in_the_joint_action_space():
    venv = joint_vec_env(MatchingGame, 8, seed=0)
    model = PPO("MlpPolicy", venv, **ON_POLICY).learn(2_400)
    assert model.ep_info_buffer[-1]["l"] == 4
    assert mean_return(model, venv) > 7.5  # of 8; 2.7 at random
    assert (
        evaluate_policy(model, venv, n_eval_episodes=8)[0] > 7.5
    )  # without a warning about a missing Monitor


@pytest.mark.no_cover
def test_maskable_ppo_where_agents_die():
    # An action that is not available raises, so that finishing at all means that the masks were right.
    venv = joint_vec_env(MortalEnv, 8, seed=0, team_reward="sum")
    model = MaskablePPO("MlpPolicy", venv, **ON_POLICY)
    before = mean_return(model, venv, masked=True)
    model.learn(2_400)
    after = mean_return(model, venv, masked=True)
    # Rewards are the action plus the agent's number: the highest available action is the best.
    assert after > before
    assert after >= 0.95 * best_mortal_return()


def best_mortal_return() -> float:
    env = MortalEnv()
    env.reset()
    total = 0.0
    while env.agents:
        best = {agent: int(np.flatnonzero(env.mask(agent))[-1]) for agent in env.agents}
        _, rewards, *_ = env.step(best)
        total += sum(rewards.values())
    return float(total)


def test_maskable_ppo_in_processes_and_in_the_product_view():
    mortal = partial(MortalEnv, masks="info")
    venv = joint_vec_env(mortal, 2, seed=0, processes=1, view="product", team_reward="sum")
    model = MaskablePPO("MlpPolicy", venv, n_steps=32, batch_size=32, seed=0).learn(128)
    assert mean_return(model, venv, 2, masked=True) > 0
    venv.close()


@pytest.mark.no_cover
def test_dqn_on_actions_of_one_agent_at_a_time():
    """Enumerated combinations, and continuous actions: tests/bring/test_sb3_experts.py."""
    venv = joint_vec_env(MatchingGame, 4, seed=0, view="one-at-a-time")
    model = DQN(
        "MlpPolicy",
        venv,
        learning_rate=3e-3,
        gamma=0.1,
        learning_starts=200,
        train_freq=1,
        gradient_steps=2,
        target_update_interval=100,
        exploration_fraction=0.6,
        policy_kwargs={"net_arch": [64]},
        seed=0,
    ).learn(1_800)
    # Two players with three cues can match both where one of them has cue 0: 5 of 9 times.
    assert mean_return(model, venv, 40) > 4.9
