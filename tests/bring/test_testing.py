"""The checks pass what is right, and tell what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th

from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.starcraft import battle_env
from cesma_sb3.errors import CesmaError
from cesma_sb3.experts import adapt_expert, reference_expert
from cesma_sb3.networks import TeamPolicy
from cesma_sb3.networks.memory import MemoryActor
from cesma_sb3.testing import check_environment, check_expert, check_team
from tests.bring import controllers
from tests.envs_for_tests import FaultyEnv, MatchingGame, MixedEnv, MortalEnv, ReachEnv

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
        ("others", "a world's label depends on the others"),
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
