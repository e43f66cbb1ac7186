"""Names that an argument cannot have: of Python's interface, where no schema stands before it."""

from __future__ import annotations

import numpy as np
import pytest

from cesma_sb3.algorithms import FactoredDQN, FactoredQPolicy, GumbelSoftmaxDDPG, GumbelSoftmaxPolicy
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import UnknownNameError
from cesma_sb3.experts import adapt_expert
from cesma_sb3.imitation import MultiAgentDAggerTrainer
from cesma_sb3.policies import TeamPolicy
from tests.bring import controllers
from tests.envs_for_tests import MatchingGame, TalkAndMove


def venv(make=MatchingGame, **kwargs):
    return joint_vec_env(make, 2, seed=0, **kwargs)


def trainer(make=MatchingGame, **kwargs):
    team = venv(make)
    expert = adapt_expert(controllers.joint, team.team)
    return MultiAgentDAggerTrainer(venv=team, expert=expert, rng=np.random.default_rng(0), **kwargs)


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
    "no when_full is called 'drop_oldest'; nearest: drop-oldest": lambda: trainer(when_full="drop_oldest"),
    "no loss is called 'crossentropy'; nearest: cross-entropy": lambda: trainer(loss="crossentropy"),
    "no class weighting is called 'inverse'; nearest: inverse-frequency": lambda: trainer(
        class_weights="inverse"
    ),
    "no kind of messages is called 'gumbel'; nearest: gumbel-softmax": lambda: trainer(
        TalkAndMove, message_relaxation="gumbel"
    ),
    "no visibility is called 'jont'; nearest: joint, own": lambda: team_policy(actor_visibility="jont"),
    "no visibility is called 'all'; expected one of: joint, own": lambda: team_policy(
        critic_visibility="all"
    ),
    "no network is called 'entitys'; nearest: entities": lambda: team_policy(network="entitys"),
    "no visibility is called 'owns'; nearest: own": lambda: dqn(policy_kwargs={"visibility": "owns"}),
    "no mixer is called 'sums'; nearest: sum": lambda: dqn(policy_kwargs={"mixer": "sums"}),
    "no exploration is called 'noisy'; nearest: noise": lambda: dqn(exploration="noisy"),
    "no visibility is called 'Joint'; nearest: joint, own": lambda: ddpg(
        policy_kwargs={"actor_visibility": "Joint"}
    ),
    "no critic_form is called 'additiv'; nearest: additive": lambda: ddpg(
        policy_kwargs={"critic_form": "additiv"}
    ),
    "no critic_values is called 'sum'; nearest: summed": lambda: ddpg(policy_kwargs={"critic_values": "sum"}),
    "no others_actions is called 'now'; expected one of: buffer, current": lambda: ddpg(others_actions="now"),
    "no team reward is called 'means'; nearest: mean": lambda: JointEnv(MatchingGame(), team_reward="means"),
    "no output is called 'logit'; nearest: logits": lambda: adapt_expert(
        controllers.joint, venv().team, outputs="logit"
    ),
}


@pytest.mark.parametrize("told", CASES)
def test_the_nearest_name_is_told(told):
    with pytest.raises(UnknownNameError) as caught:
        CASES[told]()
    assert str(caught.value) == told
