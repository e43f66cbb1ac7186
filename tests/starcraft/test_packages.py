"""SMAC, SMACv2 and SMAClite through one adapter, as their repositories are; and what offers less, or more."""

import copy
import inspect
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.joint_vec_env import GroupedVecEnv
from cesma_sb3.envs.smac import BattleEnv, BattleVecEnv, battle_env
from cesma_sb3.errors import CesmaError, ConfigError, EnvError, MissingExtraError
from tests.starcraft import packages
from tests.starcraft.packages import ANSWERS, INFO, RECORDED
from tests.starcraft.skirmish import Skirmish
from tests.starcraft.test_battle import aggressive, at_random, play

PATH = "smac-like:tests.starcraft.packages:"
LITE = {"id": "tests.starcraft.packages:cesma/Smaclite-v0", "episode_limit": 30}
CAPABILITIES = {"n_units": 2, "n_enemies": 1, "team_gen": {"dist_type": "weighted_teams"}}


@pytest.fixture
def smac(tmp_path, monkeypatch):
    """The package `smac`, with the recorded `StarCraft2Env` in it."""
    maps = tmp_path / "smac" / "env" / "starcraft2" / "maps"
    maps.mkdir(parents=True)
    for folder in (maps.parent.parent.parent, maps.parent, maps):
        (folder / "__init__.py").touch()
    (maps.parent.parent / "__init__.py").write_text("from tests.starcraft.packages import StarCraft2Env")
    (maps / "smac_maps.py").write_text("map_param_registry = {'2m_vs_1z': {}, '3s5z': {}}")
    monkeypatch.syspath_prepend(tmp_path)
    forget_smac()  # a package of that name that another test has made
    yield
    forget_smac()


def forget_smac():
    for name in [name for name in sys.modules if name.partition(".")[0] == "smac"]:
        del sys.modules[name]


def recorded(env, seed=None):
    """The recorded battle: what each agent meets at each step."""
    trace = [(*env.reset(seed=seed), {}, {}, {})]
    for answer in ANSWERS[1:]:
        actions = dict(zip(env.possible_agents, answer["actions"], strict=True))
        observations, rewards, ended, cut_off, infos = env.step(
            {agent: actions[agent] for agent in env.agents}
        )
        trace.append((observations, infos, rewards, ended, cut_off))
        if not env.agents:
            break
    return trace


def test_smacs_recorded_battle_arrives_as_it_was_answered(smac):
    env = battle_env("smac-2m_vs_1z", difficulty="3", unavailable="replace")
    assert env.metadata["name"] == "smac-2m_vs_1z"
    trace = recorded(env)
    assert len(trace) == len(ANSWERS)
    for answer, (observations, _, rewards, _, _) in zip(ANSWERS, trace, strict=True):
        for agent, observation in observations.items():
            index = env.possible_agents.index(agent)
            np.testing.assert_allclose(observation["observation"], answer["obs"][index], rtol=1e-6)
            assert observation["observation"].dtype == np.float32
            assert observation["action_mask"].tolist() == answer["avail"][index]
        assert set(rewards.values()) <= {answer.get("reward")}
    assert trace[0][1] == {"agent_0": {"unit_type": "marine"}, "agent_1": {"unit_type": "marine"}}
    died = next(i for i, answer in enumerate(ANSWERS) if answer["avail"][0][0])
    assert trace[died][3] == {"agent_0": True, "agent_1": False}
    assert list(trace[died + 1][0]) == ["agent_1"]
    assert trace[-1][1:] == (
        {"agent_1": {"battle_won": True}},
        {"agent_1": 12.0},
        {"agent_1": True},
        {"agent_1": False},
    )
    assert env.state().shape == (INFO["state_shape"],)
    assert env.render().shape == (8, 8, 3)


def test_the_recorded_object_has_the_signature_of_smacs():
    for name, parameters in RECORDED["methods"].items():
        assert (
            list(map(str, inspect.signature(getattr(packages.StarCraft2Env(), name)).parameters.values()))
            == parameters
        )
    with pytest.raises(TypeError, match="'dificulty'"):
        packages.StarCraft2Env(dificulty="7")


