"""Recorded trajectories in the place of an expert: where they come from, and what is learned from them."""

from __future__ import annotations

import json
import types as python_types
from typing import Any

import numpy as np
import pytest
from imitation.data import serialize, types

import cesma_sb3
from cesma_sb3.analysis.price import price
from cesma_sb3.analysis.recording import record_episodes
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.errors import CesmaError, ConfigError, ExpertError, SpaceError, StorageError
from cesma_sb3.imitation.recorded_expert import recorded_expert
from cesma_sb3.imitation.recordings import load_recording, recorded_arrays, save_recording
from cesma_sb3.policies import load_team
from cesma_sb3.spaces.team_views import message_free_view
from tests.envs_for_tests import MatchingGame, MortalEnv

pytestmark = pytest.mark.filterwarnings("ignore:keys will default:DeprecationWarning")  # of imitation's save
GAME = {"id": "tests.envs_for_tests:MatchingGame"}
TINY: dict[str, Any] = {
    "students": {"hidden_sizes": [16]},
    "dagger": {"batch_size": 32, "learning_rate": 0.02, "experience": {"n_updates": 150}},
    "evaluation": {"n_final_episodes": 8, "n_eval_episodes": 4, "eval_freq": 10_000, "n_envs": 4},
}


def played(n_episodes: int = 30, *, mistakes: float = 0.0) -> list[types.TrajectoryWithRew]:
    """Episodes of two players who mostly play their own cues."""
    env, rng = JointEnv(MatchingGame()), np.random.default_rng(0)
    episodes = []
    for episode in range(n_episodes):
        observations, actions, rewards, over = [env.reset(seed=episode)[0]], [], [], False
        while not over:
            action = observations[-1].reshape(2, 3).argmax(axis=-1)
            action = np.where(rng.random(2) < mistakes, rng.integers(3, size=2), action)
            observation, reward, terminated, truncated, _ = env.step(action)
            observations.append(observation)
            actions.append(action)
            rewards.append(reward)
            over = terminated or truncated
        episodes.append(
            types.TrajectoryWithRew(
                obs=np.array(observations),
                acts=np.array(actions),
                infos=None,
                terminal=True,
                rews=np.array(rewards),
            )
        )
    return episodes


def without_rewards(episodes: list[types.TrajectoryWithRew]) -> list[types.Trajectory]:
    return [types.Trajectory(each.obs, each.acts, each.infos, each.terminal) for each in episodes]


class Minari:
    """What of Minari's datasets is read."""

    def iterate_episodes(self) -> Any:
        for each in played():
            yield python_types.SimpleNamespace(observations=each.obs, actions=each.acts, rewards=each.rews)


@pytest.mark.parametrize("form", ["folder", "npz", "in memory", "Minari", "arrays"])
def test_every_form_holds_the_same(form, tmp_path):
    episodes = played()
    arrays = recorded_arrays(episodes)
    assert arrays["observations"].shape == (120, 6)
    assert arrays["starts"].nonzero()[0].tolist() == list(range(0, 120, 4))
    if form == "folder":
        serialize.save(tmp_path / "saved", episodes)
        found = load_recording(tmp_path / "saved")
    elif form == "npz":
        save_recording(arrays, tmp_path / "saved.npz")
        found = load_recording(tmp_path / "saved.npz")
    else:
        found = recorded_arrays({"in memory": episodes, "Minari": Minari(), "arrays": dict(arrays)}[form])
    assert found.keys() == arrays.keys() == {"observations", "actions", "starts", "rewards"}
    assert all(np.allclose(found[name], array) for name, array in arrays.items())


@pytest.mark.filterwarnings("ignore::UserWarning")  # Minari would have its datasets described
def test_minari_itself(tmp_path):
    minari = pytest.importorskip("minari", reason="Minari is not installed")
    pytest.importorskip("h5py", reason="Minari's files need h5py")
    folder = tmp_path / "minari"
    env = minari.DataCollector(JointEnv(MatchingGame()), record_infos=False, data_format="hdf5")
    for episode in range(2):
        env.reset(seed=episode)
        while not env.step(env.action_space.sample())[3]:
            pass
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        env.create_dataset("game/players-v0", algorithm_name="random")
    arrays = load_recording(folder / "game" / "players-v0")
    assert arrays["actions"].shape == (8, 2)
    assert arrays["starts"].sum() == 2


@pytest.mark.parametrize("network", ["feed-forward", "recurrent"])
def test_students_learn_from_trajectories_alone(network, tmp_path):
    batch = {"dagger.batch_size": 8} if network == "recurrent" else {}
    result = cesma_sb3.decentralize(
        played(),
        GAME,
        algorithm="bc",
        out=tmp_path / "run",
        overrides={"students.network": network, **batch},
        **TINY,
    )
    report = result.report
    assert report["return"]["students"] > 7.5  # of 8
    assert report["return"]["expert"] == 8.0
    assert report["env_samples"] == {"expert": 0, "decentralize": 0}
    assert report["experience"] == {"decentralize": 120}
    assert (tmp_path / "run" / "expert" / "trajectories.npz").is_file()
    again = cesma_sb3.evaluate_run(tmp_path / "run")
    assert again["return"] == report["return"]


