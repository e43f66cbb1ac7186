"""SB3's own `check_env` passes on environments of mpe2, sisl, butterfly and classic games."""

import pkgutil
from importlib import import_module

import numpy as np
import pytest
from stable_baselines3.common.env_checker import check_env

from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.pettingzoo import import_parallel_env

MPE2 = ["simple_spread", "simple_speaker_listener", "simple_reference", "simple_tag", "simple_adversary"]
OTHERS = [
    ("pettingzoo.sisl", "multiwalker", {"n_walkers": 2, "max_cycles": 20}),
    ("pettingzoo.sisl", "pursuit", {"n_pursuers": 2, "n_evaders": 3, "max_cycles": 8}),
    ("pettingzoo.sisl", "waterworld", {"n_pursuers": 2, "max_cycles": 10}),
    ("pettingzoo.butterfly", "pistonball", {"n_pistons": 2, "max_cycles": 5}),
    ("pettingzoo.butterfly", "cooperative_pong", {"max_cycles": 5}),
    ("pettingzoo.butterfly", "knights_archers_zombies", {"max_cycles": 20}),
    ("pettingzoo.classic", "tictactoe", {}),
    ("pettingzoo.classic", "rps", {"max_cycles": 5}),
]
CASES = [("mpe2", name, {"max_cycles": 10}) for name in MPE2] + OTHERS
CASES += [("mpe2", "simple_spread", {"max_cycles": 10, "continuous_actions": True})]


def newest(package: str, name: str) -> str:
    """The module of an environment; releases differ in the version that its name ends with."""
    found = [module.name for module in pkgutil.iter_modules(import_module(package).__path__)]
    matching = [module for module in found if module.rpartition("_v")[0] == name]
    if not matching:
        pytest.skip(f"{package} has no {name} here")
    return f"{package}.{matching[-1]}"


@pytest.mark.parametrize(("package", "name", "kwargs"), CASES, ids=[case[1] for case in CASES])
# What SB3 recommends (actions in [-1, 1]) is up to the environment; one draws without being asked.
@pytest.mark.filterwarnings("ignore:We recommend you to use a symmetric")
@pytest.mark.filterwarnings("ignore:.*You are calling render method without specifying any render mode")
def test_check_env(package, name, kwargs):
    env = JointEnv(import_parallel_env(newest(package, name), kwargs), team_reward="sum")
    env.action_space.seed(0)
    if not runs_here(env):
        pytest.skip(f"{name} of this release does not run on this NumPy")
    check_env(env)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    ends = 0
    for _ in range(25):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert np.isfinite(reward)
        if terminated or truncated:
            ends += 1
            assert set(info["agent_returns"]) == set(env.team.agents)
            env.reset()
    assert ends or name == "multiwalker"
    env.close()


def runs_here(env: JointEnv) -> bool:
    """Whether it steps by itself: two of PettingZoo 1.24.3 turn arrays into numbers as NumPy 2.4 forbids."""
    bare = env.parallel_env
    try:
        bare.reset(seed=0)
        bare.step({agent: bare.action_space(agent).sample() for agent in bare.agents})
    except TypeError as error:
        if "only 0-dimensional arrays can be converted" not in str(error):
            raise
        return False
    return True


def test_a_game_of_turns_is_played_by_whose_turn_it_is():
    env = JointEnv(import_parallel_env("pettingzoo.classic.tictactoe_v3"), team_reward="sum")
    _, info = env.reset(seed=0)
    cells = env.team.mask_slices
    for move in range(5):  # 0, 1, 2, 3, 4 on the board's columns: nobody has won yet
        whose = move % 2
        assert info["action_mask"][cells[whose]].sum() == 9 - move
        # Who waits has one harmless action left.
        assert info["action_mask"][cells[1 - whose]].tolist() == [True] + [False] * 8
        action = np.zeros(2, dtype=np.int64)
        action[whose] = move
        _, _, terminated, truncated, info = env.step(action)
        assert (terminated, truncated) == (False, False)
