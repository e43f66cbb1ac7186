"""Joint environments in this process and in others: the same trace, the same flags, no fault that hangs."""

import multiprocessing
import signal
import sys
import traceback
from contextlib import closing
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from cesma_sb3.envs import joint_vec_env as vec_env
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.joint_vec_env import JointVecEnv, joint_vec_env
from cesma_sb3.errors import ConfigError, EnvError, RewardError
from cesma_sb3.spaces.action_views import make_view
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import FaultyEnv, MatchingGame, MortalEnv, ReachEnv

MAKE = partial(MortalEnv, deaths=(2, 3, None), length=4, masks="info")


def trace(venv: JointVecEnv, n_steps: int = 10):
    rng = np.random.default_rng(0)
    out = [(venv.reset(), venv.alive.copy(), venv.agent_masks)]
    for _ in range(n_steps):
        flags = venv.action_masks()
        actions = [
            [rng.choice(np.flatnonzero(row[where])) for where in venv.team.column_masks] for row in flags
        ]
        observations, rewards, dones, infos = venv.step(np.array(actions))
        ends = [info.get("agent_returns") for info in infos]
        out.append((observations, venv.alive.copy(), venv.agent_masks, rewards, dones, ends))
    return out


def test_processes_give_the_same_trace():
    traces = []
    for processes in (0, 2):
        venv = joint_vec_env(MAKE, 3, seed=1, processes=processes, team_reward="sum")
        traces.append(trace(venv))
        assert venv.get_attr("t") == [2, 2, 2]  # an attribute of the PettingZoo environment
        venv.set_attr("mark", 5, indices=[1])
        assert venv.get_attr("mark", indices=1) == [5]
        assert [mask.shape for mask in venv.env_method("action_masks", indices=[0, 2])] == [(10,), (10,)]
        venv.close()
        venv.close()
    for here, there in zip(*traces, strict=True):
        for one, other in zip(here, there, strict=True):
            np.testing.assert_array_equal(one, other)


def test_flags_belong_to_the_observation_last_returned_also_after_a_reset():
    venv = joint_vec_env(MAKE, 2, seed=0, team_reward="sum")
    for step, (observations, alive, masks, *rest) in enumerate(trace(venv, 9)):
        t = step % 4  # episodes last 4 steps; the observation of an end is the next one's first
        np.testing.assert_array_equal(alive, [[t < 2, t < 3, True]] * 2)
        by_agent = venv.team.split_observations(observations)
        for index, agent in enumerate(venv.team.agents):
            np.testing.assert_array_equal(by_agent[agent][:, 0], (index + 1.0) * alive[:, index])
        env = MAKE()
        env.t = t
        expected = venv.team.join_masks({a: env.mask(a) for a in venv.team.agents}, alive[0])
        np.testing.assert_array_equal(masks[0], expected)
        if rest:
            assert rest[1].all() == (t == 0)


def test_ends_of_episodes_are_told():
    venv = joint_vec_env(MAKE, 2, seed=0, team_reward="sum")
    assert not venv.reset()[:, 1].any()
    total = np.zeros(2)
    for _ in range(4):
        flags = venv.action_masks()
        actions = np.array([[row[where].argmax() for where in venv.team.column_masks] for row in flags])
        _, rewards, dones, infos = venv.step(actions)
        total += rewards
    assert dones.all()
    for info, sum_of_rewards in zip(infos, total, strict=True):
        assert info["episode"]["r"] == pytest.approx(sum_of_rewards)
        assert info["episode"]["l"] == 4
        assert info["episode"]["t"] >= 0
        assert sum(info["agent_returns"].values()) == pytest.approx(sum_of_rewards)
        assert info["TimeLimit.truncated"] is True
        np.testing.assert_array_equal(info["terminal_observation"], [0, 0, 0, 0, 3, 4])
        assert info["alive"].tolist() == [False, False, True]  # of the terminal observation


def test_equal_to_sb3s_dummy_vec_env():
    venv = joint_vec_env(MatchingGame, 2, seed=5)
    dummy = DummyVecEnv([lambda: JointEnv(MatchingGame()) for _ in range(2)])
    dummy.seed(5)
    np.testing.assert_array_equal(venv.reset(), dummy.reset())
    rng = np.random.default_rng(0)
    for _ in range(20):
        actions = rng.integers(3, size=(2, 2))
        for one, other in zip(venv.step(actions)[:3], dummy.step(actions)[:3], strict=True):
            np.testing.assert_array_equal(one, other)


