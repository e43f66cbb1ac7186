"""An algorithm that does not know action masks is refused where there are some, before anything trains."""

import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO

from cesma_sb3 import run
from cesma_sb3.algorithms import RecurrentFactoredDQN, TeamPPO
from cesma_sb3.config.schema import ExpertConfig
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import ConfigError
from cesma_sb3.experts.sb3 import SB3Expert
from cesma_sb3.training.models import check_masks
from tests.envs_for_tests import MatchingGame, MortalEnv


class Patient(MortalEnv):
    """Does something else in place of an action that is not available."""

    unavailable = "replace"


class OwnMasks(PPO):
    uses_masks = True


class OwnMaskable(MaskablePPO):
    pass


def told_masks():
    return MortalEnv(masks="info")


def check(algorithm, env):
    check_masks(ExpertConfig(algorithm=algorithm), joint_vec_env(env, 2, seed=0, team_reward="sum"))


@pytest.mark.parametrize("env", [MortalEnv, told_masks])
@pytest.mark.parametrize(
    "algorithm", ["PPO", "A2C", "TRPO", "DQN", "ARS", "GumbelSoftmaxDDPG", "ExpectedDDPG"]
)
def test_it_is_refused_in_one_line(algorithm, env):
    with pytest.raises(
        ConfigError, match=f"^expert.algorithm: {algorithm} does not know action masks"
    ) as told:
        check(algorithm, env)
    assert "MaskablePPO" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "algorithm",
    ["MaskablePPO", "TeamPPO", "RecurrentFactoredDQN", f"{__name__}:OwnMasks", f"{__name__}:OwnMaskable"],
)
def test_who_knows_them_is_not(algorithm):
    check(algorithm, MortalEnv)
    check(algorithm, told_masks)


@pytest.mark.parametrize("algorithm", [MaskablePPO, TeamPPO, RecurrentFactoredDQN])
def test_as_an_expert_it_does_what_is_available(algorithm):
    env = joint_vec_env(MortalEnv, 2, seed=0, team_reward="sum")
    of_team = {} if algorithm is MaskablePPO else {"policy_kwargs": {"team": env.team}}
    if algorithm is TeamPPO:
        of_team["policy_kwargs"]["actor_visibility"] = "joint"
    expert = SB3Expert(algorithm("MlpPolicy", env, seed=0, **of_team), env.team, env.view)
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(100, env.team.observation_size)).astype(np.float32)
    masks = np.zeros((100, env.team.mask_size), dtype=bool)
    for column in env.team.column_masks:  # one category of each column
        masks[np.arange(100), column.start + rng.integers(column.stop - column.start, size=100)] = True
    only = np.stack([masks[:, column].argmax(axis=1) for column in env.team.column_masks], axis=1)
    np.testing.assert_array_equal(expert.labels(observations, masks), only)
    if expert.sampler is not None:
        np.testing.assert_array_equal(expert.sampler(rng)(observations, masks), only)
    assert expert.probabilities(observations, masks)[masks] == pytest.approx(1.0)


def test_nothing_to_refuse():
    check("PPO", Patient)
    check("PPO", lambda: MortalEnv(masks=None))
    check_masks(ExpertConfig(algorithm="A2C"), joint_vec_env(MatchingGame, 2, seed=0))


def test_a_run_is_refused_and_leaves_no_folder(tmp_path):
    values = {
        "env": {"id": "tests.envs_for_tests:MortalEnv", "team_reward": "sum"},
        "expert": {"algorithm": "PPO", "total_timesteps": 10**9},
        "dagger": {"total_timesteps": 10**9},
        "evaluation": {"n_final_episodes": 2, "n_envs": 1},
    }
    (tmp_path / "masked.yaml").write_text(str(values))  # YAML reads what Python prints of these
    with pytest.raises(ConfigError, match="PPO does not know action masks"):
        run(tmp_path / "masked.yaml", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
