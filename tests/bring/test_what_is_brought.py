"""Controllers and environments that are nearly what they should be work, or one line says what is wrong."""

import threading

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO, SAC
from torch import nn

import cesma_sb3
from cesma_sb3 import JointEnv, TeamPolicy, TeamSpaces
from cesma_sb3.envs.action_validator import ActionValidator
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import (
    CesmaWarning,
    ClosingWarning,
    EnvError,
    ExpertError,
    InvalidActionError,
    SpaceError,
)
from cesma_sb3.experts import adapt_expert
from cesma_sb3.experts.controllers import ControllerCall
from cesma_sb3.policies import parameter_counts
from cesma_sb3.spaces.agent_spaces import ActionColumns
from cesma_sb3.training import state as state_module
from cesma_sb3.utils import closing
from tests.envs_for_tests import MatchingGame, MixedEnv, MortalEnv, ReachEnv

ENV = {"id": "tests.envs_for_tests:MatchingGame"}
SMALL = {
    "dagger.n_envs": 2,
    "dagger.batch_size": 16,
    "evaluation": {"n_final_episodes": 2, "n_eval_episodes": 2, "n_envs": 2},
    "students.hidden_sizes": [8],
}
TEAM = JointEnv(MatchingGame()).team


def likeliest(observations, masks=None):
    return observations.reshape(len(observations), TEAM.n_agents, -1).argmax(axis=2)


class Locked:
    """An expert with something that no checkpoint holds."""

    def __init__(self):
        self.lock = threading.Lock()

    def labels(self, observations, masks=None):
        return likeliest(observations)


@pytest.mark.parametrize("expert", [likeliest, Locked()], ids=["function", "object"])
def test_what_is_imitated_in_fine_tuning_is_in_no_checkpoint(expert, tmp_path):
    tuning = {"total_timesteps": 32, "n_envs": 2, "kwargs": {"n_steps": 8, "batch_size": 8}}
    result = cesma_sb3.decentralize(
        expert, ENV, total_timesteps=64, fine_tuning=tuning, out=tmp_path / "run", **SMALL
    )
    assert "imitators" in result.report["return"]


def test_a_controller_that_takes_masks_has_a_state_that_can_be_kept():
    asked = ControllerCall(likeliest, "who", has_masks=True)
    assert state_module.restore({"asked": asked}, *state_module.capture({"asked": asked}))


def test_students_that_never_learn_are_told_of(tmp_path):
    tiny = {**SMALL, "dagger.batch_size": 256}
    with pytest.warns(CesmaWarning, match="not one gradient step"):
        result = cesma_sb3.decentralize(likeliest, ENV, total_timesteps=32, out=tmp_path / "run", **tiny)
    assert any("not one gradient step" in note for note in result.report["notes"])


@pytest.mark.parametrize("names", [["3", "1"], ["1", "2"], ["-1", "0"]])
def test_agents_of_any_numbers_are_counted(names):
    seen, does = (
        dict.fromkeys(names, spaces[TEAM.agents[0]])
        for spaces in (TEAM.observation_spaces, TEAM.action_spaces)
    )
    team = TeamSpaces(names, seen, does)
    policy = TeamPolicy(team.observation_space, team.action_space, lambda _: 0.0, team=team)
    assert parameter_counts(policy)["agent"] > 0


@pytest.mark.parametrize("value", [0.4, 0.7, -0.9, 1.5, np.nan])
def test_fractions_are_no_categories(value):
    fractions = np.full((2, TEAM.n_columns), value)
    with pytest.raises(InvalidActionError, match=r"whole numbers|returned nan"):
        adapt_expert(lambda observations: fractions, TEAM).labels(np.zeros((2, TEAM.observation_size)))
    with pytest.raises(InvalidActionError, match="expected 0 to"):
        ActionValidator(joint_vec_env(MatchingGame, 2))(fractions, "who")
    with pytest.raises(SpaceError, match="whole numbers"):
        ActionColumns.of(TEAM.action_spaces[TEAM.agents[0]]).encode(np.array([value]))


def test_what_is_whole_up_to_rounding_is_a_category():
    nearly = np.full((2, TEAM.n_columns), 0.9999)
    expert = adapt_expert(lambda observations: nearly, TEAM)
    assert (expert.labels(np.zeros((2, TEAM.observation_size))) == 1).all()
    done = ActionValidator(joint_vec_env(MatchingGame, 2))(nearly, "who")
    assert done.dtype == np.int64
    assert (done == 1).all()
    numbers = ActionValidator(joint_vec_env(lambda: MixedEnv((3,)), 1))
    np.testing.assert_allclose(numbers(np.array([[0.25, -0.5]]), "who"), [[0.25, -0.5]])


def soft(returned):
    class Soft:
        def labels(self, observations, masks=None):
            return likeliest(observations)

        def probabilities(self, observations, masks=None, *, temperature=1.0):
            return returned(len(observations))

    return adapt_expert(Soft(), TEAM)