def test_seeds_differ_by_environment_and_count_once():
    one, other = joint_vec_env(ReachEnv, 2, seed=3), joint_vec_env(ReachEnv, 1, seed=4)
    first = one.reset()
    np.testing.assert_array_equal(first[1], other.reset()[0])
    assert not np.array_equal(first, one.reset())
    one.seed(3)
    np.testing.assert_array_equal(one.reset(), first)


def test_what_is_never_masked_has_no_masks():
    venv = joint_vec_env(partial(MortalEnv, masks=None), 2, team_reward="sum")
    venv.reset()
    assert venv.agent_masks is None
    assert venv.action_masks().all()
    for _ in range(2):
        venv.step(np.zeros((2, 3), dtype=np.int64))
    assert venv.agent_masks is None
    assert venv.action_masks()[0].tolist() == [True, False, False] + [True] * 7  # the first agent has died
    assert venv.env_is_wrapped(Monitor) == [True, True]


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize("fault", ["raise", "nan"])
def test_a_fault_names_the_environment_and_the_others_go_on(fault, processes):
    venv = joint_vec_env(partial(FaultyEnv, fault), 2, seed=0, processes=processes)
    venv.reset()
    venv.step(np.zeros((2, 2), dtype=np.int64))
    with pytest.raises(EnvError, match=r"^environment 0: small, step 2: .*") as caught:
        venv.step(np.zeros((2, 2), dtype=np.int64))
    assert "\n" not in str(caught.value)
    assert venv.reset().shape == (2, 6)
    venv.close()


def test_a_process_that_dies_is_reported_and_does_not_hang():
    venv = joint_vec_env(partial(FaultyEnv, "die"), 3, seed=0, processes=2)
    venv.reset()
    venv.step(np.zeros((3, 2), dtype=np.int64))
    for _ in range(2):
        with pytest.raises(EnvError, match=r"^environments 0 to 1: the process died \(exit code 3\)$"):
            venv.step(np.zeros((3, 2), dtype=np.int64))
    venv.close()


@pytest.mark.skipif(not hasattr(signal, "pause"), reason="Windows waits in other ways")
def test_a_process_that_hangs_is_given_up():
    venv = joint_vec_env(partial(FaultyEnv, "hang"), 2, seed=0, processes=1, step_timeout=20.0)
    venv.reset()
    venv.step(np.zeros((2, 2), dtype=np.int64))
    for group in venv._groups:
        assert group._step_timeout == 20.0
        group._step_timeout = 0.2  # what comes next never answers
    with pytest.raises(EnvError, match=r"^environments 0 to 1: no answer within 0.2 seconds$"):
        venv.step(np.zeros((2, 2), dtype=np.int64))
    venv.close()


def broken():
    raise FileNotFoundError("no game here")


def says_nothing():
    raise InterruptedError


def test_what_cannot_be_made_is_reported_before_anything_runs():
    for processes in (0, 1):
        with pytest.raises(
            EnvError,
            match=r"^environment 0: FileNotFoundError: no game here \(tests/.*_vec_env.py:\d+\)$",
        ) as caught:
            joint_vec_env(broken, 1, processes=processes)
        # The place in the environment's code is there too, wherever it ran.
        assert "in broken" in "".join(traceback.format_exception(caught.value))
    with pytest.raises(EnvError, match=r"^environment 0: InterruptedError: no message \(tests"):
        joint_vec_env(says_nothing, 1)
    with pytest.raises(ConfigError, match="n_envs: expected at least 1, got 0"):
        joint_vec_env(MatchingGame, 0)
    venv = joint_vec_env(MortalEnv, 1)
    venv.reset()
    with pytest.raises(RewardError, match=r"^environment 0: mortal, step 1: team_reward 'shared'"):
        venv.step(np.array([[1, 0, 0]]))
    with pytest.raises(EnvError, match="2 actions for 1 environments"):
        venv.step(np.zeros((2, 3)))


