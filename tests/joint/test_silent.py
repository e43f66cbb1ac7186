"""The message-free view: what is left out, what stays, and an environment that SB3 can be trained in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.monitor import Monitor

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, Spread, make_scenario, parallel_env
from cesma_sb3.spaces.action_views import make_view
from cesma_sb3.spaces.layout import ActionPart
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import has_messages, message_free_view
from tests.envs_for_tests import TalkAndMove, talking_team_with_masks
from tests.message_free import message_free

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("speaker-listener", {}),
    ("speaker-listener", {"continuous_actions": True}),
    ("navigation-comm", {}),
    ("navigation-comm", {"n_agents": 3, "n_landmarks": 5}),
    ("navigation-comm", {"continuous_actions": True}),
]


def test_messages_are_left_out_of_spaces_and_layouts() -> None:
    team = message_free_view(make_scenario("navigation-comm").team()).team
    assert team.agents == ("agent_0", "agent_1")
    assert team.observation_sizes == (2 + 6 + 3,) * 2
    assert team.action_spaces["agent_0"] == spaces.Discrete(5)
    assert [part.name for part in team.layouts["agent_1"].observation.parts] == [
        "velocity", "landmarks", "goal",
    ]  # fmt: skip
    directions = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
    assert team.layouts["agent_1"].action == (ActionPart("move", "move", 0, directions),)


def test_whoever_can_only_talk_has_nothing_to_choose() -> None:
    for continuous in (False, True):
        team = message_free_view(make_scenario("speaker-listener", continuous_actions=continuous).team()).team
        assert team.action_spaces["speaker_0"] == spaces.Discrete(1)
        assert team.observation_sizes == (3, 8)
        assert team.column_categories == ((1, 0, 0, 0, 0, 0) if continuous else (1, 5))


def test_masks_keep_to_what_is_left() -> None:
    team = talking_team_with_masks()
    silent = message_free_view(team)
    assert silent.team.has_masks
    assert silent.team.column_categories == (3, 2)
    assert silent.team.observation_sizes == (2, 1)
    masks = np.array([[0, 1, 0, 0, 1, 0, 1, 0, 1]], dtype=bool)
    np.testing.assert_array_equal(silent.masks(masks), [[1, 0, 1, 0, 1]])
    np.testing.assert_array_equal(silent.actions(np.array([[2, 1]])), [[0, 2, 1]])
    np.testing.assert_array_equal(silent.actions(np.array([[2, 1]]), masks), [[1, 2, 1]])
    np.testing.assert_array_equal(silent.team.observation_space.low, [-1, -1, -1])
    speaker = message_free_view(make_scenario("speaker-listener").team())
    np.testing.assert_array_equal(speaker.masks(np.zeros((1, 8), dtype=bool)), [[1, 0, 0, 0, 0, 0]])


@given(seed=st.integers(0, 2**32 - 1), variant=st.sampled_from(VARIANTS))
def test_there_and_back_again(seed: int, variant: tuple[str, dict[str, Any]]) -> None:
    name, kwargs = variant
    silent = message_free_view(make_scenario(name, **kwargs).team())
    rng = np.random.default_rng(seed)
    quiet = np.array([_sample(silent.team, rng) for _ in range(4)])
    full = silent.actions(quiet)
    assert full.dtype == silent.full.action_dtype
    for agent, where in zip(silent.full.agents, silent.full.action_columns, strict=True):
        own = silent.team.action_columns[silent.team.agent_index(agent)].start
        for part in silent.full.layouts[agent].action:
            column = where.start + part.column
            if part.kind == "message":
                np.testing.assert_array_equal(full[:, column], 0)
            else:
                np.testing.assert_array_equal(full[:, column], quiet[:, own])
                own += 1
    observations = rng.normal(size=(4, silent.full.observation_size)).astype(np.float32)
    seen, kept = (
        team.split_observations(joint)
        for team, joint in ((silent.full, observations), (silent.team, silent.observations(observations)))
    )
    for agent in silent.full.agents:
        for part in silent.team.layouts[agent].observation.parts:
            np.testing.assert_array_equal(
                seen[agent][:, silent.full.layouts[agent].observation.slice(part.name)],
                kept[agent][:, silent.team.layouts[agent].observation.slice(part.name)],
            )


def _sample(team: TeamSpaces, rng: np.random.Generator) -> np.ndarray:
    return np.array([rng.integers(n) if n else rng.random() for n in team.column_categories]).astype(
        team.action_dtype
    )


def test_a_team_in_which_nobody_speaks_stays_as_it_is() -> None:
    team = Spread(3).team()
    silent = message_free_view(team)
    assert not has_messages(team)
    assert silent.team is team
    for array, function in (
        (np.zeros((2, 54), dtype=np.float32), silent.observations),
        (np.zeros((2, 3), dtype=np.int64), silent.actions),
        (np.ones((2, 15), dtype=bool), silent.masks),
        (np.ones((2, 15), dtype=np.float32), silent.probabilities),
    ):
        np.testing.assert_array_equal(function(array), array)
    twice = message_free_view(message_free_view(make_scenario("navigation-comm").team()).team).team
    assert twice == message_free_view(make_scenario("navigation-comm").team()).team
    assert not has_messages(twice)


@pytest.mark.parametrize(("name", "kwargs"), VARIANTS)
def test_the_environment_is_the_same_without_messages(name: str, kwargs: dict[str, Any]) -> None:
    scenario = make_scenario(name, **kwargs, max_cycles=6)
    quiet, full = message_free(ParticleVecEnv(scenario, 3)), ParticleVecEnv(scenario, 3)
    assert quiet.observation_space == quiet.team.observation_space
    assert quiet.action_space == quiet.view.space
    quiet.seed(5)
    full.seed(5)
    np.testing.assert_array_equal(quiet.reset(), quiet.team_view.observations(full.reset()))
    assert quiet.agent_masks is None
    assert quiet.alive.all()
    quiet.action_space.seed(0)
    for _ in range(14):
        action = np.array([quiet.action_space.sample() for _ in range(3)])
        ours = quiet.step(action)
        theirs = full.step(quiet.team_view.actions(quiet.view.decode(action)))
        np.testing.assert_array_equal(ours[0], quiet.team_view.observations(theirs[0]))
        np.testing.assert_array_equal(ours[1], theirs[1])
        np.testing.assert_array_equal(ours[2], theirs[2])
        for own, other in zip(ours[3], theirs[3], strict=True):
            if "terminal_observation" in own:
                kept = quiet.team_view.observations(other["terminal_observation"])
                np.testing.assert_array_equal(own["terminal_observation"], kept)
                assert own["agent_returns"] == other["agent_returns"]
                assert other["terminal_observation"].shape == full.observation_space.shape


def test_it_answers_what_sb3_asks_an_environment() -> None:
    venv = ParticleVecEnv(make_scenario("speaker-listener"), 2, seed=0)
    quiet = message_free(venv, view="product")
    quiet.reset()
    assert quiet.action_space == spaces.Discrete(5)
    assert quiet.action_masks().shape == (2, 5)
    assert quiet.env_method("action_masks")[0].shape == (5,)
    assert quiet.get_attr("action_masks")[0]().shape == (2, 5)
    assert quiet.get_attr("name") == ["speaker-listener"] * 2
    assert quiet.env_method("team")[0] == venv.team
    quiet.set_attr("max_cycles", 3)
    assert venv.scenario.max_cycles == 3
    assert quiet.env_is_wrapped(Monitor) == [True, True]
    assert quiet.get_images()[0].shape == quiet.render("rgb_array").shape
    quiet.render_terminal()
    assert venv.renders_terminal
    quiet.set_options({})
    assert quiet.reset_infos == [{}, {}]
    quiet.close()


def test_environments_that_are_stepped_one_by_one_have_a_silent_view_too() -> None:
    venv = message_free(joint_vec_env(lambda: parallel_env("navigation-comm", max_cycles=3), 2, seed=0))
    assert venv.reset().shape == (2, 22)
    for step in range(1, 5):
        observations, _, dones, infos = venv.step(np.zeros((2, 2), dtype=np.int64))
        assert observations.shape == (2, 22)
        assert dones.all() == (step == 3)
    assert all(info["alive"].all() for info in infos)
    venv.close()


@pytest.mark.parametrize("name", ["speaker-listener", "navigation-comm"])
@pytest.mark.parametrize(("algorithm", "view"), [(PPO, "joint"), (DQN, "product")])
def test_sb3_learns_in_it(algorithm: Any, view: str, name: str) -> None:
    venv = message_free(ParticleVecEnv(make_scenario(name), 4, seed=0), view=view)
    few = {"n_steps": 16, "n_epochs": 1} if algorithm is PPO else {"learning_starts": 16}
    model = algorithm("MlpPolicy", venv, seed=0, device="cpu", batch_size=16, **few).learn(200)
    actions, _ = model.predict(venv.reset())
    assert all(venv.action_space.contains(action) for action in actions)


def test_masks_where_agents_talk() -> None:
    env = TalkAndMove()
    full = joint_vec_env(lambda: env, 1)
    assert full.team == talking_team_with_masks()
    quiet = message_free(
        full, view=make_view("one-at-a-time", message_free_view(full.team).team, noop=(2, 1))
    )
    assert quiet.view.name == "one-at-a-time"
    quiet.reset()
    moves = {0: [0, 1, 1, 0, 1], 1: [1, 0, 1, 1, 0], 2: [1, 1, 0, 0, 1]}
    np.testing.assert_array_equal(quiet.agent_masks, [moves[0]])
    np.testing.assert_array_equal(quiet.reset_infos[0]["action_mask"], moves[0])
    assert quiet.reset_infos[0]["alive"].all()
    # What is said is the first word that is available; the others are at rest unless somebody cannot.
    for t, done in ((1, [1, 2]), (2, [0, 2]), (3, [0, 0])):
        _, _, dones, infos = quiet.step(quiet.action_masks().argmax(axis=1))
        assert env.done[-1]["talks"].tolist() == done
        if t < 3:
            np.testing.assert_array_equal(infos[0]["action_mask"], moves[t])
            assert "terminal_observation" not in infos[0]
    assert dones.all()
    assert infos[0]["terminal_observation"].tolist() == pytest.approx([0.3, 0.3, 0.3])
    np.testing.assert_array_equal(quiet.reset_infos[0]["action_mask"], moves[0])
