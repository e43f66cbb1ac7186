"""imitation's own algorithms train a `TeamPolicy`."""

import numpy as np
import pytest
import torch as th
from imitation.algorithms import bc
from imitation.algorithms.adversarial.airl import AIRL
from imitation.algorithms.adversarial.gail import GAIL
from imitation.algorithms.dagger import SimpleDAggerTrainer
from imitation.algorithms.density import DensityAlgorithm, DensityType
from imitation.algorithms.sqil import SQIL
from imitation.data import rollout
from imitation.rewards.reward_nets import BasicRewardNet
from imitation.util import logger as imitation_logger
from stable_baselines3 import PPO
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from cesma_sb3.algorithms import FactoredDQN
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.evaluation import evaluate, policy_actor
from cesma_sb3.experts import ExpertPolicy
from cesma_sb3.policies import TeamPolicy
from tests.envs_for_tests import MatchingGame

# It comes out of imitation 1.0.1 itself, beside libraries that are younger than it is.
pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True:UserWarning")


class CueExpert:
    def labels(self, observations, masks=None):
        return observations.reshape(len(observations), -1, 3).argmax(axis=2).astype(np.int64)


def stock_bc(venv, tmp_path, demonstrations=None):
    th.manual_seed(0)
    team = venv.team
    policy = TeamPolicy(
        team.observation_space, team.action_space, lambda _: 1e-3, team=team, hidden_sizes=(32,)
    )
    return bc.BC(
        observation_space=venv.observation_space,
        action_space=venv.action_space,
        rng=np.random.default_rng(0),
        policy=policy,
        demonstrations=demonstrations,
        batch_size=32,
        optimizer_kwargs={"lr": 1e-2},
        custom_logger=imitation_logger.configure(tmp_path / "log", []),
    )


def test_behavioural_cloning(tmp_path):
    venv = joint_vec_env(MatchingGame, 4, seed=0)
    rng = np.random.default_rng(0)
    expert = ExpertPolicy(CueExpert(), venv.team)
    demonstrations = rollout.rollout(expert, venv, rollout.make_min_episodes(80), rng=rng, unwrap=False)
    trainer = stock_bc(venv, tmp_path, rollout.flatten_trajectories(demonstrations))
    trainer.train(n_epochs=10, progress_bar=False)
    assert evaluate(trainer.policy, venv, n_eval_episodes=40, seed=1).mean == 8.0


@pytest.mark.no_cover
def test_simple_dagger(tmp_path):
    venv = joint_vec_env(MatchingGame, 4, seed=0)
    trainer = SimpleDAggerTrainer(
        venv=venv,
        scratch_dir=tmp_path / "scratch",
        expert_policy=ExpertPolicy(CueExpert(), venv.team),
        bc_trainer=stock_bc(venv, tmp_path),
        rng=np.random.default_rng(0),
        custom_logger=imitation_logger.configure(tmp_path / "log", []),
    )
    trainer.train(
        320,
        rollout_round_min_episodes=4,
        rollout_round_min_timesteps=80,
        bc_train_kwargs={"progress_bar": False, "n_epochs": 8, "log_rollouts_venv": None},
    )
    assert evaluate(trainer.policy, venv, n_eval_episodes=40, seed=1).mean == 8.0


@pytest.fixture(scope="module")
def demonstrated():
    """The expert's trajectories."""
    venv = joint_vec_env(MatchingGame, 4, seed=0)
    expert = ExpertPolicy(CueExpert(), venv.team)
    rng = np.random.default_rng(0)
    return rollout.rollout(expert, venv, rollout.make_min_episodes(100), rng=rng, unwrap=False)


def generator(venv):
    """SB3's PPO on the students themselves: own actors, a joint critic."""
    return PPO(
        TeamPolicy,
        venv,
        n_steps=64,
        batch_size=128,
        n_epochs=8,
        gamma=0.0,
        learning_rate=3e-3,
        seed=0,
        policy_kwargs={"team": venv.team, "hidden_sizes": (32,)},
    )


@pytest.mark.no_cover
@pytest.mark.parametrize("kind", [GAIL, pytest.param(AIRL, marks=pytest.mark.slow)])
def test_adversarial_imitation(kind, demonstrated, tmp_path):
    """The reward is learned from the demonstrations; that of the environment is never seen."""
    venv = joint_vec_env(MatchingGame, 4, seed=0)
    th.manual_seed(0)
    reward = BasicRewardNet(venv.observation_space, venv.action_space, use_next_state=False)
    algorithm = generator(venv)
    trainer = kind(
        demonstrations=demonstrated,
        demo_batch_size=128,
        gen_replay_buffer_capacity=512,
        n_disc_updates_per_round=8,
        disc_opt_kwargs={"lr": 1e-2},
        venv=venv,
        gen_algo=algorithm,
        reward_net=reward,
        custom_logger=imitation_logger.configure(tmp_path / "log", []),
    )
    trainer.train(3_600)
    students = algorithm.policy
    assert isinstance(students, TeamPolicy)
    assert evaluate(students, joint_vec_env(MatchingGame, 4), n_eval_episodes=40, seed=1).mean > 6


@pytest.mark.slow
def test_density_rewards(demonstrated, tmp_path):
    """The reward is how dense the demonstrations are around an observation and action."""
    venv = joint_vec_env(MatchingGame, 4, seed=0)
    algorithm = generator(venv)
    trainer = DensityAlgorithm(
        demonstrations=demonstrated,
        venv=venv,
        rng=np.random.default_rng(0),
        density_type=DensityType.STATE_ACTION_DENSITY,
        kernel="gaussian",
        kernel_bandwidth=0.4,
        is_stationary=True,
        rl_algo=algorithm,
        custom_logger=imitation_logger.configure(tmp_path / "log", []),
    )
    trainer.train()
    trainer.train_policy(8_000)
    assert (
        evaluate(
            policy_actor(algorithm.policy), joint_vec_env(MatchingGame, 4), n_eval_episodes=40, seed=1
        ).mean
        > 6
    )


@pytest.mark.skipif(
    "discounts" in ReplayBufferSamples._fields,
    reason="imitation 1.0.1's SQIL puts together what newer SB3 leaves None in every sample",
)
def test_soft_q_imitation(demonstrated, tmp_path):
    """Rewards are 1 for what was demonstrated and 0 for what is done: Q-values of own observations."""
    venv = joint_vec_env(MatchingGame, 4, seed=0)
    trainer = SQIL(
        venv=venv,
        demonstrations=demonstrated,
        policy="MlpPolicy",
        rl_algo_class=FactoredDQN,
        rl_kwargs={
            "learning_starts": 50,
            "batch_size": 128,
            "gamma": 0.0,
            "learning_rate": 1e-2,
            "seed": 0,
            "policy_kwargs": {"team": venv.team, "visibility": "own", "hidden_sizes": (32,)},
        },
        custom_logger=imitation_logger.configure(tmp_path / "log", []),
    )
    trainer.train(total_timesteps=2_000)
    students = trainer.rl_algo.policy.team_policy()
    assert isinstance(students, TeamPolicy)
    assert evaluate(students, joint_vec_env(MatchingGame, 4), n_eval_episodes=40, seed=1).mean > 6
