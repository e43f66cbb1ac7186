"""Both forms of DDPG for discrete actions as SB3 users expect an algorithm to behave."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.envs import FakeImageEnv, IdentityEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.nn import functional as F

from cesma_sb3.algorithms import ExpectedDDPG, GumbelSoftmaxDDPG
from cesma_sb3.algorithms.ddpg.policies import gumbel_noise
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.errors import SpaceError
from tests.envs_for_tests import MatchingGame

SMALL = {"learning_rate": 3e-3, "gamma": 0.0, "learning_starts": 200, "batch_size": 64, "buffer_size": 5_000}
FORMS = pytest.mark.parametrize("form", [GumbelSoftmaxDDPG, ExpectedDDPG])


def matching_model(form=GumbelSoftmaxDDPG, **kwargs):
    env = joint_vec_env(MatchingGame, 8, seed=0)
    arguments = {
        "policy_kwargs": {"hidden_sizes": (32, 32), "team": env.team},
        "gradient_steps": 2,
        **SMALL,
        **kwargs,
    }
    return form("MlpPolicy", env, seed=0, **arguments)


def hit_rate(model):
    cues = np.random.default_rng(0).integers(3, size=(100, 2))
    obs = np.eye(3, dtype=np.float32)[cues].reshape(100, -1)
    return (model.predict(obs, deterministic=True)[0] == cues).mean()


@pytest.mark.no_cover
@pytest.mark.parametrize(("form", "timesteps"), [(GumbelSoftmaxDDPG, 3_000), (ExpectedDDPG, 1_600)])
def test_solves_a_matching_game(form, timesteps):
    assert hit_rate(matching_model(form).learn(timesteps)) == 1.0


@pytest.mark.no_cover
def test_solves_it_with_one_network_for_actor_and_critic():
    env = joint_vec_env(MatchingGame, 8, seed=0)
    policy_kwargs = {"team": env.team, "hidden_sizes": (32, 32), "share_network": True}
    assert hit_rate(matching_model(ExpectedDDPG, policy_kwargs=policy_kwargs).learn(1_600)) == 1.0


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("form", "critic", "values", "kwargs"),
    [
        (GumbelSoftmaxDDPG, "joint", "summed", {"straight_through": False}),
        (ExpectedDDPG, "joint", "summed", {}),
        (ExpectedDDPG, "own", "summed", {}),
        (ExpectedDDPG, "joint", "each", {"logit_penalty": 0.03}),
        pytest.param(GumbelSoftmaxDDPG, "own", "summed", {"straight_through": True}, marks=pytest.mark.slow),
    ],
)
def test_solves_it_with_decentralized_actors(form, critic, values, kwargs):
    env = joint_vec_env(MatchingGame, 8, seed=0)
    policy_kwargs = {
        "team": env.team,
        "hidden_sizes": (32, 32),
        "actor_visibility": "own",
        "critic_visibility": critic,
        "critic_values": values,
    }
    model = matching_model(form, policy_kwargs=policy_kwargs, **kwargs).learn(1_600)
    assert hit_rate(model) == 1.0


@pytest.mark.no_cover
@FORMS
def test_solves_sb3s_identity_environment_which_is_discrete(form):
    env = DummyVecEnv([lambda: OneHotIdentity(4)] * 4)
    model = form("MlpPolicy", env, seed=0, policy_kwargs={"hidden_sizes": (32,)}, **SMALL)
    model.learn(1_200)
    assert evaluate_policy(model, env, n_eval_episodes=5, warn=False)[0] > 90


class OneHotIdentity(IdentityEnv):
    """SB3's identity environment with the state as a vector."""

    def __init__(self, dim):
        super().__init__(dim=dim)
        self.observation_space = spaces.Box(0.0, 1.0, (dim,), np.float32)

    def reset(self, **kwargs):
        state, info = super().reset(**kwargs)
        return self.one_hot(state), info

    def step(self, action):
        state, *rest = super().step(action)
        return (self.one_hot(state), *rest)

    def one_hot(self, state):
        return np.eye(int(self.action_space.n), dtype=np.float32)[state]


@FORMS
def test_same_seed_same_weights(form):
    first, second = (matching_model(form).learn(600).policy.state_dict() for _ in range(2))
    assert all(th.equal(first[name], second[name]) for name in first)


