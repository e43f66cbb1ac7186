"""One side of a game: the team's agents are the environment's own, and the others act as they are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cesma_sb3.envs import OneSide, Side, make_parallel_env, make_vec_env
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.one_side import random_others
from cesma_sb3.errors import ConfigError, InvalidActionError
from cesma_sb3.evaluation.actors import random_actor
from cesma_sb3.spaces.symmetries import plane_symmetries
from tests.envs_for_tests import MatchingGame, MixedEnv, MortalEnv

GAME = "tests.envs_for_tests:MatchingGame"
TAG = ("adversary_0", "adversary_1", "adversary_2")


def right_others(team: Any, rng: Any) -> Any:
    """Others that play their own cues."""
    return lambda observations, masks: observations.reshape(len(observations), team.n_agents, 3).argmax(-1)


def first_others(team: Any, rng: Any) -> Any:
    """Others that do the first thing that they can, whatever it is."""
    return lambda observations, masks: np.zeros((1, team.n_columns), dtype=np.int64)


class Counting:
    """Others with a memory: they do as many as there were steps in the episode, modulo 3."""

    def __init__(self, team: Any, rng: Any) -> None:
        self.n_agents, self.steps = team.n_agents, -1

    def __call__(self, observations: Any, masks: Any = None) -> Any:
        self.steps += 1
        return np.full((1, self.n_agents), self.steps % 3)

    def reset(self, episode_starts: Any) -> None:
        if episode_starts is None or episode_starts[0]:
            self.steps = -1


def played(venv: Any, n_steps: int = 12) -> list[Any]:
    """What a batch of environments shows and gives in so many steps of a random team."""
    act = random_actor(venv.team, np.random.default_rng(0))
    seen = [venv.reset()]
    for _ in range(n_steps):
        observations, rewards, _, _ = venv.step(act(seen[-1], venv.agent_masks))
        seen += [observations, rewards]
    venv.close()
    return seen


def test_the_others_act_as_they_are_told_and_the_team_alone_is_seen():
    env = JointEnv(OneSide(MatchingGame(3), ["player_2"], right_others))
    assert env.team.agents == ("player_2",)
    observation, _ = env.reset(seed=0)
    for right in (True, False, True):
        cue = int(observation.argmax())
        observation, reward, *_ = env.step(np.array([cue if right else (cue + 1) % 3]))
        assert reward == 2 + right


def test_the_team_keeps_the_order_of_the_game():
    env = OneSide(MatchingGame(3), ["player_2", "player_0"])
    assert env.possible_agents == ["player_0", "player_2"]


def test_others_with_a_memory_begin_anew_with_each_episode():
    game = MatchingGame(2, length=4)
    done: list[int] = []
    step = game.step

    def recorded(actions):
        done.append(int(actions["player_1"]))
        return step(actions)

    game.step = recorded
    env = JointEnv(OneSide(game, ["player_0"], Counting))
    for _ in range(2):
        env.reset()
        while not env.step(np.array([0]))[3]:
            pass
    assert done == [0, 1, 2, 0] * 2


def test_the_same_seed_gives_the_same_episodes():
    def one(seed: int) -> list[Any]:
        side = Side(("player_0",), random_others)
        return played(make_vec_env(GAME, kwargs={"n_agents": 4}, n_envs=2, seed=seed, side=side))

    assert all(np.array_equal(a, b) for a, b in zip(one(3), one(3), strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(one(3), one(4), strict=True))


def test_the_others_draw_other_numbers_than_the_game():
    env = JointEnv(OneSide(MatchingGame(2, length=100), ["player_0"]))
    env.reset(seed=0)
    rewards = [env.step(np.array([0]))[1] for _ in range(60)]
    assert 0 < np.mean(rewards) < 1.5


@pytest.mark.parametrize("masks", ["observation", "info", None])
@pytest.mark.parametrize("agents", [("mortal_2",), ("mortal_0",), ("mortal_0", "mortal_1")], ids=str)
def test_agents_and_others_die_and_keep_to_their_masks(masks, agents):
    """The game raises where an agent that is dead acts, or one does what it cannot."""
    env = JointEnv(OneSide(MortalEnv(masks=masks), agents), team_reward="sum")
    length = {("mortal_2",): 5, ("mortal_0",): 2, ("mortal_0", "mortal_1"): 3}[agents]
    for _ in range(2):
        _, info = env.reset(seed=1)
        for step in range(length):
            mask = info.get("action_mask", np.ones(env.team.mask_size, dtype=bool))
            flags = [mask[where] for where in env.team.column_masks]
            _, _, terminated, truncated, info = env.step(np.array([each.argmax() for each in flags]))
            assert (terminated or truncated) == (step == length - 1)
        assert set(info["agent_returns"]) == set(agents)


def test_others_of_every_kind_of_space():
    env = JointEnv(OneSide(MixedEnv(), ["0"]))
    env.reset(seed=0)
    assert [env.step(env.action_space.sample())[2] for _ in range(6)] == [False] * 5 + [True]


def test_a_game_of_turns_with_masks():
    """PettingZoo's Connect Four, whose own API is one agent after the other: an illegal move would end it."""
    venv = make_vec_env(
        "pettingzoo.classic.connect_four_v3",
        n_envs=2,
        seed=0,
        side=Side(("player_0",), random_others),
    )
    assert venv.team.agents == ("player_0",)
    assert venv.team.has_masks
    act, observations, ends = random_actor(venv.team, np.random.default_rng(0)), venv.reset(), []
    for _ in range(60):
        observations, _, _, infos = venv.step(act(observations, venv.agent_masks))
        ends += [info["episode"] for info in infos if "episode" in info]
    venv.close()
    assert len(ends) > 2
    assert {end["r"] for end in ends} <= {-1.0, 0.0, 1.0}
    assert min(end["l"] for end in ends) >= 7  # four own stones and three of the other


