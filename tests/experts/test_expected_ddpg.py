"""`ExpectedDDPG`'s expectations are those of an enumeration of all joint actions."""

from itertools import product
from types import SimpleNamespace

import pytest
import torch as th
from stable_baselines3.common import buffers
from torch.nn import functional as F

from cesma_sb3.algorithms import ExpectedDDPG
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.errors import ExpertError
from tests.envs_for_tests import MatchingGame, MortalEnv

VISIBILITIES = pytest.mark.parametrize(
    ("actor", "critic", "values"),
    [
        ("joint", "joint", "summed"),
        ("own", "joint", "summed"),
        ("own", "own", "summed"),
        ("own", "own", "each"),
        ("own", "joint", "each"),
    ],
)


def make(actor="joint", critic="joint", values="summed", n_critics=1, **kwargs):
    """Three agents with 3, 4 and 3 actions: 36 joint ones."""
    env = joint_vec_env(lambda: MortalEnv(masks=None), 2, seed=0, team_reward="sum")
    visibility = {"actor_visibility": actor, "critic_visibility": critic, "critic_values": values}
    policy = {"team": env.team, "hidden_sizes": (16,), "n_critics": n_critics, **visibility}
    arguments = {"gamma": 0.7, "logit_penalty": 0.02, "max_grad_norm": None, "buffer_size": 100}
    return ExpectedDDPG("MlpPolicy", env, seed=0, policy_kwargs=policy, **{**arguments, **kwargs})


def batch_of(team, size=6):
    generator = th.Generator().manual_seed(0)
    first, second = th.randn(2, size, team.observation_size, generator=generator)
    return SimpleNamespace(
        observations=first,
        next_observations=second,
        actions=th.stack([th.randint(k, (size,), generator=generator) for k in team.column_categories], 1),
        rewards=th.randn(size, 1, generator=generator),
        dones=(th.arange(size) % 3 == 0).float().unsqueeze(1),
    )


def one_hot(actions, team):
    columns = zip(actions.T, team.column_categories, strict=True)
    return th.cat([F.one_hot(column, k).float() for column, k in columns], dim=1)


def enumerated(model, critics, observations, others):
    """The expected values [B, n_critics, V] of what the actor does, by the sum over all joint actions.

    In MADDPG each agent's is the sum over its own actions, given the one-hot actions of the `others`.
    """
    team = model.policy.team
    logits = model.actor(observations).split(team.output_sizes, dim=1)
    policies = [F.softmax(each, dim=1) for each in logits]
    if model.policy.critic_values == "each" and model.policy.critic_visibility == "joint":
        columns = []
        for agent, own in enumerate(team.output_slices):
            total = 0.0
            for action, chance in enumerate(policies[agent].T):
                actions = others.clone()
                actions[:, own] = F.one_hot(th.tensor(action), own.stop - own.start).float()
                total = total + chance[:, None] * critics(observations, actions).detach()[:, :, agent]
            columns.append(total)
        return th.stack(columns, dim=2)
    expected = 0.0
    for joint in product(*map(range, team.column_categories)):
        chance = th.stack([pi[:, a] for pi, a in zip(policies, joint, strict=True)]).prod(dim=0)
        actions = one_hot(th.tensor([joint]), team).expand(len(observations), -1)
        expected = expected + chance[:, None, None] * critics(observations, actions).detach()
    return expected


@pytest.mark.parametrize("n_critics", [1, 2])
@VISIBILITIES
def test_the_target_is_that_of_an_enumeration(actor, critic, values, n_critics):
    model = make(actor, critic, values, n_critics)
    th.nn.init.normal_(next(model.critic_target.parameters()))  # not the critic's own weights
    data = batch_of(model.policy.team)
    th.manual_seed(1)
    others = one_hot(model.policy.drawn(model.actor(data.next_observations)), model.policy.team)
    expected = enumerated(model, model.critic_target, data.next_observations, others).amin(dim=1).detach()
    targets = data.rewards + 0.7 * (1 - data.dones) * expected
    th.manual_seed(1)
    th.testing.assert_close(model.targets(data), targets)
    th.manual_seed(1)
    steps = SimpleNamespace(**vars(data), discounts=th.full((6, 1), 0.3))  # of n-step samples
    targets = data.rewards + 0.3 * (1 - data.dones) * expected
    th.testing.assert_close(model.targets(steps), targets)