UNIFORM = np.concatenate([np.full(k, 1 / k) for k in TEAM.column_categories])


def test_soft_labels_are_float32_and_of_what_is_available():
    found = soft(lambda n: np.tile(UNIFORM, (n, 1))).probabilities(np.zeros((2, TEAM.observation_size)))
    assert found.dtype == np.float32
    masks = np.ones((2, TEAM.mask_size), dtype=bool)
    masks[:, 0] = False
    found = soft(lambda n: np.tile(UNIFORM, (n, 1))).probabilities(
        np.zeros((2, TEAM.observation_size)), masks
    )
    assert (found[:, 0] == 0).all()
    np.testing.assert_allclose(found[:, TEAM.column_masks[0]].sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    "returned",
    [
        lambda n: np.tile(UNIFORM, (n, 1)) * 7,
        lambda n: np.full((n, TEAM.mask_size), np.nan),
        lambda n: np.random.default_rng(0).normal(size=(n, TEAM.mask_size)),
        lambda n: np.ones((n, TEAM.mask_size - 1)),
        lambda n: np.zeros((n, 2, 3, 4)),
    ],
)
def test_soft_labels_that_are_no_probabilities_are_refused(returned):
    with pytest.raises(InvalidActionError, match=r"Soft\.probabilities: "):
        soft(returned).probabilities(np.zeros((2, TEAM.observation_size)))


@pytest.mark.parametrize("mask", [[0.0, -1e9, -1e9], [0, 1, 2], [1, np.nan, 1], ["1", "0", "1"]])
def test_masks_of_another_kind_are_refused(mask):
    team = JointEnv(MatchingGame()).team
    with pytest.raises(SpaceError, match="expected flags: 0 or 1"):
        team.join_masks({team.agents[0]: np.array(mask)})


def test_no_mask_of_somebody_alive_is_told():
    class Forgets(MortalEnv):
        def observe(self, agent):
            return {**super().observe(agent), "action_mask": None}

    with pytest.raises(EnvError, match=r"action mask of .* is None"):
        JointEnv(Forgets()).reset(seed=0)


def test_draws_of_an_explorer_with_state_dependent_noise_differ():
    env = JointEnv(ReachEnv())
    model = SAC("MlpPolicy", env, use_sde=True, buffer_size=10, policy_kwargs={"net_arch": [4]}, device="cpu")
    act = adapt_expert(model, env.team).sampler(np.random.default_rng(0))
    seen = np.zeros((2, env.team.observation_size), dtype=np.float32)
    assert not np.array_equal(act(seen, None), act(seen, None))


def ppo():
    return PPO("MlpPolicy", JointEnv(MatchingGame()), n_steps=8, batch_size=8, device="cpu")


def test_a_model_that_diverged_is_refused():
    model = ppo()
    with th.no_grad():
        next(iter(model.policy.action_net.parameters())).fill_(np.nan)
    with pytest.raises(ExpertError, match="not finite"):
        adapt_expert(model, TEAM)


def test_what_a_model_raises_is_one_line(monkeypatch):
    model = ppo()
    monkeypatch.setattr(model.policy, "_predict", lambda *_, **__: 1 / 0)
    with pytest.raises(InvalidActionError, match=r"PPO\.predict raised ZeroDivisionError"):
        adapt_expert(model, TEAM).labels(np.zeros((2, TEAM.observation_size), np.float32))


def test_networks_of_an_object_label_in_evaluation_mode():
    class Has:
        def __init__(self):
            self.net = nn.Sequential(nn.BatchNorm1d(TEAM.observation_size)).train()

        def labels(self, observations, masks=None):
            assert not self.net[0].training
            return likeliest(self.net(th.tensor(observations, dtype=th.float32)).detach().numpy())

    has = Has()
    before = {name: value.clone() for name, value in has.net.state_dict().items()}
    adapt_expert(has, TEAM).labels(np.ones((4, TEAM.observation_size), np.float32))
    assert has.net[0].training
    assert all(th.equal(value, before[name]) for name, value in has.net.state_dict().items())


def test_who_leaves_the_program_while_closing_ends_no_run():
    class Leaves:
        def close(self):
            raise SystemExit(2)

    with pytest.warns(ClosingWarning, match="SystemExit"), closing.closing(Leaves()):
        pass


def test_who_leaves_the_program_in_a_step_is_told():
    class Leaves(MatchingGame):
        def step(self, actions):
            raise SystemExit(3)

    env = JointEnv(Leaves())
    env.reset(seed=0)
    with pytest.raises(EnvError, match="step 1: raised SystemExit: 3"):
        env.step(env.action_space.sample())


def test_arguments_that_are_no_mapping_are_refused():
    with pytest.raises(cesma_sb3.CesmaError, match=r"env\.kwargs: expected arguments by name"):
        cesma_sb3.decentralize(likeliest, {**ENV, "kwargs": ["a"]})
