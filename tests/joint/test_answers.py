"""What an environment answers is read as it is meant, or refused in one line: agent, step, what came."""

from types import SimpleNamespace

import numpy as np
import pytest
from gymnasium import spaces

from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.errors import EnvError, LayoutError, SpaceError
from tests.envs_for_tests import MatchingGame, MixedEnv, SmallEnv

CUES = np.zeros(2, dtype=np.int64)
PARTS = ("observations", "rewards", "terminations", "truncations", "infos")


class Answering(MatchingGame):
    """ReturnReader its second step with one part in place of its own."""

    def __init__(self, part: str, answer) -> None:
        super().__init__()
        self.place, self.answer = PARTS.index(part), answer

    def step(self, actions):
        parts = list(super().step(actions))
        if self.t == 2:
            parts[self.place] = self.answer
        return tuple(parts)


def second_step(env) -> tuple:
    joint = JointEnv(env)
    joint.reset(seed=0)
    joint.step(CUES)
    return joint.step(CUES)


def each(value) -> dict:
    return dict.fromkeys(["player_0", "player_1"], value)


SEEN = np.eye(3, dtype=np.float32)[0]


@pytest.mark.parametrize(
    ("part", "answer"),
    [
        ("rewards", each(np.array([2.0]))),
        ("rewards", each(np.array(2, dtype=np.int8))),
        ("rewards", each(True)),
        ("rewards", each([[2]])),
        ("terminations", each(np.bool_(False))),
        ("terminations", each(np.array([False]))),
        ("truncations", each(0)),
        ("truncations", {}),
        ("infos", None),
        ("infos", {"player_0": None, "player_1": {}}),
        ("infos", {"team": {"shared": "by all"}}),
        ("observations", each(SEEN.tolist())),
        ("observations", each(SEEN.astype(object))),
    ],
)
def test_what_means_the_same_is_the_same(part, answer):
    observation, reward, terminated, truncated, _ = second_step(Answering(part, answer))
    assert observation.shape == (6,)
    assert (reward, terminated, truncated) == (pytest.approx(reward), False, False)
    assert isinstance(reward, float)


@pytest.mark.parametrize(
    ("part", "answer", "message"),
    [
        ("observations", None, "observations are None, expected a dict: a value for each agent"),
        ("observations", [[0, 0, 1]] * 2, r"observations are \[\[0, 0, 1\], .*, expected a dict"),
        ("observations", np.zeros((2, 3)), r"observations are array.*, expected a dict"),
        ("observations", each(None), r"observation of player_0: None, expected numbers of shape \(3,\)"),
        ("observations", each({"cue": SEEN}), r"observation of player_0: dict .*, expected numbers of shape"),
        ("observations", each([[1.0], [1.0, 2.0]]), "observation of player_0: list .*, expected numbers of"),
        ("observations", each(SEEN[None]), r"observation of player_0: shape \(1, 3\), expected \(3,\)"),
        ("rewards", [1.0, 1.0], r"rewards are \[1.0, 1.0\], expected a dict"),
        ("rewards", 1.0, "rewards are 1.0, expected a dict"),
        ("rewards", None, "rewards are None, expected a dict"),
        ("rewards", {}, "player_0 acted and has no reward"),
        ("rewards", each(None), "player_0 acted and has no reward"),
        ("rewards", each("much"), "reward of player_0 is 'much', expected a finite number"),
        ("rewards", each("3"), "reward of player_0 is '3', expected a finite number"),
        ("rewards", each(np.ones(2)), r"reward of player_0 is array\(\[1., 1.\]\), expected a finite number"),
        (
            "rewards",
            {**each(1.0), "team": 2.0},
            "rewards have the key 'team', which is no agent; expected pl",
        ),
        ("terminations", [False, False], r"terminations are \[False, False\], expected a dict"),
        ("terminations", False, "terminations are False, expected a dict"),
        (
            "terminations",
            {"__all__": False},
            "terminations have the key '__all__', which is no agent; expected",
        ),
        ("truncations", {**each(False), 0: False}, "truncations have the key 0, which is no agent"),
        ("truncations", each("no"), "truncations of player_0 are 'no', expected True or False"),
        ("truncations", each(np.zeros(2)), "truncations of player_0 are array.*, expected True or False"),
        ("truncations", each(0.5), "truncations of player_0 are 0.5, expected True or False"),
        ("infos", [{}, {}], r"infos are \[\{\}, \{\}\], expected a dict"),
    ],
)
def test_what_is_no_answer_is_one_line(part, answer, message):
    with pytest.raises(EnvError, match=f"^small, step 2: {message}") as caught:
        second_step(Answering(part, answer))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        (None, "its agents are None, expected the list of those that are alive"),
        (2, "its agents are 2, expected the list"),
        ("player_0", "its agents are 'player_0', expected the list"),
        (["player_0", "player_2"], r"agents \['player_2'\] are not among its possible_agents"),
    ],
)
def test_who_is_alive_is_said_by_a_list(agents, message):
    class Says(MatchingGame):
        def step(self, actions):
            result = super().step(actions)
            self.agents = agents
            return result

    joint = JointEnv(Says())
    joint.reset(seed=0)
    with pytest.raises(EnvError, match=f"^small, step 1: {message}"):
        joint.step(CUES)


