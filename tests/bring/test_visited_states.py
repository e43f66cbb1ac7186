"""States that somebody has visited already: of a replay buffer, of trajectories, of an experience."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from imitation.data.types import DictObs, Trajectory
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from stable_baselines3 import DQN, PPO, TD3
from stable_baselines3.common.buffers import ReplayBuffer

import cesma_sb3
from cesma_sb3.envs import make_vec_env, undivided_view
from cesma_sb3.envs.experience import Experience
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import CesmaError, ConfigError, SpaceError, StorageError
from cesma_sb3.imitation.recordings import recorded_arrays
from cesma_sb3.imitation.visited_states import load_experience, save_states, visited_arrays
from cesma_sb3.spaces.agent_slices import AgentSlice
from tests.bring.test_declared_teams import Cues
from tests.envs_for_tests import MatchingGame, MortalEnv
from tests.message_free import message_free
from tests.recorded import recorded
from tests.signalling_game import SignallingGame

TINY = {
    "students": {"network": "feed-forward", "hidden_sizes": [16]},
    "dagger.n_envs": 4,
    "dagger.batch_size": 16,
    "dagger.learning_rate": 1e-2,
    "evaluation": {"n_final_episodes": 8, "n_eval_episodes": 8, "eval_freq": 1000, "n_envs": 4},
}
GAME = "tests.envs_for_tests:MatchingGame"


def kept(source, team, tmp_path, capacity=10_000, **kwargs):
    """A source of states as it is read back from the file that a run keeps."""
    save_states(visited_arrays(source), tmp_path / "states.safetensors")
    return load_experience(tmp_path / "states.safetensors", team, capacity, **kwargs)


@pytest.mark.parametrize("make", [MatchingGame, MortalEnv])
def test_an_experience_is_read_back_as_it_was(make, tmp_path):
    venv = joint_vec_env(make, 3, seed=0, team_reward="sum")
    experience = recorded(venv, 20, capacity=50, resets=(0, 7))
    again = kept(experience, venv.team, tmp_path)
    for one, other in zip(experience.states(), again.states(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.episodes() == experience.episodes()
    newest = kept(experience, venv.team, tmp_path, capacity=9)
    np.testing.assert_array_equal(newest.states().observations, experience.states(13).observations)


@pytest.mark.parametrize("size", [8, 100])
@pytest.mark.parametrize("saves_memory", [False, True])
def test_a_replay_buffer_is_read_in_the_order_of_time(size, saves_memory, tmp_path):
    venv = joint_vec_env(MatchingGame, 2, seed=0)
    buffer = ReplayBuffer(
        2 * size,
        venv.observation_space,
        spaces.Discrete(9),
        n_envs=2,
        optimize_memory_usage=saves_memory,
        handle_timeout_termination=False,
    )
    assert buffer.buffer_size == size
    experience = recorded(venv, 14)
    states = experience.states()
    for step in range(13):
        after = states.observations[step + 1]
        buffer.add(
            states.observations[step], after, np.zeros(2), np.zeros(2), states.starts[step + 1], [{}, {}]
        )
    found = kept(buffer, venv.team, tmp_path).states()
    last = min(13, size - (saves_memory and size < 13))  # there, the newest state has another in its place
    np.testing.assert_array_equal(found.observations, states.observations[13 - last : 13])
    expected = states.starts[13 - last : 13]
    np.testing.assert_array_equal(found.starts[1:], expected[1:])
    assert found.starts[0].all() == (size > 13), "nobody knows whether the oldest one kept is a first one"
    assert found.alive.all()
    assert found.masks is None


def test_trajectories_are_episodes(tmp_path):
    team = joint_vec_env(MatchingGame, 1).team
    rng = np.random.default_rng(0)
    paths = [Trajectory(rng.random((n + 1, 6)), rng.integers(3, size=(n, 2)), None, True) for n in (3, 5, 2)]
    experience = kept(paths, team, tmp_path)
    states = experience.states()
    np.testing.assert_array_equal(
        states.observations[:, 0], np.concatenate([path.obs[:-1] for path in paths]).astype(np.float32)
    )
    assert np.flatnonzero(states.starts[:, 0]).tolist() == [0, 3, 8]
    assert [steps for _, steps in experience.episodes()] == [slice(0, 3), slice(3, 8)]


def test_trajectories_may_be_arrays_by_name():
    paths = sources()["trajectories"]
    found = [visited_arrays(source) for source in (paths, iter(paths), recorded_arrays(paths))]
    for each in found[1:]:
        np.testing.assert_equal(each, found[0])


def test_who_observes_nothing_is_dead(tmp_path):
    team = joint_vec_env(MatchingGame, 1).team
    observations = np.ones((4, 6), dtype=np.float32)
    observations[2:, 3:] = 0.0
    experience = kept([Trajectory(observations, np.zeros((3, 2)), None, True)], team, tmp_path)
    assert experience.states().alive[:, 0].tolist() == [[True, True], [True, True], [True, False]]


def test_observations_without_messages_are_those_of_a_team_that_heard_nothing(tmp_path):
    full = joint_vec_env(SignallingGame, 3, seed=0)
    silent = message_free(joint_vec_env(SignallingGame, 3, seed=0))
    experience = recorded(silent, 12)
    states = kept(experience, full.team, tmp_path).states()
    np.testing.assert_array_equal(
        silent.team_view.observations(states.observations), experience.states().observations
    )
    assert not states.observations[..., 4:].any()


DIVIDED = {"left": AgentSlice("1, 3:5", "1"), "right": AgentSlice("0:3", "0")}
"""Entry 1 is seen by both: the team observes six numbers, the environment has five."""
ODD_AND_EVEN = {"left": AgentSlice("1, 3", "1"), "right": AgentSlice("0, 2, 4", "0")}
"""As many numbers as the environment has, in another order."""


@pytest.mark.parametrize("slices", [DIVIDED, ODD_AND_EVEN])
def test_observations_of_an_environment_that_was_divided(slices, tmp_path):
    venv = make_vec_env("tests.bring.test_declared_teams:Cues", team=slices, n_envs=2, seed=0)
    whole, env = [], Cues()
    env.reset(seed=0)
    for _ in range(6):
        whole.append(env.observe())
    expected = np.concatenate(
        [np.array(whole)[:, places] for places in ([1, 3, 4], [0, 1, 2]) if slices is DIVIDED]
        or [np.array(whole)[:, [1, 3, 0, 2, 4]]],
        axis=1,
    )
    path = Trajectory(np.array([*whole, whole[-1]]), np.zeros((6, 2)), None, True)
    found = kept([path], venv.team, tmp_path, undivided=undivided_view(venv)).states()
    np.testing.assert_array_equal(found.observations[:, 0], expected)
    # What a team has recorded is the team's own, also where it is as wide.
    experience = recorded(venv, 5)
    again = kept(experience, venv.team, tmp_path, undivided=undivided_view(venv)).states()
    np.testing.assert_array_equal(again.observations, experience.states().observations)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (3, "experience: int; expected an Experience, a replay buffer of SB3, or recorded trajectories"),
        ("states.npz", "experience: str; expected an Experience"),
        ([], "experience: list; expected an Experience"),
        ([1, "a"], "experience: list; expected an Experience"),
        (
            ReplayBuffer(10, spaces.Box(-1, 1, (6,)), spaces.Discrete(9)),
            "experience: it holds no states",
        ),
        (
            [Trajectory(DictObs({"own": np.zeros((2, 6))}), np.zeros((1, 2)), None, True)],
            "experience: observations by name, expected joint observations",
        ),
        (
            [Trajectory(np.zeros((2, n)), np.zeros((1, 2)), None, True) for n in (6, 4)],
            "experience: episodes of different observations, expected those of one team",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_what_holds_no_states_is_one_line(source, told, tmp_path):
    with pytest.raises(ConfigError) as caught:
        cesma_sb3.decentralize(
            lambda observations: np.zeros((len(observations), 2)),
            GAME,
            experience=source,
            out=tmp_path / "run",
        )
    assert str(caught.value).startswith(told)
    assert not (tmp_path / "run").exists()


def test_an_empty_experience_holds_no_states():
    with pytest.raises(ConfigError, match=r"^experience: it holds no states$"):
        visited_arrays(Experience(joint_vec_env(MatchingGame, 1).team, 2, 10))


OBSERVATIONS, STARTS = np.zeros((4, 2, 6), np.float32), np.zeros((4, 2), bool)


@pytest.mark.parametrize(
    ("arrays", "kind", "told"),
    [
        ({}, StorageError, "no file of states: 'observations'"),
        ({"observations": OBSERVATIONS}, StorageError, "no file of states: 'starts'"),
        (
            {"observations": OBSERVATIONS, "starts": STARTS[:, 0]},
            SpaceError,
            r"observations \(4, 2, 6\) and starts \(4,\)",
        ),
        (
            {"observations": OBSERVATIONS[:3], "starts": STARTS},
            SpaceError,
            r"observations \(3, 2, 6\) and starts \(4, 2\)",
        ),
        ({"observations": OBSERVATIONS[:0], "starts": STARTS[:0]}, SpaceError, "and at least one state"),
        (
            {"observations": OBSERVATIONS[..., :5], "starts": STARTS},
            SpaceError,
            "observations of 5 numbers, expected 6 of the whole team",
        ),
        (
            {"observations": OBSERVATIONS + np.nan, "starts": STARTS},
            SpaceError,
            "observations that are no finite numbers",
        ),
        (
            {"observations": OBSERVATIONS.astype(np.float64) + 1e39, "starts": STARTS},
            SpaceError,
            "observations that are no finite numbers",
        ),
        (
            {"observations": OBSERVATIONS, "starts": STARTS, "alive": STARTS},
            SpaceError,
            r"alive of shape \(4, 2\), expected \(4, 2, 2\)",
        ),
        (
            {"observations": OBSERVATIONS, "starts": STARTS, "cuts": STARTS},
            SpaceError,
            r"cuts of shape \(4, 2\), expected \(4,\)",
        ),
        (
            {"observations": OBSERVATIONS, "starts": STARTS, "agents": np.array([255], np.uint8)},
            StorageError,
            "no file of states: 'utf-8' codec can't decode",
        ),
        (
            {"observations": OBSERVATIONS, "starts": STARTS, "agents": np.array([97, 10, 98], np.uint8)},
            SpaceError,
            "states of the agents a, b; expected player_0, player_1, in this order",
        ),
        (b"no arrays", StorageError, "no file of states: "),
    ],
)
def test_a_file_that_holds_something_else_is_one_line(arrays, kind, told, tmp_path):
    path = tmp_path / "states"
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    else:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, str(path))
    with pytest.raises(kind, match=told) as caught:
        load_experience(path, joint_vec_env(MatchingGame, 1).team, 100)
    assert "\n" not in str(caught.value)
    states = {"expert.experience": str(path)}
    with pytest.raises(CesmaError):
        cesma_sb3.run("spread-3-scripted", out=tmp_path / "run", **states, **{"dagger.experience": {}})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("registered", [False, True])
def test_numbers_that_numpy_does_not_know_are_one_line(tmp_path, registered):
    if registered:  # as JAX and ONNX do
        pytest.importorskip("ml_dtypes")
    states = {"observations": th.ones(4, 2, 6, dtype=th.bfloat16), "starts": th.zeros(4, 2)}
    save_tensors(states, tmp_path / "states")
    with pytest.raises(StorageError, match=r"states: no file of states: .*bfloat16"):
        load_experience(tmp_path / "states", joint_vec_env(MatchingGame, 1).team, 100)


def test_flags_may_be_written_as_numbers(tmp_path):
    """They are no flags for NumPy, whose `~1` is true."""
    venv = joint_vec_env(MortalEnv, 3, seed=0, team_reward="sum")
    experience = recorded(venv, 20, resets=(0, 7))
    arrays = visited_arrays(experience)
    as_numbers = {
        name: array.astype(np.int8) if array.dtype == bool else array for name, array in arrays.items()
    }
    save_states(as_numbers, tmp_path / "states")
    again = load_experience(tmp_path / "states", venv.team, 100).states()
    for one, other in zip(experience.states()[:-1], again[:-1], strict=True):  # no labels
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_what_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(StorageError, match=r"states: cannot be written: ") as caught:
        save_states(visited_arrays(sources()["an experience"]), tmp_path / "no-folder" / "states")
    assert "\n" not in str(caught.value)


class Backwards(MatchingGame):
    """The same agents in another order."""

    def __init__(self):
        super().__init__()
        self.possible_agents = self.possible_agents[::-1]


def test_an_experience_of_the_same_agents_in_another_order_is_not_taken_for_theirs(tmp_path):
    experience = recorded(joint_vec_env(Backwards, 4, seed=0), 20)
    told = (
        r"^expert.experience: states of the agents player_1, player_0; expected player_0, player_1, in this "
        r"order$"
    )
    with pytest.raises(SpaceError, match=told):
        cesma_sb3.decentralize(cues, GAME, experience=experience, out=tmp_path / "run", **TINY)
    assert not (tmp_path / "run").exists()


def cues(observations):
    """Plays what each agent of `MatchingGame` sees."""
    return observations.reshape(len(observations), -1, 3).argmax(axis=2)


def test_masks_are_needed_where_the_team_has_some(tmp_path):
    venv = joint_vec_env(MortalEnv, 2, team_reward="sum")
    path = Trajectory(np.ones((3, 6)), np.zeros((2, 3)), None, True)
    told = "states without action masks, which this team has; expected expert.experience: null"
    with pytest.raises(SpaceError, match=told):
        kept([path], venv.team, tmp_path)
    kept(recorded(venv, 4), venv.team, tmp_path)


def sources():
    venv = joint_vec_env(MatchingGame, 4, seed=0)
    experience = recorded(venv, 120)
    states = experience.states()
    paths = [
        Trajectory(
            states.observations[s.start : s.stop + 1, env], np.zeros((s.stop - s.start, 2)), None, True
        )
        for env, s in experience.episodes()
    ]
    return {"an experience": experience, "trajectories": paths}


@pytest.mark.parametrize("kind", ["an experience", "trajectories"])
def test_a_function_labels_what_others_have_visited(kind, tmp_path):
    values = {**TINY, "dagger.experience.n_updates": 200}
    result = cesma_sb3.decentralize(
        cues, GAME, experience=sources()[kind], total_timesteps=0, out=tmp_path / "run", **values
    )
    assert result.report["return"]["students"] == 8.0
    assert result.report["env_samples"] == {"expert": 0, "decentralize": 0}
    assert result.report["updates"] == {"decentralize": 200}
    assert result.report["experience"]["decentralize"] > 400
    assert (tmp_path / "run" / "expert" / "experience.safetensors").is_file()
    # The file in the run folder is one that an experiment may name.
    again = cesma_sb3.run(
        "spread-3-scripted",
        out=tmp_path / "again",
        **{
            **values,
            "env": {"id": GAME},
            "expert": {
                "algorithm": "tests.bring.test_visited_states:cues",
                "experience": str(tmp_path / "run" / "expert" / "experience.safetensors"),
            },
            "dagger.total_timesteps": 0,
        },
    )
    assert again.report["return"]["students"] == 8.0


@pytest.mark.parametrize("experience", [None, False])
def test_a_model_in_memory_brings_its_replay_buffer(experience, tmp_path):
    venv = joint_vec_env(MatchingGame, 4, seed=0, view="product")
    model = DQN("MlpPolicy", venv, seed=0, learning_starts=50, buffer_size=1000, device="cpu").learn(300)
    values = {**TINY, "expert.action_view": "product", "dagger.samples_per_update": 16}
    if experience is False:
        with pytest.raises(ConfigError, match="this expert has no experience to learn from"):
            cesma_sb3.decentralize(
                model, GAME, experience=False, total_timesteps=0, out=tmp_path / "run", **values
            )
        return
    result = cesma_sb3.decentralize(model, GAME, total_timesteps=0, out=tmp_path / "run", **values)
    assert result.report["experience"] == {"decentralize": model.num_timesteps}
    assert result.report["updates"] == {"decentralize": model.num_timesteps // 16}
    stored = load_experience(tmp_path / "run" / "expert" / "experience.safetensors", venv.team, 1000).states()
    held = model.replay_buffer.observations[: model.replay_buffer.size()]
    np.testing.assert_array_equal(stored.observations, held.reshape(-1, 4, 6))


class Levers(Cues):
    """`Cues` whose choices are numbers, right if they are above a half where the cue is 1."""

    def __init__(self):
        super().__init__()
        self.action_space = spaces.Box(0.0, 1.0, (2,), np.float32)

    def step(self, action):
        return super().step((np.asarray(action) > 0.5).astype(int))


def test_a_model_of_an_environment_that_is_divided_brings_its_replay_buffer(tmp_path):
    model = TD3("MlpPolicy", Levers(), seed=0, learning_starts=50, buffer_size=1000, device="cpu").learn(100)
    env = {
        "id": "tests.bring.test_visited_states:Levers",
        "team": {a: s._asdict() for a, s in DIVIDED.items()},
    }
    result = cesma_sb3.decentralize(model, env, total_timesteps=0, out=tmp_path / "run", **TINY)
    assert result.report["experience"] == {"decentralize": 100}
    stored = load_experience(
        tmp_path / "run" / "expert" / "experience.safetensors",
        result.students.team,
        1000,
        undivided=undivided_view(make_vec_env(env["id"], team=DIVIDED, n_envs=1)),
    ).states()
    whole = model.replay_buffer.observations[:100, 0]
    np.testing.assert_array_equal(stored.observations[:, 0], whole[:, [1, 3, 4, 0, 1, 2]])


def test_a_model_without_a_replay_buffer_brings_none(tmp_path):
    venv = joint_vec_env(MatchingGame, 4, seed=0)
    model = PPO("MlpPolicy", venv, n_steps=8, batch_size=16, device="cpu")
    report = cesma_sb3.decentralize(model, GAME, total_timesteps=64, out=tmp_path / "run", **TINY).report
    assert report["experience"] == {"decentralize": 0}


def test_a_class_that_is_not_trained_further_labels_a_file_of_states(tmp_path):
    """Its weights are those of another run, and it visits nothing here."""
    ppo = {"algorithm": "PPO", "n_envs": 4, "total_timesteps": 64, "kwargs": {"n_steps": 8, "batch_size": 16}}
    values = {**TINY, "env": {"id": GAME}, "dagger.total_timesteps": 64}
    first = cesma_sb3.run(
        "spread-3-ppo", out=tmp_path / "first", **values, expert={**ppo, "policy_kwargs": {}}
    )
    save_states(visited_arrays(sources()["an experience"]), tmp_path / "states")
    expert = {**ppo, "total_timesteps": 0, "init_from": str(first.run_dir), "policy_kwargs": {}}
    expert["experience"] = str(tmp_path / "states")
    second = cesma_sb3.run(
        "spread-3-ppo",
        out=tmp_path / "second",
        **{**values, "dagger.total_timesteps": 0, "dagger.experience": {}},
        expert=expert,
    )
    assert second.report["env_samples"] == {"expert": 0, "decentralize": 0}
    assert second.report["experience"] == {"decentralize": 480}
    assert second.report["return"]["expert"] == first.report["return"]["expert"]


@pytest.mark.parametrize(
    ("dagger", "why"),
    [
        ({"dagger.experience": None}, "dagger.experience is null"),
        (
            {"dagger.algorithm": "smile", "dagger.algorithm_kwargs": {"n_iterations": 2}},
            "smile learns from the states that its own teams lead to, not from experience",
        ),
    ],
)
def test_a_replay_buffer_stays_where_nobody_learns_from_it(dagger, why, tmp_path):
    """It is used by itself where it can be; a source that is named is not ignored."""
    venv = joint_vec_env(MatchingGame, 4, seed=0, view="product")
    model = DQN("MlpPolicy", venv, seed=0, buffer_size=100, device="cpu").learn(40)
    values = {**TINY, "expert.action_view": "product", **dagger}
    report = cesma_sb3.decentralize(model, GAME, total_timesteps=64, out=tmp_path / "run", **values).report
    assert report["experience"] == {"decentralize": 0}
    with pytest.raises(ConfigError, match=rf"expert.experience: expected null, for {why}$"):
        cesma_sb3.decentralize(model, GAME, experience=model.replay_buffer, out=tmp_path / "named", **values)
    assert not (tmp_path / "named").exists()
