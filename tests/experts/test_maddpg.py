"""MADDPG and independent DDPG: `GumbelSoftmaxDDPG` with a critic for each agent."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch import nn
from torch.nn import functional as F

from cesma_sb3.algorithms import GumbelSoftmaxDDPG
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.errors import ExpertError, UnknownNameError
from cesma_sb3.policies import ActionValue, NetworkSpec
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MatchingGame, MortalEnv, SmallEnv

SMALL = {"learning_rate": 3e-3, "gamma": 0.0, "learning_starts": 200, "batch_size": 64, "buffer_size": 5_000}
# Policies that stay stochastic: one that freezes on values that others' exploration has blurred stays wrong.
LIVELY = {"gradient_steps": 2, "logit_penalty": 0.03}
SPECS = {
    "feed-forward": NetworkSpec(hidden_sizes=(16,)),
    "shared": NetworkSpec(hidden_sizes=(16,), share_parameters=True),
    "entities": NetworkSpec("entities", (8, 8)),
    "told apart": NetworkSpec("entities", (8, 8), use_agent_id=True),
}


class Talk(SmallEnv):
    """Two agents, each with a move and a message: both are rewarded where they follow from its own cue."""

    def __init__(self):
        super().__init__(["first", "second"])

    def observation_space(self, agent):
        return spaces.Box(0.0, 1.0, (3,), np.float32)

    def action_space(self, agent):
        return spaces.MultiDiscrete([3, 2] if agent == "first" else [3, 3])

    def begin(self):
        self.cues = {agent: int(self.rng.integers(3)) for agent in self.possible_agents}

    def observe(self, agent):
        return np.eye(3, dtype=np.float32)[self.cues[agent]]

    def step(self, actions):
        moved = sum(int(actions[agent][0]) == self.cues[agent] for agent in self.agents)
        said = sum(int(actions[agent][1]) == self.cues[agent] % 2 for agent in self.agents)
        self.t += 1
        self.begin()
        over = self.t >= 4
        agents, self.agents = self.agents, [] if over else self.agents
        return (
            {agent: self.observe(agent) for agent in agents},
            dict.fromkeys(agents, float(moved + said)),
            dict.fromkeys(agents, False),
            dict.fromkeys(agents, over),
            {agent: {} for agent in agents},
        )


def make(env, critic="joint", policy_kwargs=None, **kwargs):
    policy = {
        "team": env.team,
        "actor_visibility": "own",
        "critic_visibility": critic,
        "critic_values": "each",
        "hidden_sizes": (32, 32),
        **(policy_kwargs or {}),
    }
    return GumbelSoftmaxDDPG("MlpPolicy", env, seed=0, policy_kwargs=policy, **{**SMALL, **kwargs})


def spread_model(critic, spec, **kwargs):
    env = ParticleVecEnv(Spread(3), 4, seed=0)
    network = {"network": spec.kind, "hidden_sizes": spec.hidden_sizes}
    network |= {"share_parameters": spec.share_parameters, "use_agent_id": spec.use_agent_id}
    return make(env, critic, network, **kwargs)


def batch_of(team, size=6, seed=0):
    generator = th.Generator().manual_seed(seed)
    observations = th.randn(size, team.observation_size, generator=generator)
    columns = [th.randint(k, (size,), generator=generator) for k in team.column_categories]
    one_hot = [F.one_hot(c, k).float() for c, k in zip(columns, team.column_categories, strict=True)]
    return observations, th.cat(one_hot, dim=1)


@pytest.mark.parametrize("others", ["buffer", "current"])
@pytest.mark.parametrize("critic", ["joint", "own"])
@pytest.mark.parametrize("spec", SPECS)
def test_the_actors_gradient_is_that_of_a_loop_over_agents(spec, critic, others):
    model = spread_model(critic, SPECS[spec], others_actions=others)
    team, actor, net = model.policy.team, model.actor, model.critic.nets[0]
    observations, taken = batch_of(team)
    th.manual_seed(1)
    model._actor_loss(observations, taken).backward()
    batched = [weight.grad.clone() for weight in actor.parameters()]
    actor.zero_grad()
    th.manual_seed(1)
    logits = actor(observations)
    relaxed = model._relaxed(logits, hard=True)
    for agent, own in enumerate(team.output_slices):
        actions = (taken if others == "buffer" else relaxed.detach()).clone()
        actions[:, own] = relaxed[:, own]
        loss = -net(observations, actions)[:, agent].mean()
        loss = loss + model.logit_penalty * logits[:, own].square().mean()
        loss.backward(retain_graph=True)
    for weight, gradient in zip(actor.parameters(), batched, strict=True):
        th.testing.assert_close(gradient, weight.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("spec", SPECS)
def test_a_critic_of_each_agent_sees_what_its_visibility_says(spec):
    team = Spread(3).team()
    observations, actions = batch_of(team)
    changed = observations.clone()
    changed[:, team.observation_slices[2]] += 1.0
    moved = actions.clone()
    moved[:, team.output_slices[2]] = actions[:, team.output_slices[2]].roll(1, dims=1)
    for visibility, sees in (("own", False), ("joint", True)):
        critic = ActionValue(team, visibility, SPECS[spec], "joint", "each")
        before = critic(observations, actions)
        assert before.shape == (6, 3)
        for after in (critic(changed, actions), critic(observations, moved)):
            assert (after[:, 2] != before[:, 2]).any()
            assert (after[:, 0] != before[:, 0]).any().item() is sees


def test_a_joint_critic_of_each_agent_is_a_plain_network_of_everything():
    team = Spread(3).team()
    critic = ActionValue(team, "joint", SPECS["feed-forward"], "joint", "each")
    observations, actions = batch_of(team)
    values = critic(observations, actions)
    for agent in range(3):
        alone = critic.net.component(agent)(th.cat([observations, actions], dim=1))
        th.testing.assert_close(values[:, agent], alone[:, 0])


def test_own_additive_values_are_linear_in_ones_own_action():
    team = TeamSpaces.from_parallel_env(MortalEnv())
    critic = ActionValue(team, "own", SPECS["feed-forward"], "additive", "each")
    observations, actions = batch_of(team)
    nothing = critic(observations, th.zeros_like(actions))
    gains = critic(observations, actions) - nothing
    th.testing.assert_close(critic(observations, 2 * actions) - nothing, 2 * gains)


@pytest.mark.parametrize("spec", SPECS)
def test_joint_additive_values_are_linear_in_ones_own_action_and_see_the_others(spec):
    team = Spread(3).team()
    critic = ActionValue(team, "joint", SPECS[spec], "additive", "each")
    observations, actions = batch_of(team)
    moved = actions.clone()
    moved[:, team.output_slices[2]] = actions[:, team.output_slices[2]].roll(1, dims=1)
    before, after = critic(observations, actions), critic(observations, moved)
    assert (after != before).any(dim=0).all()
    # With the others' actions held, the third agent's values lie on a line between two of its actions.
    between = critic.q_own_action(observations, (actions + moved) / 2, actions)[:, 2]
    last = critic.q_own_action(observations, moved, actions)
    th.testing.assert_close(between, (before + last)[:, 2] / 2)
    th.testing.assert_close(last[:, :2], before[:, :2])


def test_gradients_of_agents_are_clipped_apart():
    model = spread_model("joint", SPECS["feed-forward"], max_grad_norm=0.5)
    net = model.critic.nets[0].net
    for weight in net.parameters():
        weight.grad = th.zeros_like(weight)
        weight.grad[0] = 10.0  # a large gradient of the first agent
        weight.grad[1] = 1e-4  # a small one of the second
    model._clip(model.critic, 0.5)
    norms = [th.stack([w.grad[n].norm() for w in net.parameters()]).norm().item() for n in range(3)]
    assert norms[0] == pytest.approx(0.5, rel=1e-4)
    assert all((w.grad[1] == 1e-4).all() for w in net.parameters())
    assert norms[2] == 0.0


@pytest.mark.parametrize("critic", ["joint", "own"])
def test_every_agent_learns_as_if_alone(critic):
    """The critics' gradient of the batched team is that of a literal learner for each agent."""
    model = spread_model(critic, SPECS["feed-forward"])
    observations, actions = batch_of(model.policy.team)
    values = model.critic(observations, actions)
    targets = th.randn(6, 3)
    (F.mse_loss(values, targets[:, None].expand_as(values)) * values[0].numel()).backward()
    net = model.critic.nets[0].net
    for agent in range(3):
        alone = net.component(agent)
        seen = th.cat([observations, actions], dim=1)[:, list(net.visible[agent])]
        F.mse_loss(alone(seen)[:, 0], targets[:, agent]).backward()
        first = next(module for module in alone if isinstance(module, nn.Linear))
        batched = net.layers[0].weight.grad[agent].T
        th.testing.assert_close(batched, first.weight.grad, atol=1e-5, rtol=1e-3)