def test_without_rewards_nobody_knows_what_the_expert_returns(tmp_path):
    serialize.save(tmp_path / "saved", without_rewards(played()))
    file = tmp_path / "run.yaml"
    dagger = {**TINY["dagger"], "algorithm": "bc", "total_timesteps": 0}
    file.write_text(
        json.dumps(
            {**TINY, "env": GAME, "expert": {"algorithm": "trajectories", "path": "saved"}, "dagger": dagger}
        )
    )
    result = cesma_sb3.run(file, out=tmp_path / "run")
    assert set(result.report["return"]) == {"students", "random"}
    assert result.report["return"]["students"] > 7.5
    assert (tmp_path / "run" / "expert" / "trajectories" / "state.json").is_file()
    assert set(cesma_sb3.evaluate_run(tmp_path / "run")["return"]) == {"students", "random"}
    assert set(record_episodes(tmp_path / "run", episodes=1)) == {"students"}
    assert load_team(tmp_path / "run" / "students").team.agents == ("player_0", "player_1")
    with pytest.raises(ExpertError, match="nobody is there to ask"):
        price(tmp_path / "run")


def test_actions_of_a_view_and_without_messages(tmp_path):
    """What SB3's DQN did in a team that talks: one number for all moves, and no messages."""
    venv = make_vec_env("speaker-listener", n_envs=1, seed=0)
    width = message_free_view(venv.team).team.observation_size
    assert width < venv.team.observation_size
    done = np.array([0, 3, 4, 1])
    silent = {"observations": np.zeros((4, width)), "actions": done, "starts": np.ones(4, dtype=bool)}
    states = recorded_expert(recorded_arrays(silent), venv.team, 100, view="product")[1].states()
    assert states.labels[:, 0, venv.team.action_columns[1]].ravel().tolist() == done.tolist()
    assert states.observations.shape == (4, 1, venv.team.observation_size)
    venv.close()


def test_masks_and_deaths_are_recorded_too():
    team = JointEnv(MortalEnv()).team
    rng = np.random.default_rng(0)
    arrays = {
        "observations": rng.random((5, team.observation_size)),
        "actions": np.zeros((5, 3), dtype=np.int64),
        "starts": np.array([True, False, False, True, False]),
        "masks": rng.random((5, team.mask_size)) < 0.7,
    }
    arrays["observations"][2, team.observation_slices[0]] = 0.0
    states = recorded_expert(recorded_arrays(arrays), team, 4)[1].states()
    assert len(states.starts) == 4  # the newest
    assert states.alive[:, 0, 0].tolist() == [True, False, True, True]
    assert states.masks is not None
    assert np.array_equal(states.masks[:, 0], arrays["masks"][1:])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dagger.algorithm": "dagger"}, "dagger.algorithm: expected bc, for the expert is recorded"),
        ({"dagger.total_timesteps": 100}, "dagger.total_timesteps: expected 0"),
        ({"dagger.experience.rollout_timesteps": 100}, "dagger.experience.rollout_timesteps: expected 0"),
        ({"dagger.labels": "soft"}, "dagger.labels: expected hard or auto"),
        ({"fine_tuning.total_timesteps": 100}, "fine_tuning.imitation_coef: expected 0"),
        ({"expert.total_timesteps": 100}, "expert.total_timesteps: expected 0"),
        ({"expert.experience": "states"}, "expert.experience: expected null for recorded trajectories"),
        ({"expert.path": None}, "expert.path: expected a file"),
    ],
)
def test_what_would_ask_an_expert_is_refused(changes, said):
    recorded = {"expert.algorithm": "trajectories", "expert.path": "x.npz", "dagger.algorithm": "bc"}
    recorded["dagger.experience"] = {}
    with pytest.raises(ConfigError, match=said):
        load_experiment("spread-3-scripted", {**recorded, "dagger.total_timesteps": 0, **changes})


def test_decentralize_refuses_to_ask_too():
    with pytest.raises(ConfigError, match=r"dagger\.algorithm: expected bc"):
        cesma_sb3.decentralize(played(1), GAME, algorithm="dagger")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file or folder"),
        (b"nothing", "no recorded trajectories"),
        ({"actions": np.zeros(3)}, "no array 'observations', expected observations, actions, starts"),
        ({"observations": np.zeros((2, 6)), "actions": np.zeros(3), "starts": np.ones(3)}, "expected 3 rows"),
        (
            {"observations": np.zeros((2, 6)), "actions": np.zeros(2), "starts": np.zeros(2)},
            "begins an episode",
        ),
    ],
    ids=["none", "text", "one array", "lengths", "starts"],
)
def test_files_that_are_none(content, said, tmp_path):
    path = tmp_path / "x.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    with pytest.raises((StorageError, ConfigError), match=said) as caught:
        load_recording(path)
    assert "\n" not in str(caught.value)


def test_what_is_pickled_is_not_read(tmp_path):
    np.savez(tmp_path / "x.npz", observations=np.array([{}], dtype=object))
    with pytest.raises(StorageError, match="no recorded trajectories"):
        load_recording(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"observations": np.zeros((4, 7))}, "observations of 7 numbers, expected 6 of the whole team"),
        (
            {"actions": np.zeros((4, 3))},
            r"actions of shape \(4, 3\), expected \(4, 2\) in the action view joint",
        ),
        ({"agents": np.array(["player_1", "player_0"])}, "in this order"),
        ({"actions": np.full((4, 2), 5)}, "trajectories: 5 for player_0 in environment 0, recorded step 0"),
    ],
    ids=["observations", "actions", "agents", "categories"],
)
def test_trajectories_of_another_team(changed, said, tmp_path):
    arrays = {**recorded_arrays(played(1)), **changed}
    with pytest.raises((SpaceError, CesmaError), match=said):
        cesma_sb3.decentralize(arrays, GAME, out=tmp_path / "run", **TINY)
