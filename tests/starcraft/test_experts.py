"""Experts and students in battles: scripted, sb3-contrib's with masks or a memory; masks are kept to."""

import numpy as np
import pytest
import torch as th
from imitation.util import logger as imitation_logger
from sb3_contrib import MaskablePPO, RecurrentPPO

from cesma_sb3.envs import make_vec_env
from cesma_sb3.errors import EnvError, InvalidActionError, UnknownNameError
from cesma_sb3.evaluation import evaluate, make_actor, policy_actor, random_actor
from cesma_sb3.experts import SB3Expert, reference_expert
from cesma_sb3.imitation import LabelConfig, MultiAgentDAggerTrainer
from cesma_sb3.imitation.collector import Collector, students_actor
from cesma_sb3.policies import TeamPolicy
from tests.starcraft.skirmish import deaths

TARGET = "smac-like:tests.starcraft.skirmish:Skirmish"


def battles(n_envs=8, **kwargs):
    return make_vec_env(TARGET, kwargs={"n_allies": 3, "n_enemies": 1, **kwargs}, n_envs=n_envs, seed=0)


def students_of(expert, venv, network, timesteps=2000):
    th.manual_seed(0)
    team = venv.team
    size = (32,) if network == "recurrent" else (32, 32)
    policy = TeamPolicy(
        team.observation_space,
        team.action_space,
        lambda _: 1e-3,
        team=team,
        network=network,
        hidden_sizes=size,
        share_parameters=True,
    )
    MultiAgentDAggerTrainer(
        venv=venv,
        expert_policy=expert,
        policy=policy,
        rng=np.random.default_rng(0),
        batch_size=16 if network == "recurrent" else 128,
        samples_per_update=16,
        learning_rate=5e-3,
        custom_logger=imitation_logger.configure(None, []),
    ).train(timesteps)
    return policy


def score(venv, act):
    return evaluate(act, venv, n_eval_episodes=64, seed=1)


def at_random(venv):
    return score(venv, random_actor(venv.team, np.random.default_rng(0))).mean


@pytest.mark.parametrize("network", ["feed-forward", "recurrent"])
def test_students_of_the_scripted_expert_win_and_keep_to_the_masks(network):
    """The battle refuses what is not available: thousands of steps, with deaths."""
    venv = battles(n_enemies=2)
    died = deaths(venv)
    policy = students_of(reference_expert(venv), venv, network)
    found = score(venv, policy_actor(policy))
    assert sum(died) > 150
    assert found.win_rate > 0.8 * score(venv, make_actor(reference_expert(venv))).win_rate
    sampled, _ = policy.predict(venv.reset(), action_masks=venv.agent_masks)  # also where they are drawn
    assert np.take_along_axis(venv.agent_masks.reshape(8, 3, -1), sampled[..., None], axis=2).all()


def test_maskable_ppo_is_an_expert():
    venv = battles()
    model = MaskablePPO("MlpPolicy", venv, n_steps=64, batch_size=128, gamma=0.9, seed=0, learning_rate=1e-3)
    model.learn(6_000)
    expert = SB3Expert(model, venv.team, venv.view)
    chance = at_random(venv)
    assert score(venv, make_actor(expert)).mean > chance + 2
    assert score(venv, policy_actor(students_of(expert, venv, "feed-forward"))).mean > chance + 1


def test_recurrent_ppo_is_an_expert_where_unavailable_actions_are_replaced():
    venv = battles(unavailable="replace")
    model = RecurrentPPO("MlpLstmPolicy", venv, n_steps=32, batch_size=128, gamma=0.9, seed=0, n_epochs=4)
    model.learn(4_000)
    expert = SB3Expert(model, venv.team, venv.view)
    chance = at_random(venv)
    assert score(venv, make_actor(expert)).mean > chance + 1
    assert score(venv, policy_actor(students_of(expert, venv, "recurrent"))).mean > chance + 1
    with pytest.raises(EnvError, match=r"Skirmish: agent_\d cannot do \d; available: "):
        RecurrentPPO("MlpLstmPolicy", battles(), n_steps=8, batch_size=64, seed=0).learn(64)


def test_replaced_is_what_is_first_available():
    venv = battles(1, unavailable="replace")
    venv.reset()
    venv.step(np.full((1, 3), 4))  # nobody is in reach
    with pytest.raises(
        UnknownNameError, match="unknown way with unavailable actions 'replce'; did you mean 'repl"
    ):
        battles(1, unavailable="replce")


class AlwaysShoots:
    """Whether somebody is in reach or not."""

    def labels(self, observations, masks=None):
        return np.full((len(observations), 3), 4)


def collected(venv):
    """What students of that expert learn from, in two steps; and what could be done."""
    team = venv.team
    policy = TeamPolicy(
        team.observation_space, team.action_space, lambda _: 1e-3, team=team, hidden_sizes=(8,)
    )
    collector = Collector(
        venv,
        students_actor(policy, deterministic=True),
        AlwaysShoots(),
        beta=lambda _: 0.0,
        beta_per_agent=False,
        labels=LabelConfig(),
        rng=np.random.default_rng(0),
    )
    return [collector.step(0)[0] for _ in range(2)]


def test_students_learn_what_is_done_in_place_of_an_unavailable_label():
    for samples in collected(battles(unavailable="replace")):
        flags = samples.masks.reshape(8, 3, -1)
        assert np.take_along_axis(flags, samples.labels[..., None], axis=2).all()
        can_shoot = flags[:, :, 4]
        assert not can_shoot.all()
        assert (samples.labels[can_shoot] == 4).all()
        assert (samples.labels == np.where(can_shoot, 4, flags.argmax(axis=2))).all()


def test_an_unavailable_label_is_told():
    told = r"AlwaysShoots\.labels: 4 for agent_0 in environment 0, step 0 of its episode: not available; what"
    with pytest.raises(InvalidActionError, match=told):
        collected(battles())
    with pytest.raises(
        InvalidActionError, match="the actions of AlwaysShoots: 4 for agent_0 in environment 0, step 0"
    ):
        score(battles(), make_actor(AlwaysShoots()))
