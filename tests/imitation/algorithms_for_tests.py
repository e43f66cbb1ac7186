"""Trainers of the matching game, for the tests of each algorithm."""

import numpy as np
import torch as th
from imitation.util import logger as imitation_logger

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.evaluation import evaluate
from cesma_sb3.imitation import IterativeTrainer
from cesma_sb3.policies import TeamPolicy
from tests.envs_for_tests import MatchingGame


class CueExpert:
    """Solves the matching game: plays what each agent sees."""

    def labels(self, observations, masks=None):
        return observations.reshape(len(observations), -1, 3).argmax(axis=2).astype(np.int64)


def make_policy(team, **kwargs):
    return TeamPolicy(
        team.observation_space,
        team.action_space,
        lambda _: 1e-3,
        team=team,
        **{"hidden_sizes": (32,), **kwargs},
    )


def trainer_of(algorithm, *, venv=None, expert=None, seed=0, **kwargs):
    """A trainer of small students; of the matching game (2 agents, 4 steps, best return 8) if no `venv`."""
    venv = joint_vec_env(MatchingGame, 8, seed=seed) if venv is None else venv
    th.manual_seed(seed)
    few = {"updates_per_iteration": 40} if issubclass(algorithm, IterativeTrainer) else {"final_updates": 100}
    return algorithm(
        venv=venv,
        expert_policy=expert or CueExpert(),
        policy=make_policy(venv.team),
        rng=np.random.default_rng(seed),
        custom_logger=imitation_logger.configure(None, []),
        **{"learning_rate": 1e-2, "batch_size": 64, **few, **kwargs},
    )


def score(trainer):
    return evaluate(trainer.policy, trainer.venv, n_eval_episodes=40, seed=1).mean


def weights_of(trainer):
    return {name: t.clone() for name, t in trainer.policy.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(th.equal(first[name], second[name]) for name in first)


class Recording:
    """Wraps an environment's `step` and remembers the actions."""

    def __init__(self, venv):
        self.actions = []
        self._step = venv.step
        venv.step = self

    def __call__(self, actions):
        self.actions.append(actions.copy())
        return self._step(actions)
