"""JointEnv does what stepping the ParallelEnv by hand does, and says how an episode ended."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.pettingzoo import import_parallel_env
from cesma_sb3.errors import EnvError, RewardError, SpaceError, UnknownNameError
from cesma_sb3.spaces.layout import AgentLayout, ObservationLayout, Part, flat_layout
from tests.envs_for_tests import FaultyEnv, MatchingGame, MixedEnv, MortalEnv, ReachEnv


def legal_action(env: JointEnv, rng: np.random.Generator) -> np.ndarray:
    mask = env.action_masks()
    return np.array([rng.choice(np.flatnonzero(mask[where])) for where in env.team.column_masks])


def test_equal_to_simple_spread_by_hand():
    make = lambda: import_parallel_env("mpe2.simple_spread_v3", {"N": 3, "max_cycles": 25})  # noqa: E731  # one line
    env, by_hand = JointEnv(make(), team_reward="mean"), make()
    rng = np.random.default_rng(0)
    seed, returns = 7, dict.fromkeys(by_hand.possible_agents, 0.0)
    observation, _ = env.reset(seed=seed)
    expected, _ = by_hand.reset(seed=seed)
    for _ in range(400):
        np.testing.assert_array_equal(
            observation, np.concatenate([expected[a] for a in by_hand.possible_agents]).astype(np.float32)
        )
        action = rng.integers(5, size=3)
        observation, reward, terminated, truncated, info = env.step(action)
        acts = dict(zip(by_hand.possible_agents, action.tolist(), strict=True))
        expected, rewards, terminations, truncations, _ = by_hand.step(acts)
        assert reward == pytest.approx(np.mean(list(rewards.values())))
        assert terminated == all(terminations.values())
        assert truncated == all(truncations.values())
        for agent, value in rewards.items():
            returns[agent] += value
        if truncated:
            assert info["agent_returns"] == pytest.approx(returns)
            returns = dict.fromkeys(returns, 0.0)
            observation, _ = env.reset()  # the generators of both go on by themselves
            expected, _ = by_hand.reset()


@pytest.mark.parametrize("masks", ["observation", "info", None])
def test_equal_to_dying_agents_by_hand(masks):
    env, by_hand = JointEnv(MortalEnv(masks=masks), team_reward="sum"), MortalEnv(masks=masks)
    rng = np.random.default_rng(0)
    observation, info = env.reset(seed=0)
    expected, _ = by_hand.reset(seed=0)
    for _ in range(300):
        for agent, part in env.team.split_observations(observation).items():
            value = expected.get(agent, np.zeros(2))
            value = value["observation"] if isinstance(value, dict) else value
            np.testing.assert_array_equal(part, value if agent in by_hand.agents else np.zeros(2))
        np.testing.assert_array_equal(info["alive"], [a in by_hand.agents for a in by_hand.possible_agents])
        assert ("action_mask" in info) == (masks is not None)
        masks_by_hand = {a: by_hand.mask(a) for a in by_hand.agents} if masks else {}
        np.testing.assert_array_equal(env.action_masks(), env.team.join_masks(masks_by_hand, info["alive"]))
        action = legal_action(env, rng)
        observation, reward, terminated, truncated, info = env.step(action)
        acts = {
            a: k for a, k in zip(by_hand.possible_agents, action.tolist(), strict=True) if a in by_hand.agents
        }
        expected, rewards, _, _, _ = by_hand.step(acts)
        assert reward == pytest.approx(sum(rewards.values()))
        assert isinstance(reward, float)
        assert (terminated or truncated) == (not by_hand.agents)
        if not by_hand.agents:
            observation, info = env.reset()
            expected, _ = by_hand.reset()


@pytest.mark.parametrize(
    ("deaths", "terminated", "alive"),
    [
        ((1, 2), True, [False, True]),  # all died, the last one in the last step
        ((2, 2), True, [True, True]),  # all died together
        ((3, 3), True, [True, True]),  # died in the very step of the time limit: that is no truncation
        ((None, None), False, [True, True]),  # time limit for all
        ((1, None), False, [False, True]),  # one died before, the other was cut off
        ((3, None), False, [False, True]),  # one died in the step in which the other was cut off
    ],
)
def test_how_an_episode_ends(deaths, terminated, alive):
    env = JointEnv(MortalEnv(deaths=deaths, length=3, masks=None), team_reward="sum")
    env.reset(seed=0)
    ends = (False, False)
    while not any(ends):
        observation, _, *ends, info = env.step(np.zeros(2, dtype=np.int64))
    assert ends == [terminated, not terminated]
    assert all(type(end) is bool for end in ends)
    # Whose future was cut off (or ended just now) still shows what it saw; who had died shows zeros.
    assert info["alive"].tolist() == alive
    assert [bool(part.any()) for part in env.team.split_observations(observation).values()] == alive
    with pytest.raises(EnvError, match="step before reset, or after the end"):
        env.step(np.zeros(2, dtype=np.int64))


@given(st.lists(st.one_of(st.none(), st.integers(1, 6)), min_size=1, max_size=4), st.integers(1, 6))
def test_ends_are_never_both_and_returns_add_up(deaths, length):
    env = JointEnv(MortalEnv(deaths=tuple(deaths), length=length), team_reward="sum")
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    total, steps, over = 0.0, 0, False
    while not over:
        _, reward, terminated, truncated, info = env.step(legal_action(env, rng))
        assert not (terminated and truncated)
        total, steps, over = total + reward, steps + 1, terminated or truncated
        assert ("agent_returns" in info) == over
    assert sum(info["agent_returns"].values()) == pytest.approx(total)
    lives = [min(death or length, length) for death in deaths]
    assert steps == max(lives)
    last = [death for death, life in zip(deaths, lives, strict=True) if life == steps]
    assert terminated == all(death is not None and death <= length for death in last)


def test_mixed_spaces_each_get_their_own_kind_of_action():
    env = JointEnv(MixedEnv())
    env.action_space.seed(0)
    for view in ("joint", "relaxed"):
        env = JointEnv(MixedEnv(), view=view)
        env.action_space.seed(0)
        observation, _ = env.reset(seed=0)
        for _ in range(6):
            assert env.observation_space.contains(observation)
            observation, reward, terminated, _, _ = env.step(env.action_space.sample())
            assert reward == 0.5
        assert terminated


@pytest.mark.parametrize(("how", "expected"), [("sum", 3.0), ("mean", 1.0)])
def test_team_rewards(how, expected):
    env = JointEnv(MortalEnv(deaths=(1, None, None)), team_reward=how)
    env.reset(seed=0)
    mask = env.action_masks()
    assert not mask[0]  # action 0 of the first agent is masked
    _, reward, *_ = env.step(np.array([1, 0, 0]))
    assert reward == pytest.approx((1 + 1 + 2) if how == "sum" else 4 / 3)
    _, reward, *_, info = env.step(np.array([0, 0, 1]))
    assert reward == pytest.approx(4.0 if how == "sum" else 2.0)  # of the two that acted
    assert info["alive"].tolist() == [False, True, True]


def test_shared_rewards_must_be_shared():
    env = JointEnv(MortalEnv())
    env.reset(seed=0)
    with pytest.raises(
        RewardError, match=r"mortal, step 1: .* mortal_0 got 1 and mortal_2 got 2; use 'sum' or 'mean'"
    ):
        env.step(np.array([1, 0, 0]))
    shared = JointEnv(MatchingGame())
    shared.reset(seed=0)
    assert shared.step(np.array([0, 0]))[1] in (0.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise", r"raised RuntimeError: the physics exploded \(tests/envs_for_tests.py:\d+\)"),
        ("nan", "observation of player_1: entry 1 is nan"),
        ("nan-reward", "reward of player_1 is nan, expected a finite number"),
        ("shape", r"observation of player_1: shape \(5,\), expected \(3,\)"),
        ("vanish", "player_1 is alive and has no observation"),
        ("stranger", r"agents \['nobody'\] are not among its possible_agents"),
    ],
)
def test_faults_are_one_line_with_agent_and_step(fault, message):
    env = JointEnv(FaultyEnv(fault, at=2))
    env.reset(seed=0)
    env.step(np.zeros(2, dtype=np.int64))
    with pytest.raises(EnvError, match=f"^small, step 2: {message}$") as caught:
        env.step(np.zeros(2, dtype=np.int64))
    assert "\n" not in str(caught.value)


def test_the_first_seed_counts_and_the_generator_goes_on():
    def trace(env, seed):
        first, _ = env.reset(seed=seed)
        return [first, *(env.reset()[0] for _ in range(5))]

    env, again = JointEnv(ReachEnv()), JointEnv(ReachEnv())
    np.testing.assert_array_equal(trace(env, 3), trace(again, 3))
    one = trace(env, 3)
    assert len(np.unique(np.array(one), axis=0)) == len(one)


def test_rendering_layouts_and_views_are_handed_through():
    env = JointEnv(
        MatchingGame(render_mode="rgb_array"), view="product", layouts={"player_0": flat_layout(3)}
    )
    env.reset(seed=0)
    assert env.render_mode == "rgb_array"
    assert env.render().shape == (4, 6, 3)
    assert env.action_space.n == 9
    assert env.action_masks().shape == (9,)
    assert JointEnv(MatchingGame(), view=env.view).action_space.n == 9
    with pytest.raises(SpaceError, match="made for another team"):
        JointEnv(MatchingGame(3), view=env.view)
    with pytest.raises(UnknownNameError, match="unknown team reward 'all'; allowed: mean, sh"):
        JointEnv(MatchingGame(), team_reward="all")


def test_infos_keep_numbers_and_leave_arrays():
    env = JointEnv(MortalEnv(masks="info"), team_reward="sum")
    _, info = env.reset(seed=0)
    assert info["agent_infos"]["mortal_0"] == {"t": 0}


class Forgetful(MortalEnv):
    """Says nothing any more of who has left: no observation, no reward, no flag."""

    def step(self, actions):
        result = super().step(actions)
        *mappings, infos = result
        return *({a: of[a] for a in self.agents} for of in mappings), infos


def test_who_is_forgotten_hides_nobody_behind_it():
    env = JointEnv(Forgetful(deaths=(None, 1, None), masks=None), team_reward="sum")
    env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step([1, 2, 2])
    np.testing.assert_array_equal(observation, [1, 1, 0, 0, 3, 1])  # (number, step) of each who is there
    assert info["alive"].tolist() == [True, False, True]
    assert reward == (1 + 0) + (2 + 2)  # the first's and the third's
    assert not terminated
    assert not truncated


def test_nobody_is_left_to_be_rewarded():
    env = JointEnv(Forgetful(deaths=(1, 1), masks=None), team_reward="mean")
    env.reset(seed=0)
    observation, reward, terminated, _, info = env.step([1, 1])
    assert (reward, terminated) == (0.0, True)
    assert not observation.any()
    assert info["agent_returns"] == {"mortal_0": 0.0, "mortal_1": 0.0}


def test_a_view_is_told_what_is_available():
    """The largest number of an agent is of what it cannot do: the next largest counts."""
    env = JointEnv(MortalEnv((None, None)), view="relaxed", team_reward="sum")
    env.reset(seed=0)
    _, reward, *_ = env.step(np.array([1.0, -1.0, 0.5, 0.2, 1.0, 0.3, 0.1], np.float32))
    assert reward == (2 + 0) + (2 + 1)  # MortalEnv's: the action, and the agent's number


def test_layouts_that_are_given_are_the_teams():
    parts = (Part("first", "own", size=1), Part("rest", "entities", 2, 1))
    given = AgentLayout(ObservationLayout(parts))
    env = JointEnv(MatchingGame(), layouts={"player_1": given})
    assert env.team.layouts == {"player_0": flat_layout(3), "player_1": given}


def test_whose_rewards_differ_is_told_lowest_first():
    env = JointEnv(MortalEnv((None, None, None), masks=None))
    env.reset(seed=0)
    with pytest.raises(RewardError, match=r"but mortal_1 got 1 and mortal_0 got 2; use 'sum' or 'mean'"):
        env.step([2, 0, 0])


def test_a_battle_that_an_agent_says_is_won_is_won():
    class Won(MatchingGame):
        def step(self, actions):
            observations, rewards, ends, cuts, _ = super().step(actions)
            told = {"player_0": {"battle_won": False}, "player_1": {"battle_won": self.t == 4}}
            return observations, rewards, ends, cuts, told

    env = JointEnv(Won())
    env.reset(seed=0)
    won = [env.step([0, 0])[4]["battle_won"] for _ in range(4)]
    assert won == [False, False, False, True]


def test_whether_the_environment_replaces_actions_is_found():
    assert not JointEnv(MortalEnv()).replaces_unavailable
    env = MortalEnv()
    env.unavailable = "replace"
    assert JointEnv(env).replaces_unavailable
    env.unavailable = "refuse"
    assert not JointEnv(env).replaces_unavailable


@pytest.mark.parametrize("method", ["reset", "step"])
def test_tuples_of_another_length_are_told(method):
    env = MatchingGame()
    joint = JointEnv(env)
    joint.reset(seed=0)
    setattr(env, method, lambda *args, **kwargs: (1, 2, 3))
    with pytest.raises(EnvError, match=f"{method} returned no"):
        joint.reset() if method == "reset" else joint.step([0, 0])