@VISIBILITIES
def test_the_actors_gradient_is_that_of_an_enumeration(actor, critic, values):
    model = make(actor, critic, values)
    team = model.policy.team
    data = batch_of(team)
    logits = model.actor(data.observations).split(team.output_sizes, dim=1)
    squares = th.stack([each.square().mean() for each in logits])
    if values == "summed":  # the mean over all outputs at once
        squares = squares * th.tensor(team.output_sizes) / team.output_size
    taken = one_hot(data.actions, team)
    values = enumerated(model, model.critic, data.observations, taken)
    loss = 0.02 * squares.sum() - values.mean(dim=0).sum()
    expected = th.autograd.grad(loss, list(model.actor.parameters()))
    # The critic takes its step first, and the actor does not see it.
    actor_loss, _ = model._update(data.observations, taken, model.targets(data))
    assert actor_loss.item() == pytest.approx(loss.item(), rel=1e-5)
    for weight, gradient in zip(model.actor.parameters(), expected, strict=True):
        th.testing.assert_close(weight.grad, gradient, atol=1e-6, rtol=1e-4)


@VISIBILITIES
def test_the_critics_gradient_is_that_of_the_actions_taken(actor, critic, values):
    model = make(actor, critic, values)
    data = batch_of(model.policy.team)
    actions, targets = one_hot(data.actions, model.policy.team), model.targets(data)
    loss = (model.critic(data.observations, actions)[:, 0] - targets).square().mean(dim=0).sum()
    expected = th.autograd.grad(loss, list(model.critic.parameters()))
    model._update(data.observations, actions, targets)
    for weight, gradient in zip(model.critic.parameters(), expected, strict=True):
        th.testing.assert_close(weight.grad, gradient, atol=1e-6, rtol=1e-4)


def test_it_has_no_target_of_the_actor(tmp_path):
    model = make()
    assert not hasattr(model.policy, "actor_target")
    model.save(tmp_path / "model.zip")
    loaded = ExpectedDDPG.load(tmp_path / "model.zip")
    names = set(loaded.policy.state_dict())
    assert {name.split(".")[0] for name in names} == {"actor", "critic", "critic_target"}
    assert names == set(model.policy.state_dict())


@pytest.mark.skipif(not hasattr(buffers, "NStepReplayBuffer"), reason="this SB3 has no n-step buffer")
def test_learns_from_returns_of_several_steps():
    env = ParticleVecEnv(Spread(2), 4, seed=0)
    model = ExpectedDDPG(
        "MlpPolicy",
        env,
        learning_starts=40,
        buffer_size=400,
        replay_buffer_class=buffers.NStepReplayBuffer,
        replay_buffer_kwargs={"n_steps": 3, "gamma": 0.8},
        gamma=0.8,
        policy_kwargs={"team": env.team},
        seed=0,
    )
    model.learn(200)
    data = model.replay_buffer.sample(50)
    assert data.discounts.min().item() == pytest.approx(0.8**3)
    values = enumerated(model, model.critic_target, data.next_observations, None)[:, 0].detach()
    targets = data.rewards + (1 - data.dones) * data.discounts * values
    th.testing.assert_close(model.targets(data), targets)


def test_actors_of_their_own_are_a_team():
    model = make("own", "joint")
    team = model.policy.team_policy()
    observations = batch_of(team.team, 50).observations.numpy()
    acts = model.predict(observations, deterministic=True)[0]
    assert (team.predict(observations, deterministic=True)[0] == acts).all()


def test_a_critic_that_is_no_table_is_refused():
    env = joint_vec_env(MatchingGame, 1, seed=0)
    policy = {"team": env.team, "critic_form": "joint"}
    with pytest.raises(ExpertError, match="critic_form: expected additive"):
        ExpectedDDPG("MlpPolicy", env, policy_kwargs=policy, buffer_size=10)
