"""imitation's own algorithms train a `TeamPolicy`."""

import numpy as np
import pytest
import torch as th
from imitation.algorithms import bc
from imitation.algorithms.dagger import SimpleDAggerTrainer
from imitation.data import rollout
from imitation.util import logger as imitation_logger

from cesma_sb3.evaluation import evaluate, greedy
from cesma_sb3.experts import ExpertPolicy
from cesma_sb3.joint.vec_env import joint_vec_env
from cesma_sb3.networks import TeamPolicy
from tests.envs_for_tests import MatchingGame

# Both come out of imitation 1.0.1 itself, beside libraries that are younger than it is.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True:UserWarning"),
    pytest.mark.filterwarnings("ignore:keys will default to True in jsonpickle:DeprecationWarning"),
]


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
    assert evaluate(greedy(trainer.policy), venv, n_episodes=40, seed=1).mean == 8.0


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
    assert evaluate(greedy(trainer.policy), venv, n_episodes=40, seed=1).mean == 8.0