@pytest.mark.no_cover
@pytest.mark.parametrize(("critic", "others"), [("joint", "current"), ("own", "buffer")])
def test_solves_a_matching_game(critic, others):
    model = make(joint_vec_env(MatchingGame, 8, seed=0), critic, others_actions=others, **LIVELY)
    model.learn(1_600)
    cues = np.random.default_rng(0).integers(3, size=(100, 2))
    obs = np.eye(3, dtype=np.float32)[cues].reshape(100, -1)
    assert (model.predict(obs, deterministic=True)[0] == cues).mean() == 1.0


@pytest.mark.no_cover
def test_trains_a_team_that_moves_and_talks():
    model = make(joint_vec_env(Talk, 8, seed=0), "joint", **LIVELY).learn(2_600)
    cues = np.random.default_rng(0).integers(3, size=(100, 2))
    obs = np.eye(3, dtype=np.float32)[cues].reshape(100, -1)
    actions = model.predict(obs, deterministic=True)[0]
    # Chance: a third of the moves, half of the messages.
    assert (actions[:, ::2] == cues).mean() > 0.95
    assert (actions[:, 1::2] == cues % 2).mean() > 0.95


@pytest.mark.parametrize("spec", SPECS)
def test_the_team_policy_acts_as_the_actors_do_and_draws_nothing(spec):
    model = spread_model("joint", SPECS[spec])
    state = th.get_rng_state()
    team = model.policy.team_policy()
    assert th.equal(state, th.get_rng_state())
    obs = batch_of(team.team, 50)[0].numpy()
    expected = model.predict(obs, deterministic=True)[0]
    np.testing.assert_array_equal(team.predict(obs, deterministic=True)[0], expected)
    own = team.team.observation_slices[1]
    assert [team.agent(1).predict(row[own], deterministic=True)[0] for row in obs] == expected[:, 1].tolist()


