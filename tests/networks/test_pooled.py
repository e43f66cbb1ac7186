"""`PooledNet`: sees the whole team, and is one network for all of its agents."""

import numpy as np
import pytest
import torch as th
from gymnasium.spaces import Box, Discrete
from stable_baselines3.common.evaluation import evaluate_policy

from cesma_sb3.algorithms import FactoredDQN
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import ExpertError
from cesma_sb3.policies import NetworkSpec, TeamPolicy
from cesma_sb3.policies.networks.factory import ActionValue, actor_net
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MatchingGame

POOLED = NetworkSpec("pooled", (16, 24))


def team_of(observation_sizes, unseen=0):
    names = [f"agent_{i}" for i in range(len(observation_sizes))]
    return TeamSpaces(
        names,
        {name: Box(-1.0, 1.0, (size,)) for name, size in zip(names, observation_sizes, strict=True)},
        {name: Discrete(3 + i) for i, name in enumerate(names)},
        unseen_space=Box(-1.0, 1.0, (unseen,)) if unseen else None,
    )


def net_of(team, spec=POOLED):
    th.manual_seed(0)
    return actor_net(team, "joint", spec)


@pytest.mark.parametrize("sizes", [(4, 4, 4), (4, 2, 3)])
def test_what_an_agent_does_depends_on_what_every_other_observes(sizes):
    team = team_of(sizes)
    net, x = net_of(team), th.rand(32, team.observation_size)
    before = net(x).split(team.output_sizes, dim=1)
    for where in team.observation_slices:
        changed = x.clone()
        changed[:, where] = 1.0 - x[:, where]
        for outputs, now in zip(before, net(changed).split(team.output_sizes, dim=1), strict=True):
            assert not th.allclose(outputs, now)


def test_every_agent_reads_what_no_agent_observes():
    team = team_of((4, 4), unseen=2)
    net, x = net_of(team), th.rand(32, team.observation_size)
    changed = x.clone()
    changed[:, -2:] = 1.0 - x[:, -2:]
    for outputs, now in zip(*(net(y).split(team.output_sizes, dim=1) for y in (x, changed)), strict=True):
        assert not th.allclose(outputs, now)


def test_agents_that_change_places_change_their_outputs():
    team = TeamSpaces.from_parallel_env(MatchingGame(n_agents=3))
    net, x = net_of(team), th.rand(8, 3, 3)
    with th.no_grad():
        net.encode.weight[:, net.n_seen :] = 0.0  # nothing else tells the agents apart
    outputs = net(x.flatten(1)).view(8, 3, 3)
    changed = net(x.roll(1, dims=1).flatten(1)).view(8, 3, 3)
    th.testing.assert_close(outputs.roll(1, dims=1), changed)


def test_a_larger_team_needs_no_more_weights_than_its_numbers():
    def count(n_agents):
        return sum(
            w.numel() for w in net_of(TeamSpaces.from_parallel_env(MatchingGame(n_agents))).parameters()
        )

    assert count(12) - count(2) == 10 * POOLED.hidden_sizes[0]


def test_it_learns_saves_and_loads(tmp_path):
    env = joint_vec_env(MatchingGame, 8, seed=0)
    kwargs = {"network": "pooled", "hidden_sizes": [32, 32], "team": env.team}
    model = FactoredDQN("MlpPolicy", env, policy_kwargs=kwargs, learning_starts=100, gradient_steps=4, seed=0)
    model.learn(2_000)
    assert evaluate_policy(model, env, n_eval_episodes=20)[0] > 7.5  # of 8
    model.save(tmp_path / "model")
    loaded, observations = FactoredDQN.load(tmp_path / "model"), np.eye(6, dtype=np.float32)
    np.testing.assert_array_equal(loaded.predict(observations)[0], model.predict(observations)[0])


def test_an_agent_of_its_own_cannot_see_the_team():
    team = TeamSpaces.from_parallel_env(MatchingGame())
    with pytest.raises(ExpertError, match=r"network pooled.*joint"):
        TeamPolicy(team.observation_space, team.action_space, lambda _: 1e-3, team=team, network="pooled")


def test_it_gives_no_values_of_actions():
    with pytest.raises(ExpertError, match="pooled"):
        ActionValue(TeamSpaces.from_parallel_env(MatchingGame()), "joint", POOLED, "joint")