@pytest.mark.parametrize(
    ("agent", "value", "message"),
    [
        (1, 4, "4 is not an element of"),
        (1, "two", r"str 'two', expected numbers of shape \(\)"),
        (3, [1], r"list \[1\], expected a dict with the keys \['a', 'b'\]"),
        (3, {"a": 1}, r"keys \['a'\], without \['b'\]"),
        (3, {"a": 1, "b": "red"}, r"str 'red', expected numbers of shape \(2, 2, 1\)"),
    ],
)
def test_observations_of_other_spaces_are_refused_alike(agent, value, message):
    class Sees(MixedEnv):
        def observe(self, who):
            return value if who == agent else super().observe(who)

    with pytest.raises(EnvError, match=f"^small, step 0: observation of {agent}: {message}"):
        JointEnv(Sees()).reset(seed=0)


class Duck:
    """PettingZoo's methods, and nothing else that its base class has."""

    possible_agents = ("left", "right")

    def __init__(self, **spoilt) -> None:
        vars(self).update(spoilt)

    def observation_space(self, agent):
        return spaces.Box(0, 9, (1,), np.float32)

    def action_space(self, agent):
        return spaces.Discrete(2)

    def reset(self, seed=None):
        self.agents, self.t = list(self.possible_agents), 0
        return dict.fromkeys(self.agents, np.zeros(1)), None

    def step(self, actions):
        acted, self.t = self.agents, self.t + 1
        self.agents = [] if self.t == 3 else acted
        seen = dict.fromkeys(acted, np.full(1, self.t))
        return seen, dict.fromkeys(acted, 1), dict.fromkeys(acted, self.t == 3), {}, None


def test_an_environment_need_not_inherit_from_pettingzoo():
    joint = JointEnv(Duck())
    joint.reset(seed=0)
    ends = [joint.step(CUES)[1:4] for _ in range(3)]
    assert ends == [(1.0, False, False)] * 2 + [(1.0, True, False)]
    with pytest.raises(EnvError, match=r"^Duck, step 3: step before reset, or after the end"):
        joint.step(CUES)
    joint.close()


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        ({"action_space": None}, "Duck: its action_space is None, expected a method that takes an agent"),
        (
            {"observation_space": spaces.Box(0, 1, (1,))},
            r"Duck: its observation_space is Box.*, expected a method that takes an agent",
        ),
        ({"action_space": lambda agent: 3}, "left: its action space is 3, expected a space of gymnasium"),
        (
            {"observation_space": lambda agent: SimpleNamespace(shape=(3,))},
            "left: its observation space is namespace.*, expected a space of gymnasium",
        ),
        (
            {"action_space": lambda agent: {}[agent]},
            r"Duck: action_space\('left'\) raised KeyError: 'left' \(tests/joint/test_answers.py:\d+\)",
        ),
    ],
)
def test_what_is_no_space_is_one_line(spoilt, message):
    with pytest.raises(SpaceError, match=f"^{message}"):
        JointEnv(Duck(**spoilt))


class Spaces(SmallEnv):
    """Agents of these observation and action spaces; everybody gets 1 at every step."""

    def __init__(self, seen, done) -> None:
        super().__init__([f"agent_{index}" for index in range(len(seen))])
        self.seen, self.done = (dict(zip(self.possible_agents, each, strict=True)) for each in (seen, done))

    def observation_space(self, agent):
        return self.seen[agent]

    def action_space(self, agent):
        return self.done[agent]

    def observe(self, agent):
        return self.seen[agent].sample()

    def step(self, actions):
        for agent, action in actions.items():
            like = self.done[agent].sample()
            assert type(action) is type(like)
            assert (action.dtype, action.shape) == (like.dtype, like.shape)
            assert self.done[agent].contains(action)
        self.t += 1
        over = self.t == 4
        acted, self.agents = self.agents, [] if over else self.agents
        ends = dict.fromkeys(acted, False), dict.fromkeys(acted, over)
        return {a: self.observe(a) for a in acted}, dict.fromkeys(acted, 1.0), *ends, {}