def test_smacs_parts_and_places(smac):
    env = battle_env("smac-2m_vs_1z")
    parts = env.layout("agent_0").observation.parts
    assert [(part.name, part.count, part.size) for part in parts] == [
        ("move", 1, 4),
        ("enemies", 1, 6),
        ("allies", 1, 5),
        ("self", 1, 1),
    ]
    index = env.feature_index
    enemy = np.array(ANSWERS[1]["obs"][0][4:10])
    assert enemy[index.health] == 1.0
    assert np.hypot(*enemy[list(index.position)]) == pytest.approx(enemy[1], abs=1e-4)  # its distance
    assert ANSWERS[1]["actions"] == [index.forward] * 2
    assert ANSWERS[2]["actions"] == [index.first_attack] * 2
    assert battle_env("smac-2m_vs_1z", obs_all_health=False).feature_index is None


def test_one_game_at_a_time_is_started_and_seeds_start_it_anew(smac):
    env = battle_env("smac-2m_vs_1z", seed=1)
    game = env.battle
    for seed in (None, 1, None):  # also before the first battle has ended, where SMAC would start another
        env.reset(seed=seed)
    assert (game.seeds, len(game.running)) == ([1], 1)
    recorded(env, seed=2)
    recorded(env, seed=2)
    recorded(env)
    assert (game.seeds, len(game.running)) == ([1, 2], 1)
    assert game.max_reward == packages.AFTER_A_START  # rewards keep their scale
    env.close()
    assert not game.running


def test_smacs_limit_and_crash_truncate(smac):
    env = battle_env("smac-2m_vs_1z")
    env.battle.episode_limit = 2
    env = BattleEnv(env.battle)
    assert env.episode_limit == 2
    assert recorded(env)[-1][1:] == (
        {agent: {"battle_won": False} for agent in env.possible_agents},
        dict.fromkeys(env.possible_agents, ANSWERS[2]["reward"]),
        dict.fromkeys(env.possible_agents, False),
        dict.fromkeys(env.possible_agents, True),
    )
    env.battle.crashes = True
    assert set(recorded(env)[-1][4].values()) == {True}
    env.battle.crashes = False
    env.reset()
    assert len(env.battle.running) == 1


def test_a_wrong_argument_of_smacs(smac):
    with pytest.raises(ConfigError, match=r"'smac-3s5z': TypeError: .*'dificulty'"):
        battle_env("smac-3s5z", dificulty="7")


def test_smacv2():
    config = copy.deepcopy(CAPABILITIES)
    env = battle_env(
        PATH + "StarCraftCapabilityEnvWrapper", capability_config=config, map_name="10gen_terran"
    )
    assert config == CAPABILITIES  # a run's values are what was written
    assert env.feature_index.first_attack == 18
    with pytest.warns(
        UserWarning, match="cannot be seeded: SMACv2 draws its teams and places without a seed"
    ):
        trace = recorded(env, seed=3)
    assert len(trace) == len(ANSWERS)
    assert trace[0][1]["agent_0"] == {"unit_type": "marine"}
    assert trace[-1][1] == {"agent_1": {"battle_won": True}}
    env.reset()
    assert env.battle.env.seeds == [None]
    assert env.state().shape == (INFO["state_shape"],)


