"""Whether there are masks belongs to the team: wherever an environment gives them, everybody finds them."""

from __future__ import annotations

import json
import random
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.vec_env import DummyVecEnv, VecCheckNan, VecFrameStack, VecMonitor

from cesma_sb3.algorithms import RecurrentFactoredDQN
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.partition import PartitionedEnv
from cesma_sb3.errors import EnvError, SpaceError
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.spaces.agent_slices import AgentSlice
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import message_free_view
from cesma_sb3.testing import check_environment
from tests.envs_for_tests import MatchingGame, MortalEnv

BOX = spaces.Box(-9.0, 9.0, (2,), np.float32)


class Masked(MatchingGame):
    """One category is left to each player, which changes from step to step; masks come by `where`.

    `where`: `info`, or the keys of a Dict observation besides the mask's.
    """

    def __init__(self, where: str | tuple[str, ...] = "info", n_agents: int = 2, first: int = 0) -> None:
        super().__init__(n_agents)
        self.where, self.first = where, first

    def available(self) -> np.ndarray:
        return np.eye(self.n_cues, dtype=np.int8)[self.t % self.n_cues]

    def observation_space(self, agent: Any) -> spaces.Space:
        if self.where == "info":
            return self.seen
        mask = spaces.Box(0, 1, (self.n_cues,), np.int8)
        return spaces.Dict(dict.fromkeys(self.where, BOX) | {"action_mask": mask})

    def observe(self, agent: Any) -> Any:
        if self.where == "info":
            return super().observe(agent)
        seen = {key: np.full(2, 1 + number, np.float32) for number, key in enumerate(self.where)}
        return {**seen, "action_mask": self.available()}

    def infos(self, agents: list[Any]) -> dict[Any, Any]:
        tells = self.where == "info" and self.t >= self.first
        return {agent: {"action_mask": self.available()} if tells else {} for agent in agents}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        observations, _ = super().reset(seed, options)
        return observations, self.infos(self.agents)

    def step(self, actions: dict[Any, int]) -> tuple[dict, dict, dict, dict, dict]:
        assert all(self.available()[action] for action in actions.values())
        acted = list(self.agents)
        *rest, _ = super().step(actions)
        return (*rest, self.infos(acted))


@pytest.mark.parametrize(
    "where", ["info", ("observation",), ("obs",), ("x", "state"), ("b", "a", "c")], ids=str
)
def test_masks_are_found_wherever_they_come(where):
    env = JointEnv(Masked(where))
    assert env.team.has_masks
    assert env.team.masked_agents == {"player_0", "player_1"}
    assert env.team.observation_sizes == (3,) * 2 if where == "info" else (2 * len(where),) * 2
    _, info = env.reset(seed=0)
    assert info["action_mask"].tolist() == [True, False, False] * 2
    *_, info = env.step(np.array([0, 0]))
    assert info["action_mask"].tolist() == [False, True, False] * 2
    again = TeamSpaces.from_json(json.loads(json.dumps(env.team.to_json())))
    assert again == env.team
    assert again.has_masks
    assert again.only("player_1").has_masks
    assert message_free_view(again).team.has_masks


def test_the_only_key_besides_the_mask_is_the_observation_and_several_stay_a_dict():
    one, several = (TeamSpaces.from_parallel_env(Masked(where)) for where in (("obs",), ("b", "a")))
    seen = {"obs": np.array([1, 2]), "action_mask": np.ones(3)}
    np.testing.assert_array_equal(one.flatten_agent("player_0", seen), [1, 2])
    np.testing.assert_array_equal(one.flatten_agent("player_0", {"obs": seen["obs"]}), [1, 2])
    seen = {"a": np.array([3, 4]), "b": np.array([1, 2]), "action_mask": np.ones(3)}
    keys = list(Masked(("b", "a")).observation_space("player_0").spaces)
    expected = np.concatenate([seen[key] for key in keys if key != "action_mask"])
    np.testing.assert_array_equal(several.flatten_agent("player_0", seen), expected)
    with pytest.raises(
        SpaceError, match=r"player_0: keys \['action_mask', 'observation'\], without \['obs'\]"
    ):
        one.flatten_agent("player_0", {"observation": 0, "action_mask": 0})


def test_a_team_with_masks_is_another_team():
    plain = TeamSpaces.from_parallel_env(MatchingGame())
    masked = TeamSpaces.from_parallel_env(Masked())
    assert plain.observation_spaces == masked.observation_spaces
    assert plain != masked


def test_asking_for_masks_changes_nothing_of_what_a_seed_fixes():
    class Drawing(MatchingGame):
        """Draws from every global generator as well."""

        def begin(self) -> None:
            super().begin()
            self.drawn = random.random(), np.random.rand(), th.rand(()).item()  # noqa: NPY002 - the global one

    def drawn(make: Any) -> list[Any]:
        random.seed(5)
        np.random.seed(5)  # noqa: NPY002 - the global one
        th.manual_seed(5)
        env = make()
        observations, _ = env.reset(seed=3)
        if isinstance(observations, dict):
            observations = np.concatenate(list(observations.values()))
        return [observations, getattr(env, "parallel_env", env).drawn]

    asked, bare = drawn(lambda: JointEnv(Drawing())), drawn(Drawing)
    np.testing.assert_array_equal(asked[0], bare[0])
    assert asked[1] == bare[1]


