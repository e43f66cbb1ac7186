"""What `FactoredDQN` learns: matching cues, and the two-step game of the QMIX paper, against its tables.

Source: Rashid et al. (2018), section 5 and Table 2.
"""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from cesma_sb3.algorithms import FactoredDQN
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from tests.envs_for_tests import MatchingGame, SmallEnv

PAYOFFS = {1: np.full((2, 2), 7.0), 2: np.array([[0.0, 1.0], [1.0, 8.0]])}


class TwoStepGame(SmallEnv):
    """The first agent chooses which of two matrices the team plays next; both see which."""

    def __init__(self, render_mode=None):
        super().__init__(["first", "second"], render_mode)

    def observation_space(self, agent):
        return spaces.Box(0.0, 1.0, (3,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(2)

    def begin(self):
        self.state = 0

    def observe(self, agent):
        return np.eye(3, dtype=np.float32)[self.state]

    def step(self, actions):
        over = self.state > 0
        reward = PAYOFFS[self.state][actions["first"], actions["second"]] if over else 0.0
        if not over:
            self.state = 1 + actions["first"]
        agents, result = self.agents, {agent: self.observe(agent) for agent in self.agents}
        if over:
            self.agents = []
        return (
            result,
            dict.fromkeys(agents, reward),
            dict.fromkeys(agents, over),
            dict.fromkeys(agents, False),
            {},
        )


def two_step_tables(visibility, mixer, view="joint", steps=2_400):
    """Values of every joint action [state, first, second], learned from uniformly random play."""
    env = joint_vec_env(TwoStepGame, 8, seed=0, view=view)
    policy_kwargs = {
        "team": env.team,
        "visibility": visibility,
        "mixer": mixer,
        "hidden_sizes": (32,),
        "mixer_width": 8,
        "mixer_hidden": 16,
    }
    model = FactoredDQN(
        "MlpPolicy",
        env,
        learning_rate=5e-3,
        gamma=0.99,
        tau=0.05,
        batch_size=128,
        gradient_steps=3,
        learning_starts=200,
        buffer_size=10_000,
        loss="mse",
        exploration_final_eps=1.0,
        policy_kwargs=policy_kwargs,
        seed=0,
    ).learn(steps)
    states = th.eye(3).repeat(1, 2)  # both agents see the state
    tables = []
    with th.no_grad():
        for action in env.view.encode(np.array([[0, 0], [0, 1], [1, 0], [1, 1]])):
            chosen = th.as_tensor(action).reshape(1, -1).expand(3, -1)
            tables.append(model.policy.q_net.mixed(model.policy.values(states), chosen, states))
    return model, th.stack(tables, dim=1).reshape(3, 2, 2, -1).squeeze(-1).numpy()


def optimal_tables(gamma=0.99):
    """Tabular value iteration of the game."""
    first = np.array([[PAYOFFS[1].max()] * 2, [PAYOFFS[2].max()] * 2]) * gamma
    return np.stack([first, PAYOFFS[1], PAYOFFS[2]])


def greedy_return(model):
    state, played = 0, []
    while True:
        observed = np.tile(np.eye(3, dtype=np.float32)[state], 2)
        action, _ = model.predict(observed, deterministic=True)
        played = model.get_env().view.decode(action[None])[0]
        if state:
            return PAYOFFS[state][tuple(played)]
        state = 1 + played[0]


@pytest.mark.no_cover
def test_values_of_all_combinations_are_the_optimal_ones():
    model, tables = two_step_tables("joint", "sum", "product")
    np.testing.assert_allclose(tables, optimal_tables(), atol=0.2)
    assert greedy_return(model) == 8.0


@pytest.mark.no_cover
def test_monotonic_mixing_finds_the_optimum():
    model, tables = two_step_tables("own", "monotonic")
    np.testing.assert_allclose(tables, optimal_tables(), atol=0.5)
    assert greedy_return(model) == 8.0


@pytest.mark.no_cover
def test_a_sum_cannot_say_it():
    # The best sum for the second matrix, by least squares, is worth 6.5 at most: less than 7.
    model, tables = two_step_tables("own", "sum")
    np.testing.assert_allclose(tables[2], [[-1.5, 2.5], [2.5, 6.5]], atol=0.6)
    np.testing.assert_allclose(tables[1], PAYOFFS[1], atol=0.5)
    assert greedy_return(model) == 7.0


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("visibility", "mixer", "exploration"),
    [("joint", "sum", "noise"), ("own", "none", "epsilon-greedy")],
)
def test_solves_a_matching_game(visibility, mixer, exploration):
    env = joint_vec_env(MatchingGame, 8, seed=0)
    policy_kwargs = {"team": env.team, "hidden_sizes": (32, 32), "visibility": visibility, "mixer": mixer}
    model = FactoredDQN(
        "MlpPolicy",
        env,
        learning_rate=3e-3,
        gamma=0.0,
        learning_starts=200,
        batch_size=64,
        buffer_size=5_000,
        gradient_steps=2,
        exploration=exploration,
        policy_kwargs=policy_kwargs,
        seed=0,
    ).learn(1_200)
    cues = np.random.default_rng(0).integers(3, size=(100, 2))
    observed = np.eye(3, dtype=np.float32)[cues].reshape(100, -1)
    assert (model.predict(observed, deterministic=True)[0] == cues).all()
