"""`FactoredDQN` as SB3 users expect an algorithm to behave, and its targets, exploration and views."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.logger import configure

from cesma_sb3.algorithms import FactoredDQN
from cesma_sb3.algorithms.factored_dqn.factored_dqn import spread_of
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.errors import ExpertError, LayoutError, UnknownNameError
from cesma_sb3.experts import SB3Expert
from cesma_sb3.policies.distributions import UNAVAILABLE
from cesma_sb3.spaces.action_views import OneAtATimeActions, ProductActions
from tests.envs_for_tests import MatchingGame, MortalEnv

SMALL = {"learning_rate": 3e-3, "learning_starts": 100, "batch_size": 64, "buffer_size": 5_000}
KINDS = [("joint", "sum"), ("own", "sum"), ("own", "none"), ("own", "monotonic")]


def matching_model(visibility="joint", mixer="sum", **kwargs):
    env = joint_vec_env(MatchingGame, 8, seed=0)
    policy_kwargs = {
        "team": env.team,
        "hidden_sizes": (32, 32),
        "visibility": visibility,
        "mixer": mixer,
    }
    return FactoredDQN("MlpPolicy", env, seed=0, policy_kwargs=policy_kwargs, **{**SMALL, **kwargs})


def spread_model(view="joint", n_agents=3, policy_kwargs=None, **kwargs):
    env = ParticleVecEnv(Spread(n_agents, max_cycles=5), 4, view=view, seed=0)
    policy_kwargs = {"team": env.team, "hidden_sizes": (16, 16), **(policy_kwargs or {})}
    return FactoredDQN("MlpPolicy", env, seed=0, policy_kwargs=policy_kwargs, **{**SMALL, **kwargs})


def joint_observations(model, n=50):
    return np.random.default_rng(0).normal(size=(n, *model.observation_space.shape)).astype(np.float32)


@pytest.mark.parametrize(("visibility", "mixer"), KINDS)
def test_the_target_by_hand(visibility, mixer):
    model = matching_model(visibility, mixer).learn(300)
    with th.no_grad():  # let online and target networks disagree
        for weight in model.policy.q_net.parameters():
            weight.add_(0.3 * th.randn_like(weight))
    data = model.replay_buffer.sample(16)
    q_net, target = model.policy.q_net, model.policy.q_net_target
    for row, wanted in enumerate(model.targets(data)):
        after = data.next_observations[row : row + 1]
        chosen = [column.argmax().item() for column in q_net(after)[0]]
        values = th.stack([target(after)[0, column, best] for column, best in enumerate(chosen)])
        mixed = target.mixer(values[None], after)[0]
        goes_on = 1.0 - data.dones[row].item()
        by_hand = data.rewards[row] + model.gamma * goes_on * mixed
        assert wanted.tolist() == pytest.approx(by_hand.tolist(), abs=1e-5)
    assert model.targets(data).shape == (16, 2 if mixer == "none" else 1)


def test_the_update_regresses_on_the_target():
    model = matching_model(gradient_steps=0, loss="mse", max_grad_norm=None).learn(200)
    model._logger = configure(None, [])
    data = model.replay_buffer.sample(32)
    model.replay_buffer.sample = lambda *args, **kwargs: data
    q_net, targets = model.policy.q_net, model.targets(data)
    before = q_net.mixed(q_net(data.observations), data.actions.long(), data.observations)
    model.train(1, 32)
    logged = model.logger.name_to_value["train/loss"]
    assert logged == pytest.approx((before - targets).square().mean().item(), rel=1e-5)


def test_terminal_states_are_not_valued_and_time_limits_are():
    model = spread_model(gradient_steps=0).learn(100)
    buffer = model.replay_buffer
    ended = buffer.dones[: buffer.pos].astype(bool)
    assert ended.any()
    assert buffer.timeouts[: buffer.pos][ended].all(), "no state of these worlds is final"
    assert not buffer.sample(200).dones.any()
    data = SimpleNamespace(
        next_observations=th.as_tensor(joint_observations(model, 2)),
        rewards=th.ones(2, 1),
        dones=th.tensor([[0.0], [1.0]]),
    )
    goes_on, terminal = model.targets(data).flatten().tolist()
    assert terminal == 1.0
    assert goes_on != 1.0


@pytest.mark.parametrize("network", ["feed-forward", "entities"])
def test_an_agents_greedy_action_depends_on_its_own_observation_alone(network):
    model = spread_model(policy_kwargs={"visibility": "own", "network": network})
    observed = joint_observations(model)
    changed = observed.copy()
    own = model.policy.team.observation_slices[1]
    changed[:, : own.start] += 1.0
    changed[:, own.stop :] -= 1.0
    first, second = (model.predict(o, deterministic=True)[0] for o in (observed, changed))
    np.testing.assert_array_equal(first[:, 1], second[:, 1])
    values, others = (model.policy.read(o)[0] for o in (observed, changed))
    assert not th.equal(values[:, 0], others[:, 0])


@pytest.mark.parametrize("network", ["feed-forward", "entities"])
@pytest.mark.parametrize("mixer", ["sum", "none", "monotonic"])
def test_own_values_become_a_team_that_acts_alike(network, mixer):
    model = spread_model(policy_kwargs={"visibility": "own", "mixer": mixer, "network": network})
    model.learn(200)
    team, observed = model.policy.team_policy(), joint_observations(model)
    wanted = model.predict(observed, deterministic=True)[0]
    np.testing.assert_array_equal(team.predict(observed, deterministic=True)[0], wanted)
    own = observed[:, team.team.observation_slices[2]]
    alone = [team.agent(2).predict(row, deterministic=True)[0] for row in own]
    np.testing.assert_array_equal(alone, wanted[:, 2])


def test_joint_values_cannot_be_taken_apart():
    for model in (spread_model(), spread_model("product", policy_kwargs={"visibility": "own"})):
        with pytest.raises(ExpertError, match="visibility: own"):
            model.policy.team_policy()


@pytest.mark.parametrize("network", ["feed-forward", "entities"])
def test_same_seed_same_weights(network):
    models = [spread_model(policy_kwargs={"network": network}).learn(300) for _ in range(2)]
    first, second = (model.policy.state_dict() for model in models)
    assert all(th.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("visibility", "mixer"), KINDS)
def test_saved_and_loaded_it_acts_the_same_and_goes_on(visibility, mixer, tmp_path):
    model = matching_model(visibility, mixer).learn(400)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    loaded = FactoredDQN.load(tmp_path / "model.zip", env=model.get_env())
    loaded.load_replay_buffer(tmp_path / "buffer.pkl")
    observed = joint_observations(model)
    np.testing.assert_array_equal(
        model.predict(observed, deterministic=True)[0], loaded.predict(observed, deterministic=True)[0]
    )
    assert loaded.value_spread == model.value_spread
    before = loaded.num_timesteps
    loaded.learn(200, reset_num_timesteps=False)
    assert loaded.num_timesteps == before + 200
    assert loaded.policy.optimizer.state, "the optimizer's state came along"


@pytest.mark.parametrize(("visibility", "mixer"), KINDS)
def test_a_policy_is_made_again_from_what_it_says_of_itself(visibility, mixer):
    policy = matching_model(visibility, mixer).policy
    again = type(policy)(**policy._get_constructor_parameters())
    again.load_state_dict(policy.state_dict())
    observed = joint_observations(policy)
    np.testing.assert_array_equal(again.predict(observed)[0], policy.predict(observed)[0])


def test_hard_updates_of_the_target_network():
    model = matching_model(tau=1.0, target_update_interval=1_000_000)
    start = [weight.clone() for weight in model.policy.q_net_target.parameters()]
    model.learn(400)
    unchanged = zip(start, model.policy.q_net_target.parameters(), strict=True)
    assert all(th.equal(before, after) for before, after in unchanged)
    model.target_update_interval = 1
    model.train(1, 64)
    equal = zip(model.policy.q_net.parameters(), model.policy.q_net_target.parameters(), strict=True)
    assert all(th.allclose(online, target) for online, target in equal)


@pytest.mark.parametrize("exploration", ["epsilon-greedy", "noise"])
def test_exploration_anneals(exploration):
    model = matching_model(
        exploration=exploration,
        exploration_fraction=0.5,
        exploration_initial_eps=3.0,
        exploration_final_eps=0,
    )
    rates = [model.exploration_at(progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert rates == pytest.approx([3.0, 1.5, 0.0, 0.0])
    model.learn(400)
    assert model.exploration_rate == 0.0
    observed = np.repeat(joint_observations(model, 1), 400, axis=0)
    greedy = model.predict(observed, deterministic=True)[0]
    np.testing.assert_array_equal(model.predict(observed, deterministic=False)[0], greedy)
    model.exploration_rate = 1.0
    assert (model.predict(observed, deterministic=False)[0] != greedy).mean() > 0.1


def test_epsilon_greedy_columns_explore_apart():
    model = matching_model()
    model.exploration_rate = 0.3
    observed = np.repeat(joint_observations(model, 1), 20_000, axis=0)
    greedy = model.predict(observed, deterministic=True)[0]
    differs = model.predict(observed, deterministic=False)[0] != greedy
    assert differs.mean(axis=0) == pytest.approx([0.2, 0.2], abs=0.015)
    assert differs.all(axis=1).mean() == pytest.approx(0.04, abs=0.01)


def test_noise_is_measured_in_spreads():
    values = th.tensor([[[1.0, 3.0, UNAVAILABLE], [0.0, 4.0, 2.0]]])
    assert spread_of(values).item() == pytest.approx((1.0 + np.std([0, 4, 2])) / 2)
    assert spread_of(th.zeros(2, 1, 1)).item() == 0.0
    model = matching_model(exploration="noise").learn(300)
    assert 0 < model.value_spread < 10


def test_masked_categories_are_never_taken():
    env = joint_vec_env(lambda: MortalEnv(masks=None), 1, seed=0)
    for exploration in ("epsilon-greedy", "noise"):
        policy_kwargs = {"team": env.team, "hidden_sizes": (8,)}
        model = FactoredDQN("MlpPolicy", env, policy_kwargs=policy_kwargs, exploration=exploration, seed=0)
        model.value_spread = 1.0
        masks = np.random.default_rng(0).random((100, env.team.mask_size)) < 0.5
        for where in env.team.column_masks:
            masks[:, where.start] |= ~masks[:, where].any(axis=1)
        for deterministic in (True, False):
            actions, _ = model.predict(
                joint_observations(model, 100), deterministic=deterministic, action_masks=masks
            )
            for column, where in enumerate(env.team.column_masks):
                assert masks[np.arange(100), where.start + actions[:, column]].all()


def test_labels_and_soft_labels_of_a_factored_expert():
    model = spread_model(policy_kwargs={"network": "entities"})
    team, view = model.get_env().team, model.get_env().view
    expert, observed = SB3Expert(model, team, view), joint_observations(model)
    soft = expert.probabilities(observed, temperature=0.1).reshape(-1, 3, 5)
    np.testing.assert_allclose(soft.sum(axis=2), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(soft.argmax(axis=2), expert.labels(observed))
    wanted = th.softmax(model.policy.read(observed)[0] / 0.1, dim=-1)
    np.testing.assert_allclose(soft, wanted.numpy(), rtol=1e-4)


@pytest.mark.parametrize("view", ["product", "one-at-a-time"])
def test_views_of_single_actions_are_one_agents(view):
    model = spread_model(view).learn(200)
    joint = model.get_env()
    assert model.action_space == joint.view.space
    assert model.policy.head.n_columns == 1
    expert, observed = SB3Expert(model, joint.team, joint.view), joint_observations(model)
    assert expert.labels(observed).shape == (50, 3)
    assert model.predict(observed[0], deterministic=True)[0].shape == ()
    soft = expert.probabilities(observed)
    np.testing.assert_allclose(soft.reshape(-1, 3, 5).sum(axis=2), 1.0, rtol=1e-5)
    values = th.softmax(model.policy.read(observed)[0][:, 0], dim=-1).numpy()
    by_hand = np.zeros((50, 3, 5))
    for action, packed in enumerate(joint.view.decode(np.arange(joint.view.space.n))):
        by_hand[:, np.arange(3), packed] += values[:, action, None]
    np.testing.assert_allclose(soft, by_hand.reshape(50, -1), rtol=1e-4, atol=1e-6)


def test_entity_values_one_at_a_time_stand_in_the_views_order():
    model = spread_model("one-at-a-time", 4, {"network": "entities"}).learn(200)
    net, team = model.policy.q_net.net, model.get_env().team
    outputs = th.arange(20.0)[None]
    net.net.forward = lambda observations: outputs
    values = net(th.zeros(1, team.observation_size))[0]
    assert values[0] == outputs.view(4, 5)[:, 0].mean()
    view = OneAtATimeActions(team)
    for action, packed in enumerate(view.decode(np.arange(view.space.n))[1:], start=1):
        (agent,) = np.flatnonzero(packed)
        assert values[action] == values[0] + outputs[0, agent * 5 + packed[agent]]


def test_values_of_combinations_from_entities():
    """Sets are sets: what the values say does not depend on the order of the landmarks."""
    model = spread_model("product", policy_kwargs={"network": "entities"}).learn(200)
    observed, team = joint_observations(model), model.policy.view.team
    assert model.policy.read(observed)[0].shape == (50, 1, 125)
    swapped = observed.copy()
    layout = team.layouts[team.agents[0]].observation
    (landmarks,) = [part for part in layout.parts if part.kind == "entities"]
    for where in team.observation_slices:
        seen = swapped[:, where][:, layout.slice(landmarks.name)].reshape(50, landmarks.count, -1)
        swapped[:, where][:, layout.slice(landmarks.name)] = seen[:, ::-1].reshape(50, -1)
    assert not np.array_equal(swapped, observed)
    values, others = (model.policy.read(each)[0].numpy() for each in (observed, swapped))
    np.testing.assert_allclose(values, others, atol=1e-5)


def test_entities_have_no_values_of_other_actions():
    env = ParticleVecEnv(Spread(2), 1, view="product", seed=0)
    with pytest.raises(ExpertError, match="joint, product or one-at-a-time"):
        FactoredDQN(
            "MlpPolicy", env, policy_kwargs={"team": Spread(3).team(), "network": "entities"}, buffer_size=10
        )
    with pytest.raises(LayoutError):
        spread_model("product", policy_kwargs={"network": "entities", "team": None})


def test_the_team_may_be_left_out():
    model = spread_model("product", policy_kwargs={"team": None}).learn(200)
    assert model.policy.head.column_categories == (ProductActions(model.get_env().team).space.n,)


def test_callbacks_and_logger_work(tmp_path):
    model = matching_model("own", "none")
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(400, log_interval=1)
    model.logger.close()
    header = (tmp_path / "progress.csv").read_text().splitlines()[0]
    names = {"train/loss", "train/value_spread", "rollout/exploration_rate", "rollout/ep_rew_mean"}
    assert names <= set(header.split(","))


def test_bad_names_are_told_of():
    with pytest.raises(UnknownNameError, match="epsilon-greedy"):
        matching_model(exploration="epsilon")
    with pytest.raises(UnknownNameError, match="huber"):
        matching_model(loss="hubber")


def test_a_continuous_action_space_is_refused():
    with pytest.raises(AssertionError, match="only supports"):
        FactoredDQN("MlpPolicy", ParticleVecEnv(Spread(2, continuous_actions=True), 1))
