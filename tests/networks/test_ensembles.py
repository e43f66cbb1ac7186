"""Ensembles of teams: who acts when, agents apart, what is remembered, and storage."""

import json

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import Spread
from cesma_sb3.errors import SpaceError, StorageError
from cesma_sb3.evaluation import evaluate, policy_actor
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.policies.ensembles import MixturePolicy, SequencePolicy
from cesma_sb3.policies.save_util import ENSEMBLE, load_team, save_team
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MatchingGame, MixedEnv, MortalEnv

TEAMS = {
    "alike": lambda: Spread(3).team(),
    "mixed actions": lambda: TeamSpaces.from_parallel_env(MixedEnv()),
    "masked, unequal": lambda: TeamSpaces.from_parallel_env(MortalEnv()),
    "continuous": lambda: Spread(2, continuous_actions=True).team(),
}
ENSEMBLES = {
    "sequence": SequencePolicy,
    "mixture": lambda components: MixturePolicy(components, [0.5, 0.3, 0.2], seed=3),
    "mixture of the team": lambda components: MixturePolicy(
        components, [0.5, 0.3, 0.2], per_agent=False, seed=3
    ),
}


def make_policy(team, seed):
    th.manual_seed(seed)
    return TeamPolicy(
        team.observation_space, team.action_space, lambda _: 1e-3, team=team, hidden_sizes=(16,)
    )


def make_components(team, n=3):
    return [make_policy(team, seed) for seed in range(n)]


def observations(team, batch, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, team.observation_size)).astype(np.float32)


@pytest.fixture(params=TEAMS)
def team(request):
    return TEAMS[request.param]()


@pytest.fixture(params=ENSEMBLES)
def make(request):
    return ENSEMBLES[request.param]


def test_an_agents_action_depends_on_its_own_observation_alone(team, make):
    components = make_components(team)
    obs = observations(team, 30)
    actions = make(components).actor()(obs, None)
    for i, (seen, does) in enumerate(zip(team.observation_slices, team.action_columns, strict=True)):
        others_changed = observations(team, 30, seed=1 + i)
        others_changed[:, seen] = obs[:, seen]
        again = make(components).actor()(others_changed, None)
        np.testing.assert_allclose(again[:, does], actions[:, does], atol=1e-5)


def test_a_sequence_acts_by_the_step_of_each_world(team):
    components = make_components(team)
    policy = SequencePolicy(components)
    obs, starts = observations(team, 4), np.array([False, True, False, False])
    state = None
    for t in range(5):
        actions, state = policy.predict(obs, state, starts if t == 2 else None, deterministic=True)
        for world in range(4):
            step = t - 2 if world == 1 and t >= 2 else t
            wanted = components[min(step, 2)].predict(obs[world], deterministic=True)[0]
            np.testing.assert_allclose(actions[world], wanted, atol=1e-5)


def test_an_evaluation_begins_each_world_when_its_episode_does():
    lengths = (2, 3)
    number = iter(lengths)
    venv = joint_vec_env(lambda: MatchingGame(length=next(number)), 2, seed=0)
    seen = []

    class Spy(SequencePolicy):
        def _chosen(self, steps, rng):
            seen.append(steps.tolist())
            return super()._chosen(steps, rng)

    evaluate(policy_actor(Spy(make_components(venv.team))), venv, n_eval_episodes=4, seed=0)
    assert seen == [[0, 0], [1, 1], [0, 2], [1, 0], [0, 1], [1, 2]]


@pytest.mark.parametrize("per_agent", [True, False])
def test_a_mixture_draws_each_component_by_its_weight(per_agent):
    team = Spread(3).team()
    weights = np.array([0.6, 0.0, 0.4])
    policy = MixturePolicy(make_components(team), weights, per_agent=per_agent)
    chosen = policy._chosen(np.zeros(20_000, dtype=np.int64), np.random.default_rng(0))
    counts = np.bincount(chosen.ravel(), minlength=3) / chosen.size
    np.testing.assert_allclose(counts, weights, atol=0.02)
    assert counts[1] == 0.0
    if per_agent:
        assert (chosen[:, 0] != chosen[:, 1]).mean() > 0.4
    else:
        assert chosen.shape == (20_000, 1)


