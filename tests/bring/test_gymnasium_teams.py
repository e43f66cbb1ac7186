"""Gymnasium environments whose spaces are Tuples or Dicts: their members are the agents."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test

import cesma_sb3
from cesma_sb3.envs import make_parallel_env, make_vec_env
from cesma_sb3.envs.gymnasium_team import GymnasiumTeam, WeightedRewards
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.errors import CesmaError, ConfigError, EnvError, RewardError, SpaceError, UnknownNameError
from tests.envs_for_tests import MatchingGame

NAMES = ("east", "west")


class Pair(gymnasium.Env):
    """Each of two agents sees a cue of its own, one-hot, and is right if it plays it.

    Args:
        form: How spaces, observations and actions look: `tuple` or `dict`.
        rewards: `each`: by agent, in that form; `list`; `one`: a number; `vector`: how many were right, and
            whether the first was, of both; `vectors`: the same for each.
        flags: `one`, `list` or `each`.
        infos: `one`, `list` or `each`; with `masked` each has a mask, in which cue 2 is not available.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}

    def __init__(
        self,
        form: str = "tuple",
        *,
        rewards: str = "each",
        flags: str = "one",
        infos: str = "one",
        masked: bool = False,
        length: int = 4,
        render_mode: str | None = None,
    ) -> None:
        self.form, self.rewards, self.flags, self.infos = form, rewards, flags, infos
        self.masked, self.length, self.render_mode = masked, length, render_mode
        seen, played = spaces.Box(0.0, 1.0, (3,), np.float32), spaces.Discrete(3)
        whole = spaces.Tuple if form == "tuple" else spaces.Dict
        self.observation_space = whole(self.by_agent([seen, seen]))
        self.action_space = whole(self.by_agent([played, played]))

    def by_agent(self, values):
        return tuple(values) if self.form == "tuple" else dict(zip(NAMES, values, strict=True))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observe(), self.info()

    def observe(self):
        self.cues = self.np_random.integers(2 if self.masked else 3, size=2)
        return self.by_agent(np.eye(3, dtype=np.float32)[self.cues])

    def info(self):
        mask = np.array([True, True, False])
        own = [{"cue": int(cue), **({"action_mask": mask} if self.masked else {})} for cue in self.cues]
        if self.infos == "one":
            return {"action_mask": self.by_agent([mask, mask])} if self.masked else {"time": self.t}
        return own if self.infos == "list" else self.by_agent(own)

    def step(self, action):
        assert self.action_space.contains(action)
        played = np.array([action[key] for key in (range(2) if self.form == "tuple" else NAMES)])
        right = (played == self.cues).astype(float)
        vector = np.array([right.sum(), right[0]])
        reward = {
            "each": lambda: self.by_agent(right.tolist()),
            "list": right.tolist,
            "one": right.sum,
            "vector": lambda: vector,
            "vectors": lambda: [vector, vector],
        }[self.rewards]()
        self.t += 1
        over = self.t >= self.length
        flags = {"one": over, "list": [over, over], "each": self.by_agent([over, over])}[self.flags]
        return self.observe(), reward, flags, False, self.info()

    def render(self):
        return np.full((4, 6, 3), self.t, dtype=np.uint8)


PAIR = f"{__name__}:Pair"
gymnasium.register(id="Pair-v0", entry_point=PAIR)


@pytest.mark.parametrize("form", ["tuple", "dict"])
def test_it_is_a_pettingzoo_environment(form):
    parallel_api_test(GymnasiumTeam(Pair(form)), num_cycles=20)


