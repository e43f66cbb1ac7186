"""Names become environments and wrappers; what is misspelt or missing is said in one line."""

import importlib.abc
import sys

import gymnasium
import numpy as np
import pettingzoo
import pytest
from pettingzoo.utils.wrappers import BaseParallelWrapper

from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.pettingzoo import as_parallel, import_parallel_env
from cesma_sb3.errors import ConfigError, EnvError, MissingExtraError, UnknownNameError, nearest
from cesma_sb3.spaces.agent_slices import AgentSlice
from tests.envs_for_tests import MatchingGame

SPREAD = "mpe2.simple_spread_v3"


@pytest.mark.parametrize(
    "target", [SPREAD, f"{SPREAD}:parallel_env", f"{SPREAD}.parallel_env", f"{SPREAD}:env"]
)
def test_every_spelling_of_an_environment(target):
    env = import_parallel_env(target, {"N": 2})
    assert list(env.possible_agents) == ["agent_0", "agent_1"]
    observations, _ = env.reset(seed=0)
    assert set(observations) == {"agent_0", "agent_1"}


def test_a_function_of_ones_own():
    assert isinstance(import_parallel_env("tests.envs_for_tests:MatchingGame", {"n_agents": 3}), MatchingGame)


@pytest.mark.parametrize(
    ("target", "kind", "message"),
    [
        (
            "mpe2.simple_sprad_v3",
            UnknownNameError,
            "of mpe2 'simple_sprad_v3'; did you mean 'simple_spread",
        ),
        ("mpe2.simple_spread_v3:paralel_env", UnknownNameError, "'paralel_env'; did you mean 'parallel_env"),
        ("not_a_package_at_all.game:env", MissingExtraError, "try: pip install 'not_a_package_at_all'"),
        ("pettingzoo.sisl.pursuit_v99", UnknownNameError, "'pursuit_v99'; did you mean 'pursuit_v"),
        ("pettingzoo.sisl.pursuit_v3", UnknownNameError, "'pursuit_v3'; did you mean 'pursuit_v"),
        ("tests.envs_for_tests:spaces", UnknownNameError, "unknown module or function of gymnasium.spaces"),
        ("nosuchname", MissingExtraError, "pip install 'nosuchname'"),
    ],
)
def test_unknown_names(target, kind, message):
    with pytest.raises(kind) as caught:
        import_parallel_env(target)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "Box2D", None)
    for name in [name for name in sys.modules if name.startswith("pettingzoo.sisl.multiwalker")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"Box2D.*; try: pip install 'pettingzoo\[sisl\]'"):
        import_parallel_env("pettingzoo.sisl.multiwalker_v9")


def test_a_package_of_an_extra_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rware", None)
    with pytest.raises(MissingExtraError, match=r"needs the extra \[rware\].*; try: pip install"):
        import_parallel_env("rware:rware-tiny-2ag-v2")


def test_wrong_arguments():
    with pytest.raises(
        ConfigError, match=r"environment 'mpe2.simple_spread_v3': .*unexpected keyword argument 'M'"
    ):
        import_parallel_env(SPREAD, {"M": 2})
    with pytest.raises(ConfigError, match=r"wrapper 'frame_stack_v1': .*keyword argument 'frames'"):
        import_parallel_env(SPREAD, wrappers=[{"name": "frame_stack_v1", "frames": 2}])


def test_supersuit_wrappers_run_in_order_before_the_joint_view():
    wrappers = [{"name": "frame_stack_v1", "stack_size": 2}, {"name": "black_death_v3"}]
    env = JointEnv(import_parallel_env(SPREAD, {"N": 2, "local_ratio": 0.0}, wrappers))
    assert env.team.observation_sizes == (24, 24)
    observation, _ = env.reset(seed=0)
    assert not observation[:12].any()  # the frame before the first
    env.step(np.zeros(2, dtype=np.int64))
    with pytest.raises(
        UnknownNameError, match="unknown SuperSuit wrapper 'frame_stak_v1'; did you mean 'frame_stack_v1"
    ):
        import_parallel_env(SPREAD, wrappers=[{"name": "frame_stak_v1"}])


class Ticking(BaseParallelWrapper):
    """Adds a number to every reward."""

    def __init__(self, env, bonus):
        super().__init__(env)
        self.bonus = bonus

    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        return observations, {agent: reward + self.bonus for agent, reward in rewards.items()}, *rest


TICKING = f"{__name__}:Ticking"
TIME_LIMIT = "gymnasium.wrappers:TimeLimit"


def test_wrappers_of_any_module():
    plain = JointEnv(import_parallel_env(SPREAD, {"N": 2}), team_reward="sum")
    wrapped = JointEnv(
        import_parallel_env(SPREAD, {"N": 2}, [{"name": TICKING, "bonus": 10.0}]), team_reward="sum"
    )
    rewards = []
    for env in (plain, wrapped):
        env.reset(seed=0)
        rewards.append(env.step(np.zeros(2, dtype=np.int64))[1])
    assert rewards[1] == pytest.approx(rewards[0] + 20.0)


def test_gymnasiums_wrappers_come_before_the_team_is_divided():
    team = {"one": AgentSlice("0:3", "0"), "two": AgentSlice("3:6", "1")}
    wrappers = [
        {"name": TIME_LIMIT, "max_episode_steps": 3},
        {"name": TICKING, "bonus": 5.0},
        {"name": "frame_stack_v1", "stack_size": 2},
    ]
    env = JointEnv(import_parallel_env(f"{__name__}:Arm", {}, wrappers, team=team), team_reward="shared")
    assert env.team.observation_sizes == (6, 6)
    env.reset(seed=0)
    steps = [env.step(np.zeros(2, dtype=np.float32)) for _ in range(3)]
    assert [step[1] for step in steps] == [6.0] * 3
    assert [step[3] for step in steps] == [False, False, True]