@FORMS
def test_saved_and_loaded_it_acts_the_same_and_goes_on(form, tmp_path):
    model = matching_model(form).learn(800)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    loaded = form.load(tmp_path / "model.zip", env=model.get_env())
    loaded.load_replay_buffer(tmp_path / "buffer.pkl")
    obs = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    np.testing.assert_array_equal(
        model.predict(obs, deterministic=True)[0], loaded.predict(obs, deterministic=True)[0]
    )
    before = loaded.num_timesteps
    loaded.learn(400, reset_num_timesteps=False)
    assert loaded.num_timesteps == before + 400
    assert loaded.critic.optimizer.state, "the optimizer's state came along"


@FORMS
def test_callbacks_and_logger_work(form, tmp_path):
    steps = []

    class Count(BaseCallback):
        def _on_step(self):
            steps.append(self.num_timesteps)
            return self.num_timesteps < 400

    model = matching_model(form)
    model.set_logger(configure(str(tmp_path), ["csv"]))
    model.learn(2_000, callback=Count(), log_interval=1)
    model.logger.close()
    assert steps[-1] == 400, "the callback ended the training"
    header = (tmp_path / "progress.csv").read_text().splitlines()[0]
    assert {"train/actor_loss", "train/critic_loss", "rollout/ep_rew_mean"} <= set(header.split(","))


@FORMS
def test_exploration_is_the_policys_own_distribution(form):
    model = matching_model(form)
    with th.no_grad():
        obs = th.rand(1, 6)
        probabilities = F.softmax(model.policy.logits(obs), dim=-1)[0]
        draws = model.policy._predict(obs.expand(20_000, -1))
    for column in range(2):
        frequency = th.bincount(draws[:, column], minlength=3) / len(draws)
        assert frequency.numpy() == pytest.approx(probabilities[column].numpy(), abs=0.015)


def test_gumbel_noise_is_gumbel():
    th.manual_seed(0)
    noise = gumbel_noise(th.empty(100_000))
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert noise.var().item() == pytest.approx(np.pi**2 / 6, abs=0.05)
    assert th.isfinite(noise).all()


def test_the_straight_through_sample_is_one_hot_and_passes_the_relaxed_gradient():
    model = matching_model()
    logits = th.randn(5, 6, requires_grad=True)
    hard = model._relaxed(logits, hard=True)
    assert th.equal(hard.detach().round(), hard.detach())
    assert th.equal(hard.detach().view(5, 2, 3).sum(-1), th.ones(5, 2))
    (hard * th.randn(5, 6)).sum().backward()
    assert logits.grad.abs().sum() > 0


@FORMS
def test_truncated_episodes_are_bootstrapped(form):
    env = ParticleVecEnv(Spread(2, max_cycles=4), 2, seed=0)
    model = form("MlpPolicy", env, learning_starts=1_000, buffer_size=100, seed=0)
    model.learn(40)
    buffer = model.replay_buffer
    ended = buffer.dones[: buffer.pos].astype(bool)
    assert ended.sum() == 10
    assert buffer.timeouts[: buffer.pos][ended].all(), "no state of these worlds is final"


@FORMS
def test_a_continuous_action_space_is_refused(form):
    with pytest.raises(AssertionError, match="only supports"):
        form("MlpPolicy", ParticleVecEnv(Spread(2, continuous_actions=True), 1))


@FORMS
def test_spaces_that_are_not_the_teams_are_refused(form):
    """Also where one network would read what another team's is as wide as."""
    venv, product = (joint_vec_env(MatchingGame, 1, seed=0, view=view) for view in ("joint", "product"))
    with pytest.raises(
        SpaceError, match=r"action space Discrete\(9\) is not the team's, which is Multi.*joint$"
    ):
        form("MlpPolicy", product, policy_kwargs={"team": product.team}, buffer_size=10)
    other = joint_vec_env(lambda: MatchingGame(3, 2), 1, seed=0)
    for team in (other.team, joint_vec_env(lambda: MatchingGame(3), 1).team):
        with pytest.raises(SpaceError, match=r"(action space .* is not the team's|observation space)"):
            form("MlpPolicy", venv, policy_kwargs={"team": team}, buffer_size=10)
    images = FakeImageEnv(screen_height=8, screen_width=8, n_channels=3, discrete=True)
    with pytest.raises(SpaceError, match=r"observation space Box.*, expected a Box of shape \(192,\)$"):
        form("MlpPolicy", images, buffer_size=10)
    one = form("MlpPolicy", product, buffer_size=10)  # without a team: one agent that sees everything
    assert one.policy.team.n_agents == 1


@FORMS
@pytest.mark.parametrize(
    "wrong", [{"tau": 0.0}, {"tau": 1.5}, {"tau": np.nan}, {"batch_size": 0}, {"max_grad_norm": -1.0}]
)
def test_numbers_out_of_their_range_are_refused(form, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"^{name}=.*: expected "):
        matching_model(form, **wrong)