def test_environments_that_are_never_seeded_draw_afresh():
    seen = {tuple(JointEnv(MatchingGame(8, 9)).reset()[0].tolist()) for _ in range(4)}
    assert len(seen) > 1


def test_an_environment_says_itself_that_its_infos_have_masks():
    class Late(Masked):
        masks_in_infos = True

        def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
            self.resets = getattr(self, "resets", 0) + 1
            return super().reset(seed, options)

    env = JointEnv(Late(first=1))
    assert env.team.has_masks
    assert not hasattr(env.parallel_env, "resets")
    assert env.reset()[1]["action_mask"].all()
    assert env.step(np.array([0, 0]))[-1]["action_mask"].tolist() == [False, True, False] * 2


def test_masks_that_come_later_are_a_fault_of_the_environment():
    venv = joint_vec_env(lambda: Masked(first=1), 2)
    assert not venv.team.has_masks
    venv.reset()
    with pytest.raises(EnvError, match="step 1: player_0 has an action mask in its info, but no"):
        venv.step(np.zeros((2, 2), dtype=np.int64))


def test_masks_of_an_environment_are_there_before_its_first_reset():
    venv = joint_vec_env(Masked, 2)
    assert venv.agent_masks.all()
    venv.reset()
    assert venv.agent_masks.tolist() == [[True, False, False] * 2] * 2
    assert joint_vec_env(MatchingGame).agent_masks is None


class Switches(gymnasium.Env):
    """Two switches, joint already, one of which is stuck; `masks` come by a method, an info or a wrapper."""

    observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
    action_space = spaces.MultiDiscrete([2, 3])
    free = np.array([True, False, True, True, False])

    def __init__(self, in_info: bool = False) -> None:
        self.in_info = in_info

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {"action_mask": self.free} if self.in_info else {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        observation, info = self.reset()
        return observation, 1.0, False, False, info


@pytest.mark.parametrize(
    "env",
    [Switches(in_info=True), ActionMasker(Switches(), lambda env: env.unwrapped.free)],
    ids=["info", "wrapper"],
)
def test_masks_of_a_joint_environment_are_divided(env):
    joint = JointEnv(PartitionedEnv(env, {"left": AgentSlice("0", "0"), "right": AgentSlice("1", "1")}))
    assert joint.team.has_masks
    assert joint.reset()[1]["action_mask"].tolist() == Switches.free.tolist()
    assert joint.step(np.array([0, 0]))[-1]["action_mask"].tolist() == Switches.free.tolist()


def test_an_agent_with_masks_asks_for_them():
    team = TeamSpaces.from_parallel_env(Masked())
    agent = TeamPolicy(team.observation_space, team.action_space, lambda _: 0.0, team=team).agent("player_1")
    seen = np.zeros(3, np.float32)
    for only in range(3):
        assert agent.predict(seen, action_masks=np.eye(3, dtype=bool)[only])[0] == only
    with pytest.raises(SpaceError, match="player_1: its actions are masked; expected action_masks=, 3 flags"):
        agent.predict(seen)
    team = TeamSpaces.from_parallel_env(Masked(("obs", "more")))
    agent = TeamPolicy(team.observation_space, team.action_space, lambda _: 0.0, team=team).agent("player_0")
    for only in range(3):
        seen = {"obs": np.zeros(2), "more": np.zeros(2), "action_mask": np.eye(3, dtype=np.int8)[only]}
        assert agent.predict(seen)[0] == only


@pytest.mark.parametrize("where", ["info", ("obs",)], ids=str)
def test_check_environment_takes_masks_wherever_they_come(where):
    assert check_environment(lambda: Masked(where), n_steps=20).has_masks


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor` wrapper")
@pytest.mark.parametrize(
    "wrapped",
    [VecMonitor, lambda venv: VecMonitor(VecCheckNan(venv)), lambda venv: VecFrameStack(venv, 2), None],
)
def test_wrappers_of_sb3_leave_the_masks_to_the_learner(wrapped):
    venv = DummyVecEnv([lambda: JointEnv(MortalEnv(masks="info"), team_reward="mean")] * 2)
    if wrapped is not None:
        venv = wrapped(joint_vec_env(lambda: MortalEnv(masks="info"), 2, team_reward="mean"))
    model = RecurrentFactoredDQN("MlpPolicy", venv, learning_starts=20, seed=0)
    model.learn(60)  # an action that is not available raises there
    assert model._masks is not None
    episodes = model.replay_buffer.sample(8)
    stored = episodes.masks[episodes.acted]
    assert not stored.all()
    assert stored.any(dim=1).all()
