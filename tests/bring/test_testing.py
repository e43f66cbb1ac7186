"""The checks pass what is right, and tell what is wrong."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.smac import battle_env
from cesma_sb3.errors import CesmaError
from cesma_sb3.experts import adapt_expert, reference_expert
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.policies.stateful_actor import MemoryActor
from cesma_sb3.testing import check_environment, check_expert, check_team
from tests.bring import controllers
from tests.envs_for_tests import FaultyEnv, MatchingGame, MixedEnv, MortalEnv, ReachEnv
from tests.joint.test_answers import Answering, Duck

ENV = "tests.envs_for_tests:MatchingGame"


class Unseeded(MatchingGame):
    """Draws from a generator that no seed reaches."""

    def begin(self):
        self.cues = {agent: int(np.random.default_rng().integers(3)) for agent in self.possible_agents}


@pytest.mark.parametrize(
    ("make", "reward"),
    [(MatchingGame, "shared"), (MixedEnv, "shared"), (ReachEnv, "sum"), (MortalEnv, "sum")],
)
def test_right_environments(make, reward):
    assert (
        check_environment(make, team_reward=reward, n_steps=40)
        == make_vec_env(f"tests.envs_for_tests:{make.__name__}", team_reward=reward).team
    )


def test_a_battle_is_right():
    check_environment(lambda: battle_env("smac-like:tests.starcraft.skirmish:Skirmish"), n_steps=60)


def test_an_environment_that_no_seed_reaches():
    with pytest.raises(AssertionError, match=r"at step \d+: two environments with seed 0"):
        check_environment(Unseeded)


@pytest.mark.parametrize("fault", ["nan", "shape", "vanish", "raise"])
def test_faults_are_told(fault):
    with pytest.raises(CesmaError):
        check_environment(lambda: FaultyEnv(fault))


class ComesLate(MatchingGame):
    """The second agent is not there when an episode begins, and leaves and comes back later."""

    def __init__(self):
        super().__init__(length=8)

    def begin(self):
        super().begin()
        self.agents = ["player_0"] if self.t in (0, 1, 4, 5) else ["player_1", "player_0"]

    def step(self, actions):
        assert set(actions) == set(self.agents)
        acted, self.t = self.agents, self.t + 1
        self.begin()
        over = self.t == self.length
        seen = {agent: self.observe(agent) for agent in self.agents}
        self.agents = [] if over else self.agents
        return seen, dict.fromkeys(acted, 1), dict.fromkeys(acted, False), dict.fromkeys(acted, over), {}


class PlainArrays(MatchingGame):
    """Rewards and flags as arrays of one entry, spaces made anew at every call, resets without options."""

    def observation_space(self, agent):
        return spaces.Box(0.0, 1.0, (self.n_cues,), np.float32)

    def reset(self, seed=None):
        return super().reset(seed)

    def step(self, actions):
        seen, rewards, *flags, _ = super().step(actions)
        return (
            seen,
            *({a: np.array([value]) for a, value in each.items()} for each in (rewards, *flags)),
            None,
        )


class NeverEnds(MatchingGame):
    def __init__(self):
        super().__init__(length=10**18)


@pytest.mark.parametrize("make", [ComesLate, PlainArrays, NeverEnds, Duck])
def test_what_a_run_takes_is_right(make):
    assert check_environment(make, n_steps=30) == joint_vec_env(make).team


class EndsForAll(MatchingGame):
    def step(self, actions):
        *parts, terminations, truncations, infos = super().step(actions)
        return *parts, {**terminations, "__all__": self.t == 4}, truncations, infos


def one_for_all():
    return ONE


ONE = MatchingGame()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (EndsForAll, "environment 0: small, step 1: terminations have the key '__all__', which is no agent"),
        (one_for_all, "environments 0 and 1 are one and the same object"),
        (
            lambda: Answering("rewards", [1, 1]),
            r"environment 0: small, step 2: rewards are \[1, 1\], expected",
        ),
        (lambda: Duck(action_space=None), "environment 0: Duck: its action_space is None"),
    ],
)
def test_what_a_run_refuses_is_refused_in_its_words(make, message):
    for refuse in (check_environment, partial(play, n_steps=5)):
        with pytest.raises(CesmaError, match=message) as told:
            refuse(make)
        assert "\n" not in str(told.value)


def play(make, n_steps):
    venv = joint_vec_env(make, 2, seed=0)
    venv.reset()
    for _ in range(n_steps):
        venv.step(np.zeros((2, 2), int))


@pytest.mark.parametrize("name", ["spread", "speaker-listener"])
def test_right_experts(name):
    venv = make_vec_env(name, n_envs=3, seed=0)
    check_expert(reference_expert(venv), venv)


def test_a_right_expert_with_soft_labels_and_with_masks():
    venv = make_vec_env(ENV, n_envs=3, seed=0)
    check_expert(adapt_expert(lambda seen: 3 * seen, venv.team, outputs="logits"), venv)
    venv = make_vec_env("smac-like:tests.starcraft.skirmish:Skirmish", n_envs=3, seed=0)
    check_expert(reference_expert(venv), venv)


class Wrong(controllers.Shifted):
    """An expert with a fault."""

    def __init__(self, team, fault):
        super().__init__(team)
        self.fault = fault

    def labels(self, observations, masks=None):
        labels = super().labels(observations)
        if self.fault == "writes":
            observations[:] = 0
        return {
            "shape": labels[:, :1],
            "category": labels + 3,
            "nan": np.full(labels.shape, np.nan),
            "others": (labels + len(observations)) % 3,
        }.get(self.fault, labels)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("shape", r"labels of shape \(3, 1\), expected \(3, 2\)"),
        ("category", r"for player_0, expected 0 to 2"),
        ("nan", "a label is not a finite number"),
        ("others", "a label depends on the other environments"),
        ("writes", "wrote into the observations"),
    ],
)
def test_wrong_experts(fault, problem):
    venv = make_vec_env(ENV, n_envs=3, seed=0)
    with pytest.raises(AssertionError, match=f"Wrong at step 0: .*{problem}"):
        check_expert(Wrong(venv.team, fault), venv)


def test_an_expert_that_does_what_is_not_available():
    venv = make_vec_env("smac-like:tests.starcraft.skirmish:Skirmish", n_envs=3, seed=0)
    with pytest.raises(AssertionError, match=r"an action of .* is not available"):
        check_expert(adapt_expert(lambda seen: np.zeros((len(seen), venv.team.n_columns)), venv.team), venv)


class Counting(controllers.Shifted):
    """Plays one more at each step; `forgets`: where an episode begins it starts anew."""

    def __init__(self, team, forgets):
        super().__init__(team)
        self.forgets = forgets

    def actor(self):
        def step(observations, state, starts, masks):
            count = np.zeros(len(observations), np.int64) if state is None else state[0]
            if self.forgets:
                count = np.where(starts, 0, count)
            return (self.labels(observations) + count[:, None]) % 3, (count + 1,)

        return MemoryActor(step)


def test_memories():
    venv = make_vec_env(ENV, n_envs=3, seed=0)
    check_expert(Counting(venv.team, forgets=True), venv)
    with pytest.raises(AssertionError, match="Counting: remembers across the beginning of an episode"):
        check_expert(Counting(venv.team, forgets=False), venv, n_steps=4)


def team_of(name="spread", **kwargs):
    th.manual_seed(0)
    team = make_vec_env(name).team
    return TeamPolicy(team.observation_space, team.action_space, lambda _: 0.0, team=team, **kwargs)


@pytest.mark.parametrize("network", ["feed-forward", "entities", "recurrent"])
def test_right_teams(network):
    sizes = (16,) if network == "recurrent" else (16, 16)
    check_team(team_of(network=network, hidden_sizes=sizes))


def test_a_team_that_sees_more_than_it_says():
    policy = team_of(hidden_sizes=(16,))
    net = policy.action_net

    class Leaks(th.nn.Module):
        def forward(self, x):
            return net(x) + 0.1 * x[:, 20:21]

    policy.action_net = Leaks()
    with pytest.raises(AssertionError, match="agent_0: its outputs depend on entry 20, which"):
        check_team(policy)
