"""Names that an argument cannot have: of Python's interface, where no schema stands before it."""

from __future__ import annotations

import numpy as np
import pytest

from cesma_sb3.algorithms import FactoredDQN, FactoredQPolicy, GumbelSoftmaxDDPG, GumbelSoftmaxPolicy
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import UnknownNameError
from cesma_sb3.experts import adapt_expert
from cesma_sb3.imitation import BufferConfig, MessageConfig, MultiAgentDAggerTrainer
from cesma_sb3.policies import TeamPolicy
from tests.bring import controllers
from tests.envs_for_tests import MatchingGame


def venv(make=MatchingGame, **kwargs):
    return joint_vec_env(make, 2, seed=0, **kwargs)


def trainer(make=MatchingGame, **kwargs):
    team = venv(make)
    expert = adapt_expert(controllers.joint, team.team)
    return MultiAgentDAggerTrainer(venv=team, expert_policy=expert, rng=np.random.default_rng(0), **kwargs)


def team_policy(**kwargs):
    team = venv().team
    return TeamPolicy(team.observation_space, team.action_space, lambda _: 1e-3, team=team, **kwargs)


def ddpg(**kwargs):
    joint = venv()
    policy_kwargs = {"team": joint.team, **kwargs.pop("policy_kwargs", {})}
    return GumbelSoftmaxDDPG(GumbelSoftmaxPolicy, joint, policy_kwargs=policy_kwargs, **kwargs)


def dqn(**kwargs):
    joint = venv()
    policy_kwargs = {"team": joint.team, **kwargs.pop("policy_kwargs", {})}
    return FactoredDQN(FactoredQPolicy, joint, policy_kwargs=policy_kwargs, **kwargs)


CASES = {
    "unknown when_full 'drop_oldest'; did you mean 'drop-oldest": lambda: BufferConfig(1, "drop_oldest"),
    "unknown loss 'crossentropy'; did you mean 'cross-entropy": lambda: trainer(loss="crossentropy"),
    "unknown class weighting 'inverse'; did you mean 'inverse-frequency": lambda: trainer(
        class_weights="inverse"
    ),
    "unknown message relaxation 'gumbel'; did you mean 'gumbel-softmax": lambda: MessageConfig("gumbel"),
    "unknown visibility 'jont'; did you mean 'joint'?": lambda: team_policy(actor_visibility="jont"),
    "unknown visibility 'all'; allowed: joint, own": lambda: team_policy(critic_visibility="all"),
    "unknown network 'entitys'; did you mean 'entities": lambda: team_policy(network="entitys"),
    "unknown visibility 'owns'; did you mean 'own": lambda: dqn(policy_kwargs={"visibility": "owns"}),
    "unknown mixer 'sums'; did you mean 'sum": lambda: dqn(policy_kwargs={"mixer": "sums"}),
    "unknown exploration 'noisy'; did you mean 'noise": lambda: dqn(exploration="noisy"),
    "unknown visibility 'Joint'; did you mean 'joint'?": lambda: ddpg(
        policy_kwargs={"actor_visibility": "Joint"}
    ),
    "unknown critic_form 'additiv'; did you mean 'additive": lambda: ddpg(
        policy_kwargs={"critic_form": "additiv"}
    ),
    "unknown critic_values 'sum'; did you mean 'summed": lambda: ddpg(policy_kwargs={"critic_values": "sum"}),
    "unknown others_actions 'now'; allowed: buffer, current": lambda: ddpg(others_actions="now"),
    "unknown team reward 'means'; did you mean 'mean": lambda: JointEnv(MatchingGame(), team_reward="means"),
    "unknown output 'logit'; did you mean 'logits": lambda: adapt_expert(
        controllers.joint, venv().team, outputs="logit"
    ),
}


@pytest.mark.parametrize("told", CASES)
def test_the_nearest_name_is_told(told):
    with pytest.raises(UnknownNameError) as caught:
        CASES[told]()
    assert str(caught.value).startswith(told)