def test_processes_may_be_spawned_as_on_macos_and_windows():
    traces = []
    for processes in (0, 1):
        how = {"processes": processes, "start_method": "spawn", "team_reward": "sum"}
        with closing(joint_vec_env(MAKE, 2, seed=1, **how)) as venv:
            traces.append(trace(venv, 5))
    for here, there in zip(*traces, strict=True):
        for one, other in zip(here, there, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
def test_how_processes_are_started(monkeypatch):
    started = []

    def start(context, *rest):
        started.append(context.get_start_method())
        raise InterruptedError

    def make(**kwargs):
        with pytest.raises(InterruptedError):
            joint_vec_env(MatchingGame, 2, processes=True, **kwargs)

    monkeypatch.setattr(vec_env, "RemoteGroup", start)
    assert joint_vec_env(MatchingGame, 2, processes=False).num_envs == 2
    assert not started
    make()
    make(start_method="fork")
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    make()
    assert started == ["forkserver", "fork", "spawn"]


def test_an_episode_knows_how_long_after_the_start_it_ended(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(vec_env, "time", SimpleNamespace(time=lambda: clock[0]))
    venv = joint_vec_env(MatchingGame, 1, seed=0)
    venv.reset()
    clock[0] = 107.25
    ends = [venv.step(np.zeros((1, 2), dtype=int))[3][0].get("episode") for _ in range(8)]
    assert [end and (end["l"], end["t"]) for end in ends] == [None, None, None, (4, 7.25)] * 2


@pytest.mark.parametrize("team_reward", ["shared", "sum", "mean"])
def test_steps_are_of_the_types_that_sb3_expects(team_reward):
    venv = joint_vec_env(MatchingGame, 2, seed=0, team_reward=team_reward)
    assert venv.reset().dtype == np.float32
    observations, rewards, dones, _ = venv.step(np.zeros((2, 2), dtype=int))
    assert (observations.dtype, rewards.dtype, dones.dtype) == (np.float32, np.float32, bool)


def test_views_and_pictures():
    team = TeamSpaces.from_parallel_env(MatchingGame())
    view = make_view("one-at-a-time", team, noop=1)
    venv = joint_vec_env(partial(MatchingGame, render_mode="rgb_array"), 2, seed=0, view=view)
    venv.reset()
    assert venv.action_space.n == 5
    venv.step(np.array([0, 4]))
    assert [image.shape for image in venv.get_images()] == [(4, 6, 3)] * 2
    assert venv.render().shape[2] == 3
    plain = joint_vec_env(MatchingGame, 2)
    assert list(plain.get_images()) == [None, None]


@pytest.mark.parametrize("processes", [0, 2])
def test_the_end_of_an_episode_can_be_seen(processes):
    venv = joint_vec_env(partial(MatchingGame, render_mode="rgb_array"), 3, seed=0, processes=processes)
    with closing(venv):
        venv.reset()
        # Its pictures show the step; the fourth is the last.
        for wanted in (None, 4, None):
            venv.render_terminal(wanted is not None)
            for step in range(4):
                infos = venv.step(np.zeros((3, 2), dtype=np.int64))[3]
                pictures = [info.get("terminal_frame") for info in infos]
                assert pictures[1:] == [None, None]
                if step == 3 and wanted is not None:
                    assert pictures[0].shape == (4, 6, 3)
                    assert (pictures[0] == wanted).all()
                else:
                    assert pictures[0] is None
            assert (venv.get_images()[0] == 0).all()


def test_without_a_picture_mode_ends_are_not_drawn():
    venv = joint_vec_env(MatchingGame, 1)
    venv.reset()
    venv.render_terminal()
    assert all("terminal_frame" not in venv.step(np.zeros((1, 2), dtype=np.int64))[3][0] for _ in range(4))


def test_every_episode_is_counted_from_its_own_beginning():
    venv = joint_vec_env(partial(MatchingGame, length=3), 2, seed=0)
    assert venv.alive.tolist() == [[True, True]] * 2
    venv.reset()
    for _ in range(3):
        total = np.zeros(2)
        for _ in range(3):
            _, rewards, dones, infos = venv.step(np.zeros((2, 2), dtype=np.int64))
            total += rewards
        assert dones.all()
        assert [info["episode"]["r"] for info in infos] == total.tolist()
        assert [info["episode"]["l"] for info in infos] == [3, 3]
        assert infos[0]["agent_returns"] == dict.fromkeys(venv.team.agents, total[0])


@pytest.mark.parametrize("processes", [0, 2])
def test_closing_closes_the_environments_and_ends_their_processes(processes, tmp_path):
    class Closing(MatchingGame):
        def close(self):
            with (tmp_path / "closed").open("a") as file:
                file.write("x")

    venv = joint_vec_env(Closing, 3, seed=0, processes=processes)
    venv.reset()
    running = [group._process for group in venv._groups] if processes else []
    assert all(process.is_alive() and process.daemon for process in running)
    for _ in range(2):
        venv.close()
        assert (tmp_path / "closed").read_text() == "xxx"
    assert [process.exitcode for process in running] == [0] * processes