@given(
    form=st.sampled_from(["tuple", "dict"]),
    rewards=st.sampled_from(["each", "list", "one"]),
    flags=st.sampled_from(["one", "list", "each"]),
    infos=st.sampled_from(["one", "list", "each"]),
    masked=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_every_form_is_the_same_team(seed, form, masked, **forms):
    bare, env = Pair(masked=masked), GymnasiumTeam(Pair(form, masked=masked, **forms))
    team_reward = "shared" if forms["rewards"] == "one" else "sum"
    joint = JointEnv(env, team_reward=team_reward)
    assert joint.team.agents == (NAMES if form == "dict" else ("agent_0", "agent_1"))
    assert joint.team.has_masks == masked
    expected, _ = bare.reset(seed=seed)
    observation, info = joint.reset(seed=seed)
    rng, over = np.random.default_rng(seed), False
    while not over:
        np.testing.assert_array_equal(observation, np.concatenate(expected))
        assert info["alive"].all()
        if masked:
            np.testing.assert_array_equal(info["action_mask"], [True, True, False] * 2)
        action = rng.integers(2, size=2)
        expected, own, ends, _, _ = bare.step(tuple(action))
        observation, reward, over, truncated, info = joint.step(action)
        assert reward == sum(own)
        assert (over, truncated) == (ends, False)


def test_seeds():
    """Whatever was played before; without a seed nobody knows what comes."""

    def cues(env, seed=None):
        env.reset(seed=seed)
        return [env.step({})[0]["agent_0"].tolist() for _ in range(8)]

    first, second = GymnasiumTeam(Pair(length=20)), GymnasiumTeam(Pair(length=20))
    assert cues(first, 5) == cues(second, 5)
    assert cues(first) == cues(second)  # the generators continue
    assert cues(first) != cues(GymnasiumTeam(Pair(length=20)))
    assert len({str(cues(GymnasiumTeam(Pair(length=20)))) for _ in range(4)}) > 1


def test_one_agent_may_leave_before_the_other():
    class Leaving(Pair):
        def step(self, action):
            self.sent = action
            observation, reward, _, _, info = super().step(action)
            return observation, reward, [self.t >= 1, self.t >= 3], [False, False], info

    env = Leaving()
    joint = JointEnv(GymnasiumTeam(env), team_reward="sum")
    joint.reset(seed=0)
    *_, over, _, info = joint.step([2, 2])
    assert env.sent == (2, 2)
    assert not over
    assert info["alive"].tolist() == [False, True]
    joint.step([2, 2])
    assert env.sent == (0, 2)
    assert joint.step([2, 2])[2]


def test_vectors_are_weighted():
    vector = WeightedRewards(GymnasiumTeam(Pair(rewards="vector"), vector_rewards=True), [0.5, 2.0])
    vectors = make_parallel_env(PAIR, {"rewards": "vectors", "form": "dict"}, reward_weights=[0.5, 2.0])
    for env in (vector, vectors):
        observations, _ = env.reset(seed=0)
        first, second = (int(observations[agent].argmax()) for agent in env.possible_agents)
        right = dict(zip(env.possible_agents, (first, (second + 1) % 3), strict=True))
        assert list(env.step(right)[1].values()) == [0.5 * 1 + 2.0 * 1] * 2


@pytest.mark.parametrize(
    ("kwargs", "weights", "error", "message"),
    [
        ({"rewards": "vectors"}, None, EnvError, r"agent_0 is array\(.*; env\.reward_weights makes a number"),
        (
            {"rewards": "each"},
            [1.0, 2.0, 3.0],
            EnvError,
            r"reward of agent_0 is .*expected 3 numbers, as env\.rew",
        ),
        ({}, [], ConfigError, r"env\.reward_weights: \[\], expected one finite number at least"),
        ({}, [float("nan")], ConfigError, r"env\.reward_weights: \[nan\], expected one finite"),
        ({"rewards": "list"}, None, RewardError, "team_reward 'shared', but agent_"),
    ],
)
def test_rewards_that_are_no_numbers(kwargs, weights, error, message):
    with pytest.raises(error, match=message):
        play(make_vec_env(PAIR, kwargs=kwargs, reward_weights=weights, n_envs=1, seed=0))


def play(venv):
    venv.reset()
    for _ in range(20):
        venv.step(np.array([[0, 1]]))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (([np.zeros(3)], 0.0, False, False, {}), r"observation \[array.*, expected one for each of 2 agents"),
        ((None, 0.0, False, False, {}), "observation None, expected one for each of 2 agents"),
        (([np.zeros(3)] * 2, [1.0] * 3, False, False, {}), r"reward \[1\.0, 1\.0, 1\.0\], expected one for"),
        (
            ([np.zeros(3)] * 2, {"agent_0": 1.0}, False, False, {}),
            r"reward of \['agent_0'\], without \['agent_1'\]",
        ),
        (([np.zeros(3)] * 2, 1.0, [False], False, {}), r"terminated \[False\], expected one for each of 2"),
        (([np.zeros(3)] * 2, 1.0, False, "no", {}), "truncations of agent_0 are 'no', expected True or Fal"),
        (([np.zeros(3)] * 2, 1.0, False, False, [{}]), r"info \[\{\}\], expected one for each of 2 agents"),
        (([np.zeros(3)] * 2, 1.0, False, {}), r"step returned no \(observation, reward, .*, but 4 values"),
    ],
)
def test_answers_of_another_shape_are_one_line(answer, message):
    env = Pair()
    joint = JointEnv(GymnasiumTeam(env))
    joint.reset(seed=0)
    env.step = lambda action: answer
    with pytest.raises(EnvError, match=rf"^Pair, step 1: .*{message}") as caught:
        joint.step([0, 0])
    assert "\n" not in str(caught.value)