def test_smaclite_in_gymnasiums_wrappers_and_out_of_them():
    inside = battle_env("smac-like:gymnasium:make", **LITE)
    assert inside.metadata["name"] == "cesma/Smaclite-v0"
    bare = battle_env(PATH + "SmacliteBattle", episode_limit=30)
    ended = set()
    for seed in range(4):
        for one, other in zip(
            play(inside, at_random(seed), seed), play(bare, at_random(seed), seed), strict=True
        ):
            assert one[0] == other[0]
            assert one[2:] == other[2:]
        ended |= {agent for agent, over in one[3].items() if over}
    assert ended
    parallel_api_test(bare, num_cycles=30)
    _, infos = inside.reset(seed=0)
    assert infos["agent_2"] == {"unit_type": "zealot"}
    parts = inside.layout("agent_0").observation.parts
    assert [(part.name, part.count, part.size) for part in parts] == [
        ("move", 1, 4),
        ("enemies", 2, 2),
        ("allies", 2, 2),
        ("self", 1, 2),
    ]
    assert inside.render().shape == bare.render().shape == (8, 8, 3)
    with pytest.raises(
        ConfigError, match=r"Smaclite-v0: has no episode_limit; give one: env\.kwargs\.episode_limit"
    ):
        battle_env("smac-like:gymnasium:make", id=LITE["id"])
    assert battle_env("smac-like:gymnasium:make", id=LITE["id"], max_episode_steps=9).episode_limit == 9
    with pytest.raises(MissingExtraError, match=r"'smac-like:gymnasium:make': No module named 'smaclte'"):
        battle_env("smac-like:gymnasium:make", id="smaclte:smaclite/3s5z-v0")


def test_the_state_has_the_size_of_its_map():
    small, large = (battle_env(PATH + "SmacliteBattle", n_enemies=n, episode_limit=9) for n in (1, 4))
    for env in (small, large):
        env.reset(seed=0)
        assert env.state().shape == (env.battle.state_size,)
    assert large.state().size - small.state().size == 2 * 3


def test_a_battle_that_is_asked_one_agent_at_a_time():
    for one, other in zip(
        play(battle_env(PATH + "OneAgentAtATime"), aggressive, 2),
        play(BattleEnv(Skirmish()), aggressive, 2),
        strict=True,
    ):
        assert one[0] == other[0]
        assert one[2:] == other[2:]
    with pytest.raises(EnvError, match=r"OneAgentAtATime: has no get_state\(\)"):
        battle_env(PATH + "OneAgentAtATime").state()


def battles(name, n_envs, **options):
    kwargs = {"n_allies": 3, "n_enemies": 2, **options.pop("kwargs", {})}
    return make_vec_env(f"smac-like:tests.starcraft.{name}", kwargs=kwargs, n_envs=n_envs, seed=3, **options)


@pytest.mark.parametrize("options", [{}, {"max_steps": 7}, {"kwargs": {"episode_limit": 9}}])
def test_battles_of_one_object_are_those_of_many(options):
    together, apart = battles("packages:Skirmishes", 4, **options), battles("skirmish:Skirmish", 4, **options)
    assert isinstance(together, BattleVecEnv)
    assert isinstance(apart, GroupedVecEnv)
    assert together.team == apart.team
    np.testing.assert_array_equal(together.reset(), apart.reset())
    rng, ends = np.random.default_rng(0), []
    for _ in range(40):
        masks = together.agent_masks
        np.testing.assert_array_equal(masks, apart.agent_masks)
        np.testing.assert_array_equal(together.alive, apart.alive)
        actions = np.array(
            [[rng.choice(np.flatnonzero(one)) for one in team] for team in masks.reshape(4, 3, -1)]
        )
        one, other = together.step(actions), apart.step(actions)
        for mine, theirs in zip(one[:3], other[:3], strict=True):
            np.testing.assert_array_equal(mine, theirs)
        for index in np.flatnonzero(one[2]):
            mine, theirs = one[3][index], other[3][index]
            for key in ("terminal_observation", "action_mask"):
                np.testing.assert_array_equal(mine[key], theirs[key])
            assert mine["battle_won"] == theirs.get("battle_won", False)  # not there if `max_steps` ended it
            assert mine["TimeLimit.truncated"] == theirs["TimeLimit.truncated"]
            assert mine["episode"]["l"] == theirs["episode"]["l"]
            ends.append((mine["TimeLimit.truncated"], mine["battle_won"]))
    assert len(ends) > 3
    assert (True, False) in ends or not options


def test_pictures_of_battles_of_one_object():
    venv = battles("packages:Skirmishes", 2, max_steps=3)
    venv.render_terminal()
    venv.reset()
    for _ in range(3):
        infos = venv.step(np.ones((2, 3), dtype=np.int64))[3]
    assert (infos[0]["terminal_frame"] == 3).all()
    assert "terminal_frame" not in infos[1]
    assert not venv.get_images()[0].any()  # of the next battle


