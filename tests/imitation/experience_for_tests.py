"""Recorded experience, its labels, and trainers that learn from it, for tests of these."""

from __future__ import annotations

import numpy as np
import torch as th
from imitation.util import logger as imitation_logger

from cesma_sb3.envs.experience import Experience, RecordedVecEnv
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, make_scenario
from cesma_sb3.experts import adapt_expert
from cesma_sb3.experts.wrappers import sampling_expert
from cesma_sb3.imitation import LabelConfig, MultiAgentDAggerTrainer
from cesma_sb3.imitation.labelling import ExperienceLabeller
from cesma_sb3.policies import TeamPolicy
from tests.envs_for_tests import TalkAndMove
from tests.message_free import message_free
from tests.recorded import shown
from tests.signalling_game import SignallingGame

HARD = LabelConfig()


def game(make, n_envs=6, **kwargs):
    return joint_vec_env(make, n_envs, seed=0, **kwargs)


def of_silent(venv, n_steps, capacity=100_000):
    """The experience of a full team whose expert acts without messages, as in a run."""
    experience = Experience(venv.team, venv.num_envs, capacity)
    shown(message_free(RecordedVecEnv(venv, experience)), n_steps)
    return experience


def talking(name):
    if name == "signals":
        return game(SignallingGame)
    if name == "masks":
        return game(TalkAndMove)
    name, _, kind = name.partition(", ")
    size = {"n_agents": 3, "n_landmarks": 4} if kind == "3" else {}
    scenario = make_scenario(name, max_cycles=6, continuous_actions=kind == "continuous", **size)
    return ParticleVecEnv(scenario, 6, seed=0)


class Still:
    """Does the first that is available, or 0."""

    def __init__(self, team):
        self.team = team

    def labels(self, observations, masks=None):
        actions = np.tile(self.team.join_actions({}), (len(observations), 1))
        if masks is not None:
            actions = np.stack([masks[:, where].argmax(axis=1) for where in self.team.column_masks], axis=1)
        return actions


def flat(array):
    return array.reshape(-1, array.shape[-1])


def labeller_of(experience, expert, labels=HARD, **kwargs):
    return ExperienceLabeller(experience, expert, labels=labels, rng=np.random.default_rng(0), **kwargs)


def sampling(venv):
    """`unsure` as an expert that samples."""
    expert = adapt_expert(unsure, venv.team, outputs="logits")
    return sampling_expert(expert, venv.team, seed=1)


def unsure(observations):
    """Logits of the two agents of `MatchingGame`: the cue that each sees is twice as likely as another."""
    return np.log(1.0 + observations)


def policy_of(team, **kwargs):
    th.manual_seed(0)
    return TeamPolicy(
        team.observation_space,
        team.action_space,
        lambda _: 1e-3,
        team=team,
        **{"hidden_sizes": (32,), **kwargs},
    )


def trainer_of(venv, expert, policy=None, **kwargs):
    return MultiAgentDAggerTrainer(
        venv=venv,
        expert_policy=expert,
        policy=policy or policy_of(venv.team),
        rng=np.random.default_rng(0),
        custom_logger=imitation_logger.configure(None, []),
        **{"batch_size": 64, "learning_rate": 1e-2, "samples_per_update": 8, **kwargs},
    )