def test_agents_alone_act_as_the_team_does(make):
    team = Spread(3).team()
    policy = make(make_components(team))
    agents = [policy.agent(name) for name in team.agents]
    states, actor = [None] * 3, policy.actor()
    told_apart = False
    for t in range(20):
        obs = observations(team, 1, seed=t)
        together = actor(obs, None)[0]
        alone = []
        for i, (agent, seen) in enumerate(zip(agents, team.observation_slices, strict=True)):
            action, states[i] = agent.predict(obs[0, seen], states[i], deterministic=True)
            alone.append(int(action))
        told_apart |= together.tolist() != alone
    # Where each draws for itself, they draw by generators of their own; otherwise they agree at every step.
    assert told_apart == (isinstance(policy, MixturePolicy) and policy.per_agent)


def test_a_single_observation_and_masks():
    env = MortalEnv()
    team = TeamSpaces.from_parallel_env(env)
    policy = MixturePolicy(make_components(team))
    obs = observations(team, 50)
    masks = np.ones((50, team.mask_size), dtype=bool)
    for where in team.column_masks:
        masks[:, where.start] = False
    assert policy.predict(obs, action_masks=masks)[0].min() >= 1
    action, state = policy.predict(obs[0], action_masks=masks[0])
    assert action.shape == (team.n_columns,)
    assert state[0].tolist() == [1]


def test_the_same_every_time_an_actor_is_asked(make):
    venv = joint_vec_env(MatchingGame, 4, seed=0)
    act = policy_actor(make(make_components(venv.team)))
    first, second = (evaluate(act, venv, n_eval_episodes=12, seed=1).team for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_save_and_load(tmp_path, team, make):
    policy = make(make_components(team))
    save_team(policy, tmp_path / "students")
    loaded = load_team(tmp_path / "students")
    assert type(loaded) is type(policy)
    assert len(loaded) == 3
    first, second, obs = policy.actor(), loaded.actor(), observations(team, 10)
    for _ in range(4):
        np.testing.assert_array_equal(first(obs, None), second(obs, None))


def test_a_team_alone_is_loaded_too(tmp_path):
    save_team(make_policy(Spread(2).team(), 0), tmp_path)
    assert isinstance(load_team(tmp_path), TeamPolicy)


FAULTS = {
    "format": (2, "not an ensemble of format 1"),
    "kind": ("orchestra", "unknown kind 'orchestra'; allowed: mixture, sequence"),
    "n_components": (4, "component-0003: holds no team"),
    "weights": ([0.5, 0.5], "2 weights for 3 components"),
    "per_agent": (None, "the key 'per_agent' is missing"),
}


@pytest.mark.parametrize("key", FAULTS)
def test_what_is_wrong_with_a_file_is_one_line(tmp_path, key):
    save_team(MixturePolicy(make_components(Spread(2).team())), tmp_path)
    value, message = FAULTS[key]
    description = json.loads((tmp_path / ENSEMBLE).read_text())
    if value is None:
        del description[key]
    else:
        description[key] = value
    (tmp_path / ENSEMBLE).write_text(json.dumps(description))
    with pytest.raises(StorageError, match=message) as raised:
        load_team(tmp_path)
    assert "\n" not in str(raised.value)


def test_components_of_different_teams_are_refused():
    with pytest.raises(SpaceError, match="component 1 is of another team"):
        SequencePolicy([make_policy(Spread(2).team(), 0), make_policy(Spread(3).team(), 0)])
    with pytest.raises(SpaceError, match="no components"):
        MixturePolicy([])


@given(st.lists(st.floats(-1, 2), min_size=2, max_size=2))
@settings(max_examples=50, deadline=None)
def test_weights_are_a_distribution_or_refused(weights):
    components = make_components(Spread(1).team(), 2)
    if min(weights) >= 0 and abs(sum(weights) - 1) < 1e-6:
        assert MixturePolicy(components, weights).weights.tolist() == weights
    else:
        with pytest.raises(ValueError, match="weights"):
            MixturePolicy(components, weights)


def test_weights_of_an_earlier_time_bring_back_as_many_components(make):
    team = Spread(2).team()
    policy = make(make_components(team))
    before = {name: t.clone() for name, t in policy.state_dict().items()}
    obs = observations(team, 10)
    actions = policy.actor()(obs, None)
    others = [make_policy(team, seed) for seed in range(5, 10)]
    if isinstance(policy, SequencePolicy):
        for step, component in enumerate(others):
            policy.set(step, component)
    else:
        policy.set(others, [0.2] * 5)
    assert len(policy) == 5
    policy.load_state_dict(before)
    assert len(policy) == 3
    np.testing.assert_array_equal(policy.actor()(obs, None), actions)
    empty = make(make_components(team))
    empty.components = empty.components[:1]
    empty.load_state_dict(before)
    np.testing.assert_array_equal(empty.actor()(obs, None), actions)