def test_gymnasiums_wrappers_after_others_are_refused():
    team = {"one": AgentSlice("0:3", "0"), "two": AgentSlice("3:6", "1")}
    wrappers = [{"name": TICKING, "bonus": 5.0}, {"name": TIME_LIMIT, "max_episode_steps": 3}]
    with pytest.raises(ConfigError, match=f"'{TIME_LIMIT}': Gymnasium's, expected before others"):
        import_parallel_env(f"{__name__}:Arm", {}, wrappers, team=team)


class Arm(gymnasium.Env):
    """Two joints, and an episode that never ends."""

    observation_space = gymnasium.spaces.Box(-1, 1, (6,))
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(6, dtype=np.float32), {}

    def step(self, action):
        return np.zeros(6, dtype=np.float32), 1.0, False, False, {}


@pytest.mark.parametrize(
    ("wrappers", "message"),
    [
        ([{"name": f"{__name__}:Tocking"}], "unknown module or function .*'Tocking'; did you mean 'Ticking'"),
        ([{"name": TICKING, "bonos": 1.0}], f"wrapper '{TICKING}': .*unexpected keyword argument 'bonos'"),
        ([{"name": TIME_LIMIT}], f"wrapper '{TIME_LIMIT}': Gymnasium's, expected around a Gymnasium env"),
        (
            [{"name": TICKING, "bonus": 1.0}, {"name": TIME_LIMIT, "max_episode_steps": 3}],
            f"wrapper '{TIME_LIMIT}': Gymnasium's, expected around a Gymnasium env",
        ),
        ([{"name": "nowhere:Wrapper"}], "nowhere"),
    ],
)
def test_wrappers_that_do_not_fit(wrappers, message):
    with pytest.raises(ConfigError, match=message):
        import_parallel_env(SPREAD, {"N": 2}, wrappers)


def test_what_is_no_pettingzoo_environment_is_refused():
    for thing in (object(), gymnasium.make("CartPole-v1"), JointEnv(MatchingGame())):
        with pytest.raises(ConfigError, match="expected a PettingZoo ParallelEnv"):
            as_parallel(thing)


def test_nearest_names():
    assert nearest("JONT", ["joint", "product"]) == ("joint",)
    assert nearest("xyz", ["joint", "product"]) == ()
    assert str(UnknownNameError.of("view", "xyz", ["b", "a"])) == "unknown view 'xyz'; allowed: a, b"
    assert str(UnknownNameError.of("view", "x", [])).endswith("allowed: none")
    assert str(UnknownNameError.of("view", "x", map(str, range(60)))).endswith(" and 20 more")


@pytest.mark.parametrize(
    ("family", "name", "now"),
    [
        ("mpe", "pettingzoo.mpe.simple_tag_v3", "mpe2.simple_tag_v3"),
        ("mpe", "pettingzoo.mpe:simple_push_v3", "mpe2.simple_push_v3"),
        ("magent", "pettingzoo.magent.gather_v5", "magent2.environments.gather_v5"),
    ],
)
def test_a_family_that_has_moved_is_named_where_it_is(family, name, now, monkeypatch):
    """As the newer PettingZoo answers, which says itself what to install."""

    class Moved(importlib.abc.MetaPathFinder):
        def find_spec(self, fullname, path=None, target=None):
            if fullname.startswith(f"pettingzoo.{family}"):
                raise ImportError(f"{family} has been moved. Install with `pip install {family}2`.")

    for module in [module for module in sys.modules if module.startswith(f"pettingzoo.{family}")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr(pettingzoo, family, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Moved(), *sys.meta_path])
    with pytest.raises(MissingExtraError) as told:
        import_parallel_env(name)
    assert str(told.value) == (
        f"environment {name!r}: {family} has been moved. Install with `pip install {family}2`. "
        f"Its name there: {now}"
    )


def missing_attribute(rows: int = 3):
    return np.zeros(rows).columns


def not_there(rows: int = 3):
    return {}[rows]


def divided(rows: int = 0):
    return 1 // rows


def without_words():
    raise RuntimeError


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (missing_attribute, "AttributeError: .* has no attribute 'columns'"),
        (not_there, "KeyError: 3"),
        (divided, "ZeroDivisionError: .*"),
        (without_words, "RuntimeError: no message"),
    ],
)
def test_whatever_the_function_raises_is_one_line_with_its_place(function, error):
    target = f"{__name__}:{function.__name__}"
    place = r"\(tests/joint/test_naming_environments.py:\d+\)"
    with pytest.raises(ConfigError, match=f"^environment {target!r}: {error} {place}$") as told:
        import_parallel_env(target)
    assert told.value.__cause__ is not None
    with pytest.raises(ConfigError, match=f"^environment 0: environment {target!r}: {error} {place}$"):
        make_vec_env(target)
    # The function itself is handed over in Python: any attribute that it misses is its own fault too.
    with pytest.raises(EnvError, match=f"^environment 0: {error} {place}$"):
        joint_vec_env(function)


def test_a_module_that_cannot_be_imported_names_the_line(tmp_path, monkeypatch):
    (tmp_path / "half_written.py").write_text("import math\n\nlimit = math.missing\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"half_written cannot be imported: Attr.* \(half_written.py:3\)$"):
        import_parallel_env("half_written:env")
