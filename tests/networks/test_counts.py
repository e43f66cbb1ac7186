"""Parameter counts: padding, targets and shared weights, and the paper's match of budgets."""

from itertools import pairwise

import pytest
import torch as th
from sb3_contrib import ARS, QRDQN, MaskablePPO, RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from cesma_sb3.algorithms import GumbelSoftmaxDDPG
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.policies import TeamPolicy, parameter_counts
from cesma_sb3.spaces.team_spaces import TeamSpaces
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


def of_env(algorithm, *policy, **kwargs):
    return algorithm(*policy or ("MlpPolicy",), "CartPole-v1", **kwargs)


def test_a_maskable_policy():
    env = joint_vec_env(MortalEnv, 1, seed=0, team_reward="sum")
    model = MaskablePPO("MlpPolicy", env, n_steps=8, batch_size=8, policy_kwargs={"net_arch": [16]})
    observed, acts = env.team.observation_size, env.team.output_size
    assert parameter_counts(model) == {
        "actor": layers(observed, 16, acts),
        "critic": layers(observed, 16, 1),
        "total": layers(observed, 16, acts) + layers(observed, 16, 1),
    }
    assert parameter_counts(model.policy) == parameter_counts(model)


def test_quantiles_and_random_search():
    quantiles = of_env(QRDQN, buffer_size=10, policy_kwargs={"net_arch": [16], "n_quantiles": 7})
    assert parameter_counts(quantiles) == {
        "actor": layers(4, 16, 2 * 7),
        "critic": 0,
        "total": layers(4, 16, 2 * 7),
    }
    searched = of_env(ARS, "LinearPolicy")
    assert parameter_counts(searched)["actor"] == 4 * 2  # no bias
    assert parameter_counts(of_env(ARS, policy_kwargs={"net_arch": [6]}))["actor"] == layers(4, 6, 2)


@pytest.mark.parametrize("critic", [True, False])
def test_memories_count(critic):
    model = of_env(
        RecurrentPPO,
        "MlpLstmPolicy",
        n_steps=8,
        batch_size=8,
        policy_kwargs={"lstm_hidden_size": 5, "net_arch": [6], "enable_critic_lstm": critic},
    )
    lstm = 4 * 5 * (4 + 5 + 2)
    assert parameter_counts(model)["actor"] == lstm + layers(5, 6, 2)
    features = lstm if critic else layers(4, 5)
    assert parameter_counts(model)["critic"] == features + layers(5, 6, 1)


class Squeezed(BaseFeaturesExtractor):
    def __init__(self, space):
        super().__init__(space, 3)
        self.map = th.nn.Linear(4, 3)

    def forward(self, observations):
        return self.map(observations)


@pytest.mark.parametrize("shared", [True, False])
def test_feature_extractors_count(shared):
    kwargs = {"features_extractor_class": Squeezed, "net_arch": [6]}
    model = of_env(PPO, policy_kwargs={**kwargs, "share_features_extractor": shared})
    counts = parameter_counts(model)
    assert counts["actor"] == layers(4, 3) + layers(3, 6, 2)
    assert counts["critic"] == layers(3, 6, 1) + (0 if shared else layers(4, 3))
    model.policy.features_extractor.requires_grad_(False)  # which acts all the same
    assert parameter_counts(model) == counts
    assert parameter_counts(of_env(DQN, buffer_size=10, policy_kwargs=kwargs))["actor"] == counts["actor"]


def test_actor_and_critics_of_sac_without_targets():
    model = SAC("MlpPolicy", "Pendulum-v1", buffer_size=10, policy_kwargs={"net_arch": [6]})
    counts = parameter_counts(model)
    assert counts["actor"] == layers(3, 6, 1) + layers(6, 1)  # means, and standard deviations of each state
    assert counts["critic"] == 2 * layers(3 + 1, 6, 1)


def memory(n_inputs, units, n_outputs):
    return layers(n_inputs, units) + 3 * units * (2 * units + 2) + layers(units, n_outputs)


@pytest.mark.parametrize("shared", [True, False])
def test_students_with_a_memory_know_what_one_agent_needs(shared):
    team = TeamSpaces.from_parallel_env(MortalEnv())
    policy = TeamPolicy(
        *(team.observation_space, team.action_space, lambda _: 1e-3),
        team=team,
        network="recurrent",
        hidden_sizes=(4,),
        share_parameters=shared,
    )
    before = th.get_rng_state()
    counts = parameter_counts(policy)
    assert th.equal(th.get_rng_state(), before)
    by_agent = [memory(n, 4, m) for n, m in zip(team.observation_sizes, team.output_sizes, strict=True)]
    assert counts["agent"] == max(by_agent)
    # Shared, one set of weights reads the agent's number too, and has outputs for the largest.
    assert counts["actor"] == (memory(2 + 3, 4, 4) if shared else sum(by_agent))


@pytest.mark.parametrize("shared", [True, False])
def test_nobody_of_a_joint_actor_acts_alone(shared):
    team = Spread(3).team()
    policy = TeamPolicy(
        *(team.observation_space, team.action_space, lambda _: 1e-3),
        team=team,
        actor_visibility="joint",
        share_parameters=shared,
    )
    assert "agent" not in parameter_counts(policy)
    assert parameter_counts(policy)["actor"] > 0