def test_parts_of_observations_stay_named_and_others_are_no_mates():
    venv = make_vec_env("spread", n_envs=1, seed=0, side=Side(("agent_0", "agent_2"), random_others))
    parts = {part.name: part.kind for part in venv.team.layouts["agent_0"].observation.parts}
    assert parts["landmarks"] == parts["others"] == "entities"
    played(venv)


def test_the_parts_of_simple_tag_are_where_they_are():
    wrappers = [{"name": "cesma_sb3.envs.simple_tag:SimpleTagParts"}]
    for agents, mates in ((TAG, 2), (("agent_0",), 0), (("agent_0", "agent_1"), 1)):
        kwargs = {"num_good": len(agents)} if mates < 2 else {}
        tag = make_parallel_env("mpe2.simple_tag_v3", kwargs, wrappers, side=Side(agents))
        env = JointEnv(tag)
        observation, _ = env.reset(seed=0)
        bodies = {body.name: body for body in tag.unwrapped.world.agents}
        own = bodies[agents[0]].state
        layout = env.team.layouts[agents[0]].observation
        assert [part.count for part in layout.parts if part.kind == "agents"] == [mates]
        predators = [name for name in TAG if name != agents[0]]
        places = np.concatenate([bodies[name].state.p_pos - own.p_pos for name in predators])
        assert np.allclose(observation[layout.slice("predators")], places, atol=1e-6)
        assert len(plane_symmetries(env.team).signs) == 8
        env.close()


@pytest.mark.parametrize(
    ("agents", "said"),
    [
        (["agnt_0"], "env.agents: unknown agent 'agnt_0'; did you mean 'agent_0'"),
        (["agent_0", "agent_0"], "env.agents: agent_0 is named twice"),
        ([*TAG, "agent_0"], "env.agents: all agents of the game, so that nobody is left for env.others"),
    ],
)
def test_wrong_agents_have_one_line(agents, said):
    with pytest.raises(ConfigError) as caught:
        make_parallel_env("mpe2.simple_tag_v3", side=Side(tuple(agents), random_others))
    assert str(caught.value).startswith(said)


def test_what_the_others_cannot_do_is_refused():
    env = JointEnv(OneSide(MortalEnv(), ["mortal_1"], first_others))
    env.reset()
    with pytest.raises(InvalidActionError, match=r"env.others: 0 for mortal_0 in step 0 of its episode: not"):
        env.step(np.array([0]))


def test_a_divided_environment_has_no_others():
    with pytest.raises(ConfigError, match=r"env.agents: expected null, for mujoco-hopper-3x1"):
        make_parallel_env("mujoco-hopper-3x1", side=Side(("agent_0",), random_others))
