"""`TeamPPO`: SB3's PPO for a team of one, MAPPO and IPPO for more."""

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure

from cesma_sb3.algorithms import TeamPPO
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.errors import ExpertError
from cesma_sb3.policies import TeamPolicy, load_team, save_team
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MatchingGame, MixedEnv, ReachEnv

SMALL = {"n_steps": 16, "batch_size": 32, "n_epochs": 2, "learning_rate": 3e-3, "gamma": 0.9, "seed": 0}
VALUES = {"MAPPO": "joint", "IPPO": "own"}


def make(env, critic="joint", policy_kwargs=None, algorithm=TeamPPO, **kwargs):
    policy = {
        "team": env.team,
        "critic_visibility": critic,
        "hidden_sizes": (16, 16),
        **(policy_kwargs or {}),
    }
    return algorithm(TeamPolicy, env, policy_kwargs=policy, **{**SMALL, **kwargs})


@pytest.mark.parametrize("critic", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize(
    "arguments",
    [{}, {"clip_range_vf": 0.1, "ent_coef": 0.01}, {"normalize_advantage": False}, {"target_kl": 1e-3}],
    ids=lambda arguments: "+".join(arguments) or "defaults",
)
@pytest.mark.parametrize(
    "env", [lambda: ParticleVecEnv(Spread(1), 4, seed=0), lambda: reach(1)], ids=["spread", "arm"]
)
def test_a_team_of_one_is_trained_as_by_sb3s_ppo(env, critic, arguments, tmp_path):
    states, logged = [], []
    for algorithm in (PPO, TeamPPO):
        model = make(env(), critic, algorithm=algorithm, **arguments)
        model.set_logger(configure(str(tmp_path / algorithm.__name__), ["csv"]))
        states.append(model.learn(256).policy.state_dict())
        model.logger.close()
        header = (tmp_path / algorithm.__name__ / "progress.csv").read_text().splitlines()[0]
        logged.append({key for key in header.split(",") if key.startswith("train/") and key != "train/std"})
    for name, weights in states[0].items():
        th.testing.assert_close(states[1][name], weights, atol=2e-5, rtol=1e-4)
    assert logged[0] == logged[1]


def reach(n_agents):
    return joint_vec_env(lambda: ReachEnv(n_agents), 4, seed=0, team_reward="sum")


def rolled_out(env, critic, **kwargs):
    """A model with a complete rollout that it has not learned from yet."""
    model = make(env, critic, n_epochs=1, learning_rate=0.0, **kwargs)
    model.learn(model.n_steps * env.num_envs)
    return model


def test_log_probabilities_of_agents_add_up():
    team = TeamSpaces.from_parallel_env(MixedEnv())
    th.manual_seed(0)
    policy = TeamPolicy(
        team.observation_space, team.action_space, lambda _: 1e-3, team=team, critic_visibility="own"
    )
    observations = th.randn(20, team.observation_size)
    actions = policy.distribution(observations).sample()

    def by_agent(observations):
        distribution = policy.distribution(observations)
        columns = (distribution.column_log_probs(actions), distribution.column_entropies())
        return policy.agent_values(observations), *map(policy.by_agent, columns)

    values, log_probs, entropies = by_agent(observations)
    assert values.shape == log_probs.shape == entropies.shape == (20, 4)
    joint_values, joint_log_prob, joint_entropy = policy.evaluate_actions(observations, actions)
    th.testing.assert_close(log_probs.sum(dim=1), joint_log_prob)
    th.testing.assert_close(entropies.sum(dim=1), joint_entropy)
    th.testing.assert_close(values.sum(dim=1), joint_values[:, 0])
    # What one agent does and sees is in its own numbers alone.
    other = observations.clone()
    other[:, team.observation_slices[1]] += 1.0
    for before, after in zip((values, log_probs), by_agent(other)[:2], strict=True):
        assert (before[:, 1] != after[:, 1]).any()
        assert th.equal(before[:, [0, 2, 3]], after[:, [0, 2, 3]])


def test_ippos_advantages_are_those_of_a_loop_over_agents_and_steps():
    env = ParticleVecEnv(Spread(3, max_cycles=5), 4, seed=0)
    model = make(env, "own", n_steps=12, batch_size=48, n_epochs=1, learning_rate=0.0)
    steps = []

    class Watch(BaseCallback):
        """Rewards, ends and last observations as the environment gives them."""

        def _on_step(self):
            lasts = [info.get("terminal_observation") for info in self.locals["infos"]]
            obs, rewards = self.model._last_obs.copy(), self.locals["rewards"].copy()
            steps.append((obs, rewards, self.locals["dones"].copy(), lasts, self.locals["new_obs"].copy()))
            return True

    model.learn(48, callback=Watch())

    def values(observations):
        with th.no_grad():
            return model.policy.agent_values(th.as_tensor(observations)).numpy()

    advantages, returns = model.rollout_buffer.advantages, model.rollout_buffer.returns
    running = np.zeros((4, 3))
    for t in reversed(range(12)):
        obs, rewards, dones, lasts, new_obs = steps[t]
        for e in range(4):
            following = values(np.asarray(lasts[e] if dones[e] else new_obs[e])[None])[0]
            delta = rewards[e] + model.gamma * following - values(obs[e][None])[0]
            running[e] = delta + model.gamma * model.gae_lambda * (0.0 if dones[e] else running[e])
        np.testing.assert_allclose(advantages[t], running, atol=2e-5)
        np.testing.assert_allclose(returns[t], running + values(obs), atol=2e-5)
    assert sum(step[2].any() for step in steps) == 2, "episodes were truncated on the way"


def test_mappos_advantage_is_shared():
    model = rolled_out(ParticleVecEnv(Spread(3), 4, seed=0), "joint")
    batch = next(model.rollout_buffer.get())
    assert batch.old_log_prob.shape == (64, 3)
    assert batch.advantages.shape == batch.old_values.shape == (64, 1)


def test_the_first_ratio_is_one_and_the_loss_is_that_of_a_loop_over_agents():
    model = rolled_out(ParticleVecEnv(Spread(3), 4, seed=0), "own", ent_coef=0.01)
    batch = next(model.rollout_buffer.get(32))
    _, log = model._loss(batch, model._distribution(batch))
    assert log["approx_kl"] == pytest.approx(0.0, abs=1e-6)
    with th.no_grad():
        for weight in model.policy.parameters():
            weight.add_(0.05 * th.randn_like(weight))
    distribution = model._distribution(batch)
    loss, _ = model._loss(batch, distribution)
    values = model.policy.agent_values(batch.observations)
    log_probs = model.policy.by_agent(distribution.column_log_probs(batch.actions))
    entropies = model.policy.by_agent(distribution.column_entropies())
    total = 0.0
    for agent in range(3):
        old, returns, advantages = (
            numbers[:, agent] for numbers in (batch.old_log_prob, batch.returns, batch.advantages)
        )
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        ratio = (log_probs[:, agent] - old).exp()
        clipped = ratio.clamp(1 - 0.2, 1 + 0.2)
        total -= th.min(advantages * ratio, advantages * clipped).mean() / 3
        total += 0.5 * (returns - values[:, agent]).square().mean() / 3
        total -= 0.01 * entropies[:, agent].mean() / 3
    th.testing.assert_close(loss, total)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("critic", "network"), [("joint", {"share_parameters": True}), ("own", {})], ids=["MAPPO", "IPPO"]
)
def test_solves_a_matching_game(critic, network):
    env = joint_vec_env(MatchingGame, 8, seed=0)
    model = make(env, critic, network, n_steps=32, batch_size=64, n_epochs=4, gamma=0.5).learn(7_200)
    cues = np.random.default_rng(0).integers(3, size=(100, 2))
    obs = np.eye(3, dtype=np.float32)[cues].reshape(100, -1)
    assert (model.predict(obs, deterministic=True)[0] == cues).mean() == 1.0


