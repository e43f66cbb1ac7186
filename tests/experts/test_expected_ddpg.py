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
from cesma_sb3.policies import parameter_counts
from tests.envs_for_tests import MatchingGame, MortalEnv

KINDS = pytest.mark.parametrize(
    ("actor", "critic", "values", "share"),
    [
        ("joint", "joint", "summed", False),
        ("joint", "joint", "summed", True),
        ("own", "joint", "summed", False),
        ("own", "own", "summed", False),
        ("own", "own", "each", False),
        ("own", "joint", "each", False),
    ],
)


def make(actor="joint", critic="joint", values="summed", share=False, n_critics=1, **kwargs):
    """Three agents with 3, 4 and 3 actions: 36 joint ones."""
    env = joint_vec_env(lambda: MortalEnv(masks=None), 2, seed=0, team_reward="sum")
    visibility = {"actor_visibility": actor, "critic_visibility": critic, "critic_values": values}
    policy = {"team": env.team, "hidden_sizes": (16,), "share_network": share, **visibility}
    policy["n_critics"] = n_critics
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
    logits = model.actor(observations)
    if model.policy.share_network:  # the target's own
        logits = critics.first.logits(critics.first.table(observations, others))
    policies = [F.softmax(each, dim=1) for each in logits.split(team.output_sizes, dim=1)]
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
@KINDS
def test_the_target_is_that_of_an_enumeration(actor, critic, values, share, n_critics):
    model = make(actor, critic, values, share, 1 if share else n_critics)
    for weight in model.critic_target.parameters():
        th.nn.init.normal_(weight)  # not the critic's own
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


@KINDS
def test_the_gradient_is_that_of_an_enumeration(actor, critic, values, share):
    """The critic follows what was taken, the actor what is expected, and nothing passes between them."""
    model = make(actor, critic, values, share)
    team = model.policy.team
    data = batch_of(team)
    taken, targets = one_hot(data.actions, team), model.targets(data)
    critic_loss = (model.critic(data.observations, taken)[:, 0] - targets).square().mean(dim=0).sum()
    logits = model.actor(data.observations).split(team.output_sizes, dim=1)
    squares = th.stack([each.square().mean() for each in logits])
    if values == "summed":  # the mean over all outputs at once
        squares = squares * th.tensor(team.output_sizes) / team.output_size
    expected = enumerated(model, model.critic, data.observations, taken)
    actor_loss = 0.02 * squares.sum() - expected.mean(dim=0).sum()
    weights = list(dict.fromkeys([*model.actor.parameters(), *model.critic.parameters()]))
    gradients = th.autograd.grad(actor_loss + critic_loss, weights)
    losses = model._update(data.observations, taken, targets)
    assert [loss.item() for loss in losses] == pytest.approx([actor_loss.item(), critic_loss.item()])
    for weight, gradient in zip(weights, gradients, strict=True):
        th.testing.assert_close(weight.grad, gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("share", [False, True])
def test_it_has_no_target_of_the_actor(share, tmp_path):
    model = make(share=share, learning_starts=10).learn(40)
    assert not hasattr(model.policy, "actor_target")
    model.save(tmp_path / "model.zip")
    loaded = ExpectedDDPG.load(tmp_path / "model.zip")
    weights, kept = model.policy.state_dict(), loaded.policy.state_dict()
    assert {name.split(".")[0] for name in weights} == {"actor", "critic", "critic_target"}
    assert all(th.equal(weights[name], kept[name]) for name in weights)
    assert (loaded.actor.optimizer is loaded.critic.optimizer) is share
    observations = th.randn(5, model.policy.team.observation_size)
    assert th.equal(model.actor(observations), loaded.actor(observations))
    counts = parameter_counts(model)
    assert (counts["critic"] == 0) is share


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


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"critic_form": "joint"}, "critic_form: expected additive"),
        (
            {"share_network": True, "actor_visibility": "own"},
            "share_network: expected joint actor_visibility",
        ),
        ({"share_network": True, "n_critics": 2}, "share_network: expected joint actor_visibility"),
        ({"share_network": True, "critic_hidden_sizes": [8]}, "no critic_hidden_sizes"),
    ],
)
def test_what_does_not_go_together_is_refused(policy, message):
    env = joint_vec_env(MatchingGame, 1, seed=0)
    with pytest.raises(ExpertError, match=message):
        ExpectedDDPG("MlpPolicy", env, policy_kwargs={"team": env.team, **policy}, buffer_size=10)
