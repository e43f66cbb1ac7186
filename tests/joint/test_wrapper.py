"""A wrapper hands everything on, to the environments that are meant."""

import numpy as np
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, Spread, make_scenario
from cesma_sb3.envs.vec_wrappers import JointVecEnvWrapper
from cesma_sb3.training.state import capture, restore
from tests.envs_for_tests import MatchingGame, MortalEnv
from tests.message_free import message_free


class Counting(MatchingGame):
    """Says which it is, and what it was told."""

    def told(self, *args, **kwargs):
        return args, kwargs, self.n_cues

    def reset(self, seed=None, options=None):
        self.options = options
        observations, infos = super().reset(seed, options)
        return observations, {agent: {"level": (options or {}).get("level", -1)} for agent in infos}


def test_what_is_asked_of_some_is_asked_of_these():
    plain = joint_vec_env(lambda: Counting(render_mode="rgb_array"), 3, seed=0)
    venv = JointVecEnvWrapper(plain)
    venv.set_options([{"level": n} for n in range(3)])
    np.testing.assert_array_equal(venv.reset(), joint_vec_env(Counting, 3, seed=0).reset())
    assert venv.reset_infos is plain.reset_infos
    assert venv.reset_infos[2]["agent_infos"]["player_1"] == {"level": 2}
    assert venv.get_attr("options", [1, 2]) == [{"level": 1}, {"level": 2}]
    assert venv.env_method("told", 1, indices=[2], more=2) == [((1,), {"more": 2}, 3)]
    assert len(venv.get_attr("action_masks", [0])) == 1
    assert venv.get_attr("action_masks", [0])[0] == venv.action_masks
    venv.set_attr("note", "here", [1])
    assert [hasattr(group, "note") for group in plain._groups[0].envs] == [False, True, False]
    assert venv.env_is_wrapped(Counting, [0, 2]) == [False, False]
    assert venv.render("rgb_array").shape == plain.render("rgb_array").shape
    for _ in range(4):
        observations, *_ = venv.step(np.zeros((3, 2), dtype=np.int64))
    assert observations.dtype == np.float32
    assert venv.reset_infos is plain.reset_infos
    assert venv.reset_infos[0]["agent_infos"]["player_0"] == {"level": -1}
    venv.close()


def test_whether_actions_are_replaced_is_known_outside():
    venv = joint_vec_env(MortalEnv, 1, team_reward="sum")
    assert not JointVecEnvWrapper(venv).replaces_unavailable
    venv.replaces_unavailable = True
    assert JointVecEnvWrapper(venv).replaces_unavailable


def test_what_all_share_is_told_once_for_each_that_is_meant():
    venv = ParticleVecEnv(Spread(3), 4, seed=0)
    assert venv.get_attr("max_cycles", [0, 2]) == [venv.scenario.max_cycles] * 2
    assert venv.get_attr("render_mode", [1]) == ["rgb_array"]
    assert len(venv.get_attr("action_masks", [3])) == 1
    assert venv.env_method("team", indices=[1, 3]) == [venv.team] * 2
    assert venv.env_is_wrapped(Spread, [1]) == [False]
    taken = venv.env_method("__setattr__", "note", "here", indices=[0])
    assert taken == [None]
    assert venv.scenario.note == "here"


def test_what_sb3_wraps_around_a_wrapper_finds_its_attributes():
    venv = message_free(ParticleVecEnv(make_scenario("navigation-comm"), 2, seed=0), view="product")
    outer = VecNormalize(VecFrameStack(venv, 2))
    outer.reset()
    for name in ("team", "view", "alive", "agent_masks", "keeps_state"):
        assert getattr(outer, name) is getattr(venv, name)
    assert outer.unwrapped is venv.venv
    assert outer.scenario is venv.venv.scenario
    assert outer.env_method("action_masks")[0].tolist() == [True] * venv.action_space.n
    # Its attributes are its state: a checkpoint can hold them.
    assert restore(venv, *capture(venv))
