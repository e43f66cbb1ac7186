"""Parameter counts: padding, targets and shared weights, and the paper's match of budgets."""

from itertools import pairwise

import pytest
import torch as th
from stable_baselines3 import DQN, PPO

from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.experts import GumbelSoftmaxDDPG
from cesma_sb3.joint.spaces import TeamSpaces
from cesma_sb3.networks import TeamPolicy, parameter_counts
from tests.envs_for_tests import MortalEnv

MADDPG = {"actor_visibility": "own", "critic_values": "each", "hidden_sizes": (128, 128)}


def ddpg(**kwargs):
    env = ParticleVecEnv(Spread(3), 1, seed=0)
    return GumbelSoftmaxDDPG("MlpPolicy", env, policy_kwargs={"team": env.team, **kwargs}, buffer_size=10)


def layers(*sizes):
    return sum((before + 1) * after for before, after in pairwise(sizes))


def test_maddpg_counts_by_hand():
    counts = parameter_counts(ddpg(**MADDPG))
    actor, critic = layers(18, 128, 128, 5), layers(3 * (18 + 5), 128, 128, 1)
    assert counts == {
        "actor": 3 * actor,
        "critic": 3 * critic,
        "total": 3 * (actor + critic),
        "agent": actor,
    }


def test_the_papers_expert_has_as_many_parameters_as_maddpg():
    expert = parameter_counts(ddpg(hidden_sizes=(225, 225)))
    assert "agent" not in expert, "nobody acts by itself"
    assert expert["total"] == pytest.approx(parameter_counts(ddpg(**MADDPG))["total"], rel=0.02)


def test_padding_does_not_count():
    team = TeamSpaces.from_parallel_env(MortalEnv())
    policy = TeamPolicy(
        team.observation_space, team.action_space, lambda _: 1e-3, team=team, hidden_sizes=(8,)
    )
    sizes = zip(team.observation_sizes, team.output_sizes, strict=True)
    by_agent = [layers(n_in, 8, n_out) for n_in, n_out in sizes]
    counts = parameter_counts(policy)
    assert counts["actor"] == sum(by_agent)
    assert counts["agent"] == max(by_agent)


@pytest.mark.parametrize(
    "network", [{"network": "entities", "hidden_sizes": (8, 8)}, {"share_parameters": True}]
)
def test_shared_weights_count_once(network):
    team = Spread(3).team()
    policy = TeamPolicy(team.observation_space, team.action_space, lambda _: 1e-3, team=team, **network)
    counts = parameter_counts(policy)
    assert counts["actor"] == sum(weight.numel() for weight in policy.action_net.parameters())
    assert counts["agent"] <= counts["actor"]


@pytest.mark.parametrize("algorithm", [PPO, DQN])
def test_models_of_sb3(algorithm):
    th.manual_seed(0)
    counts = parameter_counts(algorithm("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [16]}))
    assert counts["actor"] == layers(4, 16, 2)
    assert counts["critic"] == (layers(4, 16, 1) if algorithm is PPO else 0)
