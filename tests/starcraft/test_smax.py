"""SMAX: batched as it is alone, masks and death, seeds, how battles end. One map: it is compiled once."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.canvas import SIZE
from cesma_sb3.envs.experience import Experience, RecordedVecEnv
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.smac import SmaxVecEnv, battle_env
from cesma_sb3.envs.smac.rendering import ALLY, ENEMY
from cesma_sb3.errors import ConfigError, SpaceError, UnknownNameError

pytest.importorskip("jaxmarl", reason="the extra [smax] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(jax|flax|chex|jaxmarl|orbax|gymnax)")


def available(masks, rng):
    """A random available action for each agent, of masks [B, A, n_actions]."""
    return np.array([[rng.choice(np.flatnonzero(mask)) for mask in team] for team in masks])


def masks_of(venv):
    return venv.agent_masks.reshape(venv.num_envs, venv.team.n_agents, -1)


def play(venv, steps, seed=0):
    """Everything that random agents meet."""
    rng, trace = np.random.default_rng(seed), [venv.reset()]
    for _ in range(steps):
        trace.append((*venv.step(available(masks_of(venv), rng)), venv.alive.copy(), venv.agent_masks.copy()))
    return trace


@pytest.fixture(scope="module")
def batched():
    return play(SmaxVecEnv("3m", 2, seed=3), 80)


def test_batched_battles_are_those_of_the_parallel_env(batched):
    alone = play(joint_vec_env(partial(battle_env, "smax-3m"), 2, seed=3), 80)
    assert np.allclose(batched[0], alone[0], atol=1e-6)
    ends = 0
    for one, other in zip(batched[1:], alone[1:], strict=True):
        for mine, theirs in zip((*one[:3], *one[4:]), (*other[:3], *other[4:]), strict=True):
            assert np.allclose(mine, theirs, atol=1e-5)
        for mine, theirs in zip(one[3], other[3], strict=True):
            for key in ("terminal_observation", "TimeLimit.truncated", "battle_won"):
                assert (key in mine) <= (key in theirs)
                if key in mine:
                    assert np.allclose(mine[key], theirs[key], atol=1e-5)
            ends += "episode" in mine
            if "episode" in mine:
                assert mine["episode"]["l"] == theirs["episode"]["l"]
                assert mine["episode"]["r"] == pytest.approx(theirs["episode"]["r"], abs=1e-5)
    assert ends >= 4


def test_the_same_seed_gives_the_same_battles(batched):
    again, other = play(SmaxVecEnv("3m", 2, seed=3), 40), play(SmaxVecEnv("3m", 2, seed=4), 1)
    for one, two in zip(batched[1:41], again[1:], strict=True):
        assert np.array_equal(one[0], two[0])
        assert np.array_equal(one[1], two[1])
    assert not np.array_equal(batched[0], other[0])


def test_the_dead_see_nothing_and_can_do_nothing(batched):
    died = 0
    for observations, _, _, _, alive, masks in batched[1:]:
        each = masks.reshape(*alive.shape, -1)
        assert each[..., 0].all()  # standing still is always possible
        assert np.array_equal(each[..., 1:].any(axis=-1), alive)
        assert not observations.reshape(*alive.shape, -1)[~alive].any()
        died += (~alive).sum()
    assert died > 10


def test_battles_are_recorded_as_they_are_seen(batched):
    venv = SmaxVecEnv("3m", 2, seed=3)
    experience = Experience(venv.team, 2, 1000)
    play(RecordedVecEnv(venv, experience), 80)
    states = experience.states()
    np.testing.assert_array_equal(states.observations, [batched[0], *(step[0] for step in batched[1:])])
    np.testing.assert_array_equal(states.starts, [[True, True], *(step[2] for step in batched[1:])])
    np.testing.assert_array_equal(states.alive[1:], [step[4] for step in batched[1:]])
    np.testing.assert_array_equal(states.masks[1:], [step[5] for step in batched[1:]])
    assert states.alive[0].all()
    assert len(experience.episodes()) >= 4


def test_pettingzoos_own_test():
    parallel_api_test(battle_env("smax-3m"), num_cycles=60)


def test_agents_say_what_they_are_and_see():
    env = battle_env("smax-3m")
    _, infos = env.reset(seed=0)
    assert infos == {agent: {"unit_type": "marine"} for agent in env.possible_agents}
    parts = env.layout("agent_0").observation.parts
    assert [(part.name, part.kind, part.count) for part in parts] == [
        ("allies", "agents", 2),
        ("enemies", "entities", 3),
        ("self", "own", 1),
    ]
    assert env.state().shape == (env.battle.get_env_info()["state_shape"],)


@pytest.mark.parametrize("limit", [{"kwargs": {"max_steps": 8}}, {"max_steps": 9}])
def test_who_only_stands_there_is_cut_off_or_loses(limit):
    venv = make_vec_env("smax-3m", n_envs=2, seed=0, **limit)
    venv.reset()
    for step in range(9):
        _, _, dones, infos = venv.step(np.zeros((2, 3), dtype=np.int64))
        assert dones.all() == (step == 8)
    assert all(info["TimeLimit.truncated"] and not info["battle_won"] for info in infos)
    assert [info["episode"]["l"] for info in infos] == [9, 9]


def test_a_picture_of_a_battle():
    venv = SmaxVecEnv("3m", 2, seed=0)
    venv.reset()
    before = venv.render("rgb_array")
    assert before.shape == (SIZE, SIZE, 3)
    assert before.dtype == np.uint8

    def pixels(frame, color):
        return (np.abs(frame.astype(int) - color).max(axis=2) < 30).sum()

    assert pixels(before, ALLY) > 300
    assert pixels(before, ENEMY) > 300
    for _ in range(40):
        if not venv.alive[0].all():
            break
        venv.step(np.zeros((2, 3), dtype=np.int64))
    assert 0 < pixels(venv.render(), ALLY) < pixels(before, ALLY)  # the dead are not drawn
    venv.render_terminal()
    for _ in range(100):
        _, _, dones, infos = venv.step(np.zeros((2, 3), dtype=np.int64))
        if dones[0]:
            break
    assert not infos[0]["battle_won"]
    last = infos[0]["terminal_frame"]
    assert pixels(last, ALLY) == 0 < pixels(last, ENEMY)
    np.testing.assert_array_equal(venv.render().shape, before.shape)
    assert pixels(venv.render(), ALLY) > 300  # the next battle has begun


def test_a_single_battle_shows_its_end():
    env = battle_env("smax-3m")
    env.reset(seed=0)
    while env.agents:
        step = env.step(dict.fromkeys(env.agents, 1))
    lost = env.render()
    assert not step[4][env.possible_agents[0]]["battle_won"]
    assert not (np.abs(lost.astype(int) - ALLY).max(axis=2) < 30).any()
    env.reset()
    assert (np.abs(env.render().astype(int) - ALLY).max(axis=2) < 30).any()


@pytest.mark.integration
def test_importing_it_prints_nothing():
    code = "from cesma_sb3.envs.smac.smax import _import; _import()"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == ""


def test_what_is_refused():
    with pytest.raises(UnknownNameError, match="unknown SMAX map '3n'; did you mean '3m"):
        SmaxVecEnv("3n")
    with pytest.raises(ConfigError, match="max_step"):
        SmaxVecEnv("3m", max_step=3)
    with pytest.raises(ConfigError, match="n_envs: expected at least 1, got 0"):
        SmaxVecEnv("3m", 0)
    with pytest.raises(SpaceError, match="expected reset before anything else"):
        _ = SmaxVecEnv("3m", 2).alive