def test_one_battle_of_an_object_that_runs_many():
    env = battle_env(PATH + "Skirmishes")
    env.reset(seed=0)
    np.testing.assert_array_equal(env.state(), env.battle.get_state()[0])
    for one, other in zip(
        play(battle_env(PATH + "Skirmishes"), aggressive, 2),
        play(BattleEnv(Skirmish()), aggressive, 2),
        strict=True,
    ):
        assert one[0] == other[0]
        assert one[2:] == other[2:]


class Bad(Skirmish):
    """A battle with one thing wrong."""

    def __init__(self, **wrong):
        super().__init__()
        self.__dict__.update(wrong)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            {"get_avail_actions": None},
            r"Bad: has no get_avail_actions\(\) and no get_avail_agent_actions\(agent\); exp",
        ),
        ({"get_env_info": lambda: [3]}, r"Bad: get_env_info\(\) returned \[3\], expected a dict"),
        (
            {"get_env_info": dict, "n_actions": None},
            "has 'n_actions' nor .* a method get_total_actions",
        ),
        ({"get_env_info": lambda: {"n_agents": 0}}, "Bad: n_agents"),
        (
            {"get_obs": lambda: np.zeros((3, 4))},
            r"Bad: get_obs\(\) returned the shape \(3, 4\), expected \(3, 12\)",
        ),
        (
            {"get_obs": lambda: [[0], [1, 2], []]},
            r"Bad: get_obs\(\) returned no numbers of the shape \(3, 12\)",
        ),
        (
            {"get_avail_actions": lambda: np.ones((2, 6))},
            r"get_avail_actions\(\) returned the shape \(2, 6\), exp",
        ),
        ({"step": lambda actions: (1.0, False, None)}, "Bad: the info of step is None, expected a dict"),
    ],
)
def test_a_battle_with_one_thing_wrong_is_refused_in_one_line(wrong, told):
    with pytest.raises(CesmaError, match=told) as error:
        first_step(Bad(**wrong))
    assert "\n" not in str(error.value)


def first_step(battle):
    env = BattleEnv(battle)
    env.reset()
    env.step(dict.fromkeys(env.agents, 1))


def test_a_battle_that_shows_nothing_is_refused():
    battle = SimpleNamespace(
        n_agents=1,
        n_actions=2,
        obs_size=3,
        episode_limit=4,
        reset=lambda: None,
        step=lambda actions: (0.0, False, {}),
        get_avail_actions=lambda: [[0, 1]],
    )
    with pytest.raises(
        EnvError, match=r"SimpleNamespace: no observations, expected get_obs\(\), get_obs_agent"
    ):
        first_step(battle)
    battle.reset = lambda: ([np.zeros(3)], {})
    battle.step = lambda actions: ([np.ones(3)], 0.5, False, False, {})
    first_step(battle)


class LessThanAsked(packages.Skirmishes):
    """It is asked for many, and makes one."""

    def __init__(self, n_envs=1, **kwargs):
        super().__init__(1, **kwargs)


class WithoutWinners(packages.Skirmishes):
    def step(self, actions):
        return *super().step(actions)[:2], {}


def test_an_object_that_does_not_run_as_many_is_refused():
    with pytest.raises(
        ConfigError, match="LessThanAsked: takes n_envs, and made no object with n_envs = 2 and reset_b"
    ):
        battles("test_packages:LessThanAsked", 2)
    venv = battles("test_packages:WithoutWinners", 2)
    venv.reset()
    with pytest.raises(
        EnvError, match=r"WithoutWinners: battle_won is None, expected a number of each battle, \(2,\)"
    ):
        venv.step(np.ones((2, 3), dtype=np.int64))
    with pytest.raises(ConfigError, match=r"env\.kwargs\.n_envs: expected none"):
        battles("packages:Skirmishes", 2, kwargs={"n_envs": 2})
