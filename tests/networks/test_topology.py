"""A topology of messages: what an agent does not listen to does not reach it, in every kind of network."""

import numpy as np
import pytest
import torch as th
from torch import nn

from cesma_sb3.algorithms.ddpg.policies import GumbelSoftmaxPolicy
from cesma_sb3.algorithms.factored_dqn.policies import FactoredQPolicy
from cesma_sb3.envs.particle import NavigationComm
from cesma_sb3.policies import TeamPolicy, load_team, save_team
from cesma_sb3.spaces.communication import MessageChannel

TEAM = NavigationComm(3, n_landmarks=5).team()
TOPOLOGIES = {"ring": "ring", "chosen": {"agent_0": ("agent_2",), "agent_1": ()}}
NETWORKS = {
    "feed-forward": {"hidden_sizes": (8,)},
    "shared": {"hidden_sizes": (8,), "share_parameters": True},
    "recurrent": {"network": "recurrent", "hidden_sizes": (8,)},
    "entities": {"network": "entities", "hidden_sizes": (8, 8), "use_agent_id": True},
    "custom": {"network": "custom", "module": nn.Linear},
}


@pytest.fixture(params=NETWORKS)
def network(request):
    return NETWORKS[request.param]


@pytest.fixture(params=TOPOLOGIES)
def topology(request):
    return TOPOLOGIES[request.param]


def policy_of(topology, network):
    th.manual_seed(0)
    return TeamPolicy(
        TEAM.observation_space, TEAM.action_space, lambda _: 0.0, team=TEAM, topology=topology, **network
    )


def outputs(policy, observations):
    with th.no_grad():
        return policy.unroll(th.as_tensor(observations)[None])[0].numpy()


def test_only_what_an_agent_listens_to_changes_what_it_does(topology, network):
    policy = policy_of(topology, network)
    observations = np.random.default_rng(0).normal(size=(6, TEAM.observation_size)).astype(np.float32)
    before = outputs(policy, observations)
    offered, heard = MessageChannel.of(TEAM), MessageChannel.of(TEAM, topology)
    for place, receiver in zip(offered.places, offered.receivers, strict=True):
        changed = observations.copy()
        changed[:, place] += 1.0
        differs = (outputs(policy, changed) != before).any(axis=0)
        of_receiver = TEAM.output_slices[receiver]
        assert differs[of_receiver].any() == (place in heard.places)
        differs[of_receiver] = False
        assert not differs.any()


def test_an_agent_alone_does_what_it_does_in_the_team_and_after_loading(topology, network, tmp_path):
    policy = policy_of(topology, network)
    observations = np.random.default_rng(1).normal(size=(9, TEAM.observation_size)).astype(np.float32)
    together = policy.predict(observations, deterministic=True)[0]
    for agent, seen, does in zip(TEAM.agents, TEAM.observation_slices, TEAM.action_columns, strict=True):
        alone = policy.agent(agent).predict(observations[:, seen], deterministic=True)[0]
        np.testing.assert_array_equal(alone, together[:, does])
    if policy.spec.module is None:
        save_team(policy, tmp_path)
        loaded = load_team(tmp_path)
        np.testing.assert_array_equal(loaded.predict(observations, deterministic=True)[0], together)
        assert MessageChannel.of(TEAM, loaded.spec.topology).places.tolist() == (
            MessageChannel.of(TEAM, topology).places.tolist()
        )


@pytest.mark.parametrize("policy", [GumbelSoftmaxPolicy, FactoredQPolicy])
def test_the_agents_of_a_baseline_listen_as_they_are_told(policy):
    own = {"visibility": "own"} if policy is FactoredQPolicy else {"actor_visibility": "own"}
    spaces = TEAM.observation_space, TEAM.action_space
    baseline = policy(*spaces, lambda _: 1e-3, team=TEAM, topology="ring", hidden_sizes=(8,), **own)
    team = baseline.team_policy()
    heard = MessageChannel.of(TEAM, "ring").places
    observations = np.random.default_rng(2).normal(size=(20, TEAM.observation_size)).astype(np.float32)
    changed = observations.copy()
    unheard = sorted(set(MessageChannel.of(TEAM).places.tolist()) - set(heard.tolist()))
    changed[:, unheard] += 1.0
    before = outputs(team, observations)
    np.testing.assert_array_equal(outputs(team, changed), before)
    np.testing.assert_array_equal(
        baseline.predict(changed, deterministic=True)[0],
        baseline.predict(observations, deterministic=True)[0],
    )
    changed[:, heard] += 1.0
    assert (outputs(team, changed) != before).any()