def test_a_centralized_actor_is_no_team():
    env = joint_vec_env(MatchingGame, 1, seed=0)
    model = GumbelSoftmaxDDPG("MlpPolicy", env, policy_kwargs={"team": env.team}, buffer_size=10)
    with pytest.raises(ExpertError, match="actor_visibility: expected own"):
        model.policy.team_policy()


def test_unknown_choices_are_refused_in_one_line():
    env = joint_vec_env(MatchingGame, 1, seed=0)
    with pytest.raises(UnknownNameError, match="unknown others_actions 'replay'; "):
        make(env, others_actions="replay")
    with pytest.raises(UnknownNameError, match="unknown critic_values 'own'; "):
        make(env, policy_kwargs={"critic_values": "own"})


@pytest.mark.parametrize("critic", ["joint", "own"])
def test_saved_and_loaded_it_is_the_same(critic, tmp_path):
    model = make(joint_vec_env(MatchingGame, 4, seed=0), critic, others_actions="current").learn(400)
    model.save(tmp_path / "model.zip")
    loaded = GumbelSoftmaxDDPG.load(tmp_path / "model.zip", env=model.get_env())
    assert loaded.others_actions == "current"
    assert loaded.policy.critic_values == "each"
    first, second = model.policy.state_dict(), loaded.policy.state_dict()
    assert all(th.equal(first[name], second[name]) for name in first)
