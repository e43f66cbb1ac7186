"""Names become environments and wrappers; what is misspelt or missing is said in one line."""

import sys

import numpy as np
import pytest

from cesma_sb3.errors import ConfigError, MissingExtraError, UnknownNameError, nearest
from cesma_sb3.joint.env import JointEnv, as_parallel, make_parallel_env
from tests.envs_for_tests import MatchingGame

SPREAD = "mpe2.simple_spread_v3"


@pytest.mark.parametrize(
    "target", [SPREAD, f"{SPREAD}:parallel_env", f"{SPREAD}.parallel_env", f"{SPREAD}:env"]
)
def test_every_spelling_of_an_environment(target):
    env = make_parallel_env(target, {"N": 2})
    assert list(env.possible_agents) == ["agent_0", "agent_1"]
    observations, _ = env.reset(seed=0)
    assert set(observations) == {"agent_0", "agent_1"}


def test_a_function_of_ones_own():
    assert isinstance(make_parallel_env("tests.envs_for_tests:MatchingGame", {"n_agents": 3}), MatchingGame)


@pytest.mark.parametrize(
    ("target", "kind", "message"),
    [
        (
            "mpe2.simple_sprad_v3",
            UnknownNameError,
            "of mpe2 is called 'simple_sprad_v3'; nearest: simple_spread",
        ),
        ("mpe2.simple_spread_v3:paralel_env", UnknownNameError, "'paralel_env'; nearest: parallel_env"),
        ("not_a_package_at_all.game:env", MissingExtraError, "try: pip install 'not_a_package_at_all'"),
        ("pettingzoo.sisl.pursuit_v99", UnknownNameError, "'pursuit_v99'; nearest: pursuit_v"),
        ("pettingzoo.sisl.pursuit_v3", UnknownNameError, "'pursuit_v3'; nearest: pursuit_v"),
        ("tests.envs_for_tests:spaces", UnknownNameError, "no module or function of gymnasium.spaces"),
        ("nosuchname", MissingExtraError, "pip install 'nosuchname'"),
    ],
)
def test_unknown_names(target, kind, message):
    with pytest.raises(kind) as caught:
        make_parallel_env(target)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "Box2D", None)
    for name in [name for name in sys.modules if name.startswith("pettingzoo.sisl.multiwalker")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"Box2D.*; try: pip install 'pettingzoo\[sisl\]'"):
        make_parallel_env("pettingzoo.sisl.multiwalker_v9")


def test_wrong_arguments():
    with pytest.raises(
        ConfigError, match=r"environment 'mpe2.simple_spread_v3': .*unexpected keyword argument 'M'"
    ):
        make_parallel_env(SPREAD, {"M": 2})
    with pytest.raises(ConfigError, match=r"wrapper 'frame_stack_v1': .*keyword argument 'frames'"):
        make_parallel_env(SPREAD, wrappers=[{"name": "frame_stack_v1", "frames": 2}])


def test_supersuit_wrappers_run_in_order_before_the_joint_view():
    wrappers = [{"name": "frame_stack_v1", "stack_size": 2}, {"name": "black_death_v3"}]
    env = JointEnv(make_parallel_env(SPREAD, {"N": 2, "local_ratio": 0.0}, wrappers))
    assert env.team.observation_sizes == (24, 24)
    observation, _ = env.reset(seed=0)
    assert not observation[:12].any()  # the frame before the first
    env.step(np.zeros(2, dtype=np.int64))
    with pytest.raises(
        UnknownNameError, match="no SuperSuit wrapper is called 'frame_stak_v1'; nearest: frame_stack_v1"
    ):
        make_parallel_env(SPREAD, wrappers=[{"name": "frame_stak_v1"}])


def test_what_is_no_pettingzoo_environment_is_refused():
    import gymnasium

    for thing in (object(), gymnasium.make("CartPole-v1"), JointEnv(MatchingGame())):
        with pytest.raises(ConfigError, match="expected a PettingZoo ParallelEnv"):
            as_parallel(thing)


def test_nearest_names():
    assert nearest("JONT", ["joint", "product"]) == ("joint",)
    assert nearest("xyz", ["joint", "product"]) == ()
    assert "expected one of: joint, product" in str(UnknownNameError.of("view", "xyz", ["product", "joint"]))
    assert str(UnknownNameError.of("view", "x", [])).endswith("(there are none)")
    assert "none of the 20 names is near" in str(
        UnknownNameError.of("view", "x", [f"name{i}" for i in range(20)])
    )
