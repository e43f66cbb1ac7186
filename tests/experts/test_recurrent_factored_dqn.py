"""Double Q-learning on whole episodes: equal to a plain loop, masks kept to, learns what needs a memory."""

import numpy as np
import pytest
import torch as th
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.utils import set_random_seed

from cesma_sb3.algorithms import FactoredDQN, RecurrentFactoredDQN
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.smac import BattleEnv
from cesma_sb3.errors import ExpertError
from cesma_sb3.evaluation import evaluate, policy_actor
from cesma_sb3.experts import RecurrentExpert, SB3Expert, make_actor
from tests.imitation.test_recurrent import Recall, share_right
from tests.starcraft.skirmish import Skirmish, deaths


def battles(n_envs=4, **kwargs):
    return joint_vec_env(lambda: BattleEnv(Skirmish(**kwargs)), n_envs, seed=0)


def agent_of(venv, mixer="sum", visibility="joint", **kwargs):
    policy_kwargs = {
        "team": venv.team,
        "network": "recurrent",
        "hidden_sizes": (16,),
        "share_parameters": True,
        "mixer": mixer,
        "visibility": visibility,
        **kwargs.pop("policy_kwargs", {}),
    }
    settings = {"buffer_size": 2000, "learning_starts": 100, "batch_size": 8, "train_freq": 2, "seed": 0}
    return RecurrentFactoredDQN("MlpPolicy", venv, policy_kwargs=policy_kwargs, **settings | kwargs)


def episodes_of(data):
    """The rows of each episode: those in which somebody acted, and the one that closes it."""
    rows, begin = [[] for _ in range(data.sizes[0])], 0
    for size in data.sizes:
        for b in range(size):
            if not rows[b] or data.acted[rows[b][-1]]:
                rows[b].append(begin + b)
        begin += size
    return rows


@pytest.mark.parametrize("td_lambda", [0.0, 0.6])
@pytest.mark.parametrize(
    ("mixer", "visibility"), [("sum", "joint"), ("sum", "own"), ("none", "own"), ("monotonic", "own")]
)
def test_what_is_regressed_is_that_of_a_plain_loop(mixer, visibility, td_lambda):
    agent = agent_of(battles(), mixer, visibility, loss="mse", td_lambda=td_lambda)
    agent.learn(400)
    q_net, target, head = agent.policy.q_net, agent.policy.q_net_target, agent.policy.head
    data = agent.replay_buffer.sample(6)
    assert len({len(rows) for rows in episodes_of(data)}) > 1, "some episodes are shorter"
    total, count = 0.0, 0
    with th.no_grad():
        for rows in episodes_of(data):
            hidden = aim = q_net.net.initial_state(1)
            values, worth = [], []
            for row in rows:
                now = data.observations[row : row + 1]
                out, hidden = q_net.net.step(now, hidden)
                values.append(head.logits(out, data.masks[row : row + 1]))
                out, aim = target.net.step(now, aim)
                worth.append(target.mixed(head.logits(out), values[-1].argmax(dim=-1), now))
            wanted = worth[-1]
            for t in reversed(range(len(rows) - 1)):
                row = slice(rows[t], rows[t] + 1)
                future = (1 - td_lambda) * worth[t + 1] + td_lambda * wanted
                wanted = data.rewards[row] + (1 - data.terminated[row]) * agent.gamma * future
                chosen = q_net.mixed(values[t], data.actions[row], data.observations[row])
                total += float((chosen - wanted).square().sum())
                count += 1
    assert float(agent._loss(data)[0].detach()) == pytest.approx(total / count, rel=1e-4)


def test_a_lambda_out_of_its_range_is_refused():
    with pytest.raises(ValueError, match=r"td_lambda=1\.5: expected a number from 0 to 1"):
        agent_of(battles(), td_lambda=1.5)


def test_the_buffer_holds_what_happened():
    venv = battles(2, n_allies=1, n_enemies=2, episode_limit=7)
    agent = agent_of(venv, learning_starts=10**6)
    seen = []
    step = venv.step_wait

    def watched():
        result = step()
        seen.append(result)
        return result

    venv.step_wait = watched
    agent.learn(400)
    happened, start = set(), {0: 0, 1: 0}
    for t, (_, _, dones, infos) in enumerate(seen):
        for env in np.flatnonzero(dones):
            rewards = tuple(float(seen[s][1][env]) for s in range(start[env], t + 1))
            start[env], info = t + 1, infos[env]
            last = (info["terminal_observation"].tobytes(), info["action_mask"].tobytes())
            happened.add((rewards, *last, not info["TimeLimit.truncated"]))
    assert {over for *_, over in happened} == {True, False}
    data, kept = agent.replay_buffer.sample(64), set()
    for rows in episodes_of(data):
        assert not data.terminated[rows[:-2]].any()
        rewards = tuple(data.rewards[rows[:-1], 0].tolist())
        last = (data.observations[rows[-1]].numpy().tobytes(), data.masks[rows[-1]].numpy().tobytes())
        kept.add((rewards, *last, bool(data.terminated[rows[-2]])))
    assert kept <= happened
    assert len(kept) > 5


