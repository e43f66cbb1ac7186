"""Returns against a literal loop, and episodes counted fairly."""

import numpy as np
import pytest
from stable_baselines3 import PPO

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.evaluation import evaluate, normalized, random_actor
from cesma_sb3.experts import ScriptedNavigationExpert, adapt_expert
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MatchingGame, MixedEnv, MortalEnv


def test_equals_stepping_by_hand():
    env = ParticleVecEnv(Spread(3), 5, seed=0)
    expert = ScriptedNavigationExpert(env.team, env.scenario.agents)
    found = evaluate(expert.labels, env, n_eval_episodes=10, seed=3)

    env.seed(3)
    observations, totals, running = env.reset(), [], np.zeros(5)
    for step in range(50):
        observations, rewards, dones, _ = env.step(expert.labels(observations))
        running += rewards
        if (step + 1) % 25 == 0:
            totals.append(running.copy())
            running[:] = 0
            assert dones.all()
    np.testing.assert_allclose(found.team, np.array(totals).T.ravel(), rtol=1e-5)
    assert found.mean == pytest.approx(np.mean(totals))
    assert set(found.lengths) == {25}


def test_policies_with_one_seed_meet_the_same_states():
    env = ParticleVecEnv(Spread(2), 4, seed=0)

    def idle(observations, masks):
        return np.zeros((len(observations), 2), dtype=np.int64)

    first, second = (
        evaluate(idle, env, n_eval_episodes=8, seed=1),
        evaluate(idle, env, n_eval_episodes=8, seed=1),
    )
    assert np.array_equal(first.team, second.team)
    assert not np.array_equal(first.team, evaluate(idle, env, n_eval_episodes=8, seed=2).team)


def test_short_episodes_are_not_counted_more_often():
    lengths = (1, 9)
    number = iter(lengths)
    env = joint_vec_env(lambda: MatchingGame(length=next(number)), 2, seed=0)
    found = evaluate(lambda obs, _: np.zeros((2, 2), dtype=np.int64), env, n_eval_episodes=6)
    assert sorted(found.lengths) == [1, 1, 1, 9, 9, 9]
    assert len(evaluate(lambda obs, _: np.zeros((2, 2), dtype=np.int64), env, n_eval_episodes=5).team) == 5


def test_each_agents_own_return_is_kept():
    env = joint_vec_env(MortalEnv, 3, seed=0, team_reward="sum")
    found = evaluate(random_actor(env.team, np.random.default_rng(0)), env, n_eval_episodes=6)
    np.testing.assert_allclose(sum(found.agents.values()), found.team, rtol=1e-5)


def test_random_is_uniform_over_what_is_available():
    team = TeamSpaces.from_parallel_env(MortalEnv())
    act = random_actor(team, np.random.default_rng(0))
    masks = np.tile(
        team.join_masks(
            {
                a: [True, False, True] + [True] * (n - 3)
                for a, n in zip(team.agents, team.output_sizes, strict=True)
            }
        ),
        (6_000, 1),
    )
    actions = act(np.zeros((6_000, team.observation_size), dtype=np.float32), masks)
    for column, n in enumerate(team.column_categories):
        counts = np.bincount(actions[:, column], minlength=n)
        assert counts[1] == 0
        expected = 6_000 / (n - 1)
        assert np.abs(counts[counts > 0] - expected).max() < 5 * np.sqrt(expected)


def test_random_numbers_fill_their_bounds():
    team = TeamSpaces.from_parallel_env(MixedEnv())
    actions = random_actor(team, np.random.default_rng(0))(np.zeros((500, team.observation_size)), None)
    assert all(team.action_space.contains(action) for action in actions)
    continuous = [c for c, k in enumerate(team.column_categories) if k == 0]
    assert (actions[:, continuous].std(axis=0) > 0.5).all()


def test_normalized_score():
    assert normalized(-52.0, random=-52.0, reference=-15.0) == 0
    assert normalized(-15.0, random=-52.0, reference=-15.0) == 1
    assert np.isnan(normalized(1.0, random=2.0, reference=2.0))
    with pytest.raises(ValueError, match="n_eval_episodes=0"):
        evaluate(lambda obs, _: obs, ParticleVecEnv(Spread(2), 1), n_eval_episodes=0)


def test_policies_experts_and_models_are_evaluated_as_their_actors():
    env = joint_vec_env(MatchingGame, 4, seed=0)
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=8, seed=0, device="cpu")
    expert = adapt_expert(model, env.team)
    students = TeamPolicy(env.team.observation_space, env.team.action_space, lambda _: 1e-3, team=env.team)

    def returns_of(policy, **kwargs):
        return evaluate(policy, env, n_eval_episodes=12, seed=3, **kwargs).team.tolist()

    assert returns_of(model) == returns_of(expert) == returns_of(expert.labels)
    assert returns_of(students) == returns_of(students.actor())
    for policy in (model, students):
        assert returns_of(policy, deterministic=False) == returns_of(policy, deterministic=False)
        assert returns_of(policy, deterministic=False) != returns_of(policy)
    assert returns_of(expert, deterministic=False) == returns_of(expert.sampler(np.random.default_rng(3)))