def box(low, high, shape=(2,), dtype=np.float32):
    return spaces.Box(low, high, shape, dtype)


NOTHING = box(0, 1, (0,))


@pytest.mark.parametrize(
    "done",
    [
        spaces.Discrete(3),
        spaces.Discrete(4, start=-2),
        spaces.Discrete(1),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiDiscrete([[2, 3], [4, 5]]),
        spaces.MultiDiscrete([3, 2], dtype=np.int32),
        spaces.MultiBinary(3),
        spaces.MultiBinary((2, 2)),
        box(-1, 1),
        box(-1, 1, (), np.float32),
        box(-1, 1, (2, 2), np.float64),
        box(-1, 1, (1,), np.float16),
        box(0, 255, (2,), np.uint8),
        box(0, 1, (2,), bool),
        NOTHING,
    ],
    ids=str,
)
@pytest.mark.parametrize("view", ["joint", "relaxed"])
def test_actions_arrive_as_sample_gives_them(done, view):
    joint = JointEnv(Spaces([box(0, 1)] * 2, [done, spaces.Discrete(2)]), view=view)
    joint.action_space.seed(0)
    joint.reset(seed=0)
    for _ in range(4):
        *_, terminated, truncated, _ = joint.step(joint.action_space.sample())
    assert (terminated, truncated) == (False, True)


@pytest.mark.parametrize(
    ("done", "entry", "bounds"),
    [
        (box(-np.inf, np.inf), 0, "-inf to inf"),
        (box(0, np.inf, (1,)), 0, "0 to inf"),
        (box(np.float32([0, -np.inf]), np.float32([1, 1])), 1, "-inf to 1"),
        (box(np.finfo(np.float32).min, np.finfo(np.float32).max), 0, r"-3.40282e\+38 to 3.40282e\+38"),
        (box(np.finfo(np.float64).min, np.finfo(np.float64).max, (1,), np.float64), 0, "-inf to inf"),
        (box(-1, np.finfo(np.float16).max, (1,), np.float16), 0, "-1 to 65504"),
    ],
)
def test_numbers_without_bounds_are_refused_when_the_environment_is_made(done, entry, bounds):
    env = Spaces([box(0, 1)] * 2, [spaces.Discrete(2), done])
    message = (
        rf"^agent_1: entry {entry} of its action space is without bounds \({bounds}\), expected finite ones"
    )
    with pytest.raises(SpaceError, match=message):
        JointEnv(env)


def test_wide_bounds_are_bounds_all_the_same():
    wide = [box(-1e9, 1e9), box(-(2**31), 2**31 - 1, (1,), np.int32), box(0, 255, (1,), np.uint8)]
    assert JointEnv(Spaces([box(-np.inf, np.inf)] * 3, wide)).team.n_columns == 4


@pytest.mark.parametrize("nothing", [NOTHING, spaces.Dict({}), spaces.Tuple([])])
def test_one_agent_may_see_nothing_but_not_all(nothing):
    joint = JointEnv(Spaces([nothing, box(0, 1)], [spaces.Discrete(2)] * 2))
    assert joint.reset(seed=0)[0].shape == (2,)
    with pytest.raises(
        SpaceError, match=r"^the observation spaces of all agents are empty, expected one at least"
    ):
        JointEnv(Spaces([nothing, NOTHING], [spaces.Discrete(2)] * 2))


def test_one_agent_may_have_nothing_to_choose_but_not_all():
    assert JointEnv(Spaces([box(0, 1)] * 2, [NOTHING, spaces.Discrete(2)])).team.n_columns == 1
    with pytest.raises(
        SpaceError, match=r"^the action spaces of all agents are empty, expected one at least"
    ):
        JointEnv(Spaces([box(0, 1)] * 2, [NOTHING] * 2))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (
            lambda agent: {}[agent],
            r"player_0: its layout: KeyError: 'player_0' \(tests/joint/test_answers.py:\d+\)",
        ),
        (lambda agent: "flat", "player_0: its layout is of type str, expected AgentLayout"),
        (lambda: None, r"player_0: its layout: TypeError: .* takes 0 positional arguments but 1 was given"),
    ],
)
def test_a_layout_that_is_none_is_one_line(layout, message):
    env = MatchingGame()
    env.layout = layout
    with pytest.raises(LayoutError, match=f"^{message}$"):
        JointEnv(env)