def test_spaces_that_are_for_no_team():
    env = Pair()
    env.action_space = spaces.Tuple([spaces.Discrete(2)] * 3)
    with pytest.raises(
        SpaceError, match=r"^Pair: observations are of 2 agents \(agent_0, agent_1\), actions of 3 agents"
    ):
        GymnasiumTeam(env)
    env = Pair("dict")
    env.action_space = spaces.Dict({"east": spaces.Discrete(2), "south": spaces.Discrete(2)})
    with pytest.raises(
        SpaceError, match=r"\(east, west\), actions of 2 agents \(east, south\); expected the"
    ):
        GymnasiumTeam(env)
    env.action_space = spaces.MultiDiscrete([2, 2])
    with pytest.raises(SpaceError, match="expected two Tuples or two Dicts"):
        GymnasiumTeam(env)


def test_an_environment_by_its_id():
    venv = make_vec_env(f"{__name__}:Pair-v0", kwargs={"length": 3}, team_reward="sum", n_envs=2, seed=0)
    venv.reset()
    dones = [venv.step(np.zeros((2, 2), dtype=int))[2].tolist() for _ in range(3)]
    assert dones == [[False, False], [False, False], [True, True]]
    rendering = make_vec_env(f"{__name__}:Pair-v0", team_reward="sum", n_envs=1, seed=0, renderable=True)
    rendering.reset()
    assert rendering.render().shape == (4, 6, 3)
    with pytest.raises(
        UnknownNameError, match="unknown Gymnasium environment 'Pair-v1'; did you mean 'Pair-v"
    ):
        make_vec_env(f"{__name__}:Pair-v1")
    with pytest.raises(
        CesmaError, match=r"made CartPoleEnv: expected a PettingZoo .*; env\.team says how anoth"
    ):
        make_vec_env("gymnasium:CartPole-v1")


def test_vectors_of_pettingzoo():
    class Objectives(MatchingGame):
        def step(self, actions):
            observations, rewards, *rest = super().step(actions)
            return observations, {agent: np.array([r, -1.0]) for agent, r in rewards.items()}, *rest

    env = JointEnv(WeightedRewards(Objectives(), [1.0, 0.25]))
    env.reset(seed=0)
    assert env.step([0, 0])[1] in {-0.25, 0.75, 1.75}


def test_a_run_in_it(tmp_path):
    env = {"id": f"{__name__}:Pair-v0", "kwargs": {"rewards": "vectors"}, "reward_weights": [1.0, 0.0]}
    more = {"dagger.n_envs": 8, "evaluation": {"n_final_episodes": 8, "n_eval_episodes": 8, "n_envs": 4}}
    result = cesma_sb3.decentralize(
        lambda seen: np.stack([seen[:, :3].argmax(axis=1), seen[:, 3:].argmax(axis=1)], axis=1),
        env,
        total_timesteps=600,
        out=tmp_path / "run",
        **more,
    )
    assert result.report["return"]["expert"] == 8
    assert result.report["return"]["students"] > 6
    assert "weighted by [1.0, 0.0], shared" in result.report["reward"]