@pytest.mark.parametrize("critic", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize(
    ("network", "make_env"),
    [
        ("entities", lambda: ParticleVecEnv(Spread(3), 4, seed=0)),
        ("pooled", lambda: ParticleVecEnv(Spread(3), 4, seed=0)),
        ("pooled", lambda: reach(2)),
        ("feed-forward", lambda: reach(2)),
    ],
)
def test_an_expert_of_any_network_trains_is_saved_and_loaded(critic, network, make_env, tmp_path):
    policy_kwargs = {"network": network, "hidden_sizes": (8, 8), "actor_visibility": "joint"}
    model = make(make_env(), critic, policy_kwargs)
    weights = [weight for weight in model.policy.parameters() if weight.numel()]
    before = [weight.clone() for weight in weights]
    model.learn(128)
    assert not any(map(th.equal, before, weights))
    save_team(model.policy, tmp_path)
    seen = np.stack([model.observation_space.sample() for _ in range(4)])
    expected = model.predict(seen, deterministic=True)[0]
    np.testing.assert_array_equal(load_team(tmp_path).predict(seen, deterministic=True)[0], expected)


@pytest.mark.parametrize("critic", VALUES.values(), ids=VALUES)
def test_same_seed_same_weights_and_saved_and_loaded_it_goes_on(critic, tmp_path):
    models = [make(ParticleVecEnv(Spread(2), 4, seed=0), critic).learn(128) for _ in range(2)]
    first, second = (model.policy.state_dict() for model in models)
    assert all(th.equal(first[name], second[name]) for name in first)
    models[0].save(tmp_path / "model.zip")
    loaded = TeamPPO.load(tmp_path / "model.zip", env=models[0].get_env())
    assert all(th.equal(first[name], loaded.policy.state_dict()[name]) for name in first)
    assert loaded.learn(64, reset_num_timesteps=False).num_timesteps == 128 + 64


def test_a_policy_without_agents_is_refused():
    with pytest.raises(ExpertError, match="policy: ActorCriticPolicy, expected TeamPolicy"):
        TeamPPO(PPO.policy_aliases["MlpPolicy"], "CartPole-v1")