@pytest.mark.parametrize("network", [{}, {"network": "feed-forward", "hidden_sizes": (16,)}])
def test_nothing_unavailable_is_ever_done(network):
    """The battle refuses what is not available: thousands of steps, with deaths."""
    venv = battles(n_allies=3, n_enemies=3)
    died = deaths(venv)
    agent = agent_of(venv, policy_kwargs=network, exploration_fraction=0.5)
    agent.learn(1200)
    assert sum(died) > 150
    act = make_actor(SB3Expert(agent, venv.team, venv.view))
    assert evaluate(act, venv, n_eval_episodes=20, seed=1).lengths.sum() > 50


@pytest.mark.no_cover
def test_values_with_a_memory_learn_what_needs_one():
    venv = joint_vec_env(Recall, 8, seed=0)
    settings = {"learning_rate": 5e-3, "gamma": 0.5, "tau": 0.05, "batch_size": 32, "train_freq": 4}
    agent = agent_of(venv, "sum", "own", **settings, exploration_fraction=0.5)
    agent.learn(7_200)
    assert share_right(venv, make_actor(SB3Expert(agent, venv.team, venv.view))) > 0.95
    team = agent.policy.team_policy()  # VDN: its agents act by themselves
    assert share_right(venv, policy_actor(team)) > 0.95


def test_exploration_falls_with_episodes():
    agent = agent_of(battles(), exploration_episodes=10, exploration_fraction=0.3)
    agent.learn(600)
    assert agent._episode_num > 10
    assert agent.exploration_rate == pytest.approx(agent.exploration_final_eps)
    halfway = agent_of(battles(), exploration_episodes=2 * agent._episode_num)
    halfway.learn(600)
    assert halfway.exploration_final_eps < halfway.exploration_rate < halfway.exploration_initial_eps


def test_saved_and_loaded(tmp_path):
    venv = battles()
    agent = agent_of(venv)
    agent.learn(300)
    agent.save(tmp_path / "model")
    loaded = RecurrentFactoredDQN.load(tmp_path / "model", env=venv)
    observations, masks = venv.reset(), venv.agent_masks
    one, state = agent.predict(observations, deterministic=True, action_masks=masks)
    two, other = loaded.predict(observations, deterministic=True, action_masks=masks)
    assert np.array_equal(one, two)
    assert np.array_equal(state[0], other[0])
    loaded.learn(100)


def test_the_same_seed_gives_the_same_values():
    def weights():
        set_random_seed(1)
        agent = agent_of(battles())
        agent.learn(400)
        return th.cat([p.detach().flatten() for p in agent.policy.q_net.parameters()])

    assert th.equal(weights(), weights())


def test_a_memory_needs_episodes():
    venv = battles()
    with pytest.raises(ExpertError, match="network recurrent: expected RecurrentFactoredDQN"):
        FactoredDQN(
            "MlpPolicy", venv, policy_kwargs={"team": venv.team, "network": "recurrent", "hidden_sizes": (8,)}
        )


def test_sb3_contribs_recurrent_ppo_is_an_expert_with_a_memory():
    venv = joint_vec_env(Recall, 4, seed=0)
    model = RecurrentPPO("MlpLstmPolicy", venv, n_steps=16, batch_size=64, seed=0)
    model.learn(128)
    expert = SB3Expert(model, venv.team, venv.view)
    assert isinstance(expert, RecurrentExpert)
    observations = venv.reset()
    act, later = make_actor(expert), make_actor(expert)
    assert np.array_equal(act(observations, None), expert.labels(observations))
    later(observations, None)
    state = later.state
    later.reset(np.array([True, False, False, False]))
    later(observations, None)
    first, _ = model.predict(observations, None, np.ones(4, dtype=bool), deterministic=True)
    assert np.array_equal(expert.labels(observations), venv.view.decode(first))
    assert np.allclose(later.state[0][:, 0], state[0][:, 0])  # begun anew
    assert not np.allclose(later.state[0][:, 1], state[0][:, 1])
    plain = agent_of(battles(), policy_kwargs={"network": "feed-forward"})
    assert not isinstance(SB3Expert(plain, plain.env.team, plain.env.view), RecurrentExpert)
