"""Draws of an expert: as often as its probabilities say, and by a generator of their own."""

import copy

import gymnasium
import numpy as np
import pytest
import torch as th
from imitation.util import logger as imitation_logger
from sb3_contrib import ARS, QRDQN, TQC, TRPO, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3

from cesma_sb3.algorithms import ExpectedDDPG, FactoredDQN, GumbelSoftmaxDDPG, TeamPPO
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.experts import (
    FunctionExpert,
    SamplingExpert,
    TranslatedExpert,
    adapt_expert,
    make_actor,
    sampling_expert,
)
from cesma_sb3.experts.base import RecurrentExpert, SoftExpert
from cesma_sb3.experts.wrappers import sample_columns
from cesma_sb3.imitation import MultiAgentDAggerTrainer
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.spaces.action_views import make_view
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import message_free_view
from tests.bring.controllers import Polite, polite
from tests.envs_for_tests import Doorway, MatchingGame, MortalEnv, ReachEnv, talking_team_with_masks

SHORT = {"n_steps": 8, "batch_size": 8}
TINY_NET = {"policy_kwargs": {"net_arch": [4]}}


def venv_of(env, view="joint"):
    return joint_vec_env(env, 2, seed=0, team_reward="sum", view=view)


def expert_of(algorithm, env, policy="MlpPolicy", view="joint", **kwargs):
    venv = venv_of(env, view)
    kwargs = copy.deepcopy(kwargs)  # SB3 adds to its arguments
    if policy is TeamPolicy:
        kwargs |= {"policy_kwargs": {"team": venv.team, "actor_visibility": "joint"}}
    return adapt_expert(algorithm(policy, venv, **kwargs), venv.team), venv.team


STOCHASTIC = {
    "PPO": (PPO, MatchingGame, {**SHORT, **TINY_NET}),
    "PPO of products": (PPO, MatchingGame, {**SHORT, **TINY_NET, "view": "product"}),
    "A2C": (A2C, MatchingGame, TINY_NET),
    "TRPO": (TRPO, MatchingGame, {**SHORT, **TINY_NET}),
    "TeamPPO": (TeamPPO, MatchingGame, {**SHORT, "policy": TeamPolicy}),
    "MaskablePPO": (MaskablePPO, MortalEnv, {**SHORT, **TINY_NET}),
}


@pytest.mark.parametrize("name", STOCHASTIC)
def test_draws_are_as_often_as_the_probabilities(name):
    algorithm, env, kwargs = STOCHASTIC[name]
    expert, team = expert_of(algorithm, env, **kwargs)
    drawn = sampling_expert(expert, team, seed=1)
    assert isinstance(drawn, SoftExpert)
    seen = np.tile(np.arange(team.observation_size, dtype=np.float32) / 7, (4_000, 1))
    masks = None
    if team.has_masks:
        masks = np.tile(team.join_masks({"mortal_1": [True, False, True, True]}), (4_000, 1))
    before = th.get_rng_state()
    labels = make_actor(drawn)(seen, masks)
    assert th.equal(th.get_rng_state(), before)
    shares = drawn.probabilities(seen[:1], None if masks is None else masks[:1])[0]
    for column, where in enumerate(team.column_masks):
        found = np.bincount(labels[:, column], minlength=where.stop - where.start) / 4_000
        np.testing.assert_allclose(found, shares[where], atol=0.04)
    np.testing.assert_array_equal(labels, make_actor(drawn)(seen, masks))  # the same for everybody who asks
    assert (drawn.labels(seen, masks) != drawn.labels(seen, masks)).any()  # and others at each call
    assert len(np.unique(expert.labels(seen, masks), axis=0)) == 1  # who does not draw is as before


def test_draws_of_numbers():
    for algorithm in (SAC, TQC):
        expert, team = expert_of(algorithm, ReachEnv, buffer_size=10, **TINY_NET)
        drawn = make_actor(sampling_expert(expert, team, seed=0))(np.zeros((500, 2), dtype=np.float32), None)
        assert (drawn.std(axis=0) > 0.1).all()
    expert, team = expert_of(PPO, ReachEnv, use_sde=True, **SHORT, **TINY_NET)
    drawn = make_actor(sampling_expert(expert, team, seed=0))(np.ones((500, 2), dtype=np.float32), None)
    assert (drawn.std(axis=0) > 0.01).all()  # noise of the state, another for each world


def test_a_view_that_ranks_numbers_draws_by_another_distribution_than_their_softmax():
    expert, team = expert_of(PPO, MatchingGame, view="relaxed", **SHORT, **TINY_NET)
    drawn = sampling_expert(expert, team, seed=0)
    assert not isinstance(drawn, SoftExpert)
    assert len(np.unique(make_actor(drawn)(np.zeros((200, 6), dtype=np.float32), None), axis=0)) > 3


def test_memories_are_each_users_own():
    expert, team = expert_of(RecurrentPPO, MatchingGame, "MlpLstmPolicy", **SHORT, **TINY_NET)
    drawn = sampling_expert(expert, team, seed=3)
    assert isinstance(drawn, RecurrentExpert)
    seen = np.eye(6, dtype=np.float32)
    first, second = make_actor(drawn), make_actor(drawn)
    for _ in range(3):
        np.testing.assert_array_equal(first(seen, None), second(seen, None))
    first.reset(None)
    assert first.state is None


@pytest.mark.parametrize(
    ("algorithm", "kwargs"),
    [
        (DQN, {"buffer_size": 10, "view": "product"}),
        (QRDQN, {"buffer_size": 10, "view": "product"}),
        (ARS, {"view": "product"}),
        (FactoredDQN, {"buffer_size": 10}),
        (GumbelSoftmaxDDPG, {"buffer_size": 10}),
        (ExpectedDDPG, {"buffer_size": 10}),
        (DDPG, {"buffer_size": 10, "view": "relaxed"}),
        (TD3, {"buffer_size": 10, "view": "relaxed"}),
    ],
)
def test_values_and_deterministic_actors_have_nothing_to_draw_from(algorithm, kwargs):
    expert, team = expert_of(algorithm, MatchingGame, **kwargs)
    assert sampling_expert(expert, team, seed=0) is None


def test_functions():
    team = TeamSpaces.from_parallel_env(Doorway())
    view = make_view("joint", team)
    assert sampling_expert(FunctionExpert(polite, team, view), team, seed=0) is None
    seen = np.zeros((4_000, 4), dtype=np.float32)
    likely = 1 / (1 + np.exp(-0.1))
    for expert in (FunctionExpert(polite, team, view, outputs="logits"), adapt_expert(Polite(), team)):
        assert not expert.labels(seen).any()
        drawn = make_actor(sampling_expert(expert, team, seed=0))(seen, None)
        np.testing.assert_allclose((drawn == 0).mean(axis=0), likely, atol=0.03)
        assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.05  # each agent by itself


def test_a_team_that_talks_is_labelled_by_draws():
    team = talking_team_with_masks()
    expert = TranslatedExpert(_Any(), message_free_view(team))
    drawn = sampling_expert(expert, team, seed=0)
    assert isinstance(drawn, SamplingExpert)
    masks = np.ones((300, team.mask_size), dtype=bool)
    labels = make_actor(drawn)(np.zeros((300, team.observation_size), dtype=np.float32), masks)
    assert set(labels[:, 1]) == {0, 1, 2}
    assert set(labels[:, 0]) == {0}  # it says nothing


class _Any:
    """Moves of `talking_team_with_masks`, uniform."""

    def labels(self, observations, masks=None):
        return np.zeros((len(observations), 2), dtype=np.int64)

    def sampler(self, rng):
        return lambda observations, masks: np.stack(
            [rng.integers(3, size=len(observations)), rng.integers(2, size=len(observations))], axis=1
        )


def test_columns_are_drawn_where_there_is_probability():
    team = TeamSpaces.from_parallel_env(MortalEnv())
    shares = np.array([0, 0.25, 0.75, 0, 0, 1, 0, 1, 0, 0], dtype=np.float32)
    drawn = sample_columns(np.tile(shares, (3_000, 1)), team, np.random.default_rng(0))
    assert set(drawn[:, 0]) == {1, 2}
    assert (drawn[:, 0] == 1).mean() == pytest.approx(0.25, abs=0.03)
    assert (drawn[:, 1] == 2).all()
    assert (drawn[:, 2] == 0).all()


class Spread:
    """A `ReachEnv`'s goals, with noise."""

    sampler = None

    def labels(self, observations, masks=None):
        return observations.copy()


@pytest.mark.parametrize("draws", [True, False])
def test_students_that_draw_numbers_spread_as_the_labels_do(draws, tmp_path):
    venv = joint_vec_env(ReachEnv, 16, seed=0, team_reward="sum")
    expert = Spread()
    expert.sampler = lambda rng: lambda seen, _: (seen + rng.normal(0, 0.3, seen.shape)).astype(np.float32)
    th.manual_seed(0)
    policy = TeamPolicy(
        *(venv.team.observation_space, venv.team.action_space, lambda _: 1e-2),
        team=venv.team,
        hidden_sizes=(16,),
        acts_deterministically=not draws,
    )
    trainer = MultiAgentDAggerTrainer(
        venv=venv,
        expert_policy=sampling_expert(expert, venv.team, seed=0),
        policy=policy,
        rng=np.random.default_rng(0),
        batch_size=64,
        samples_per_update=16,
        deterministic=not draws,
        custom_logger=imitation_logger.configure(tmp_path, []),
    )
    trainer.train(4_000)
    spread = policy.log_std.detach().exp().numpy()
    np.testing.assert_allclose(spread, 0.3 if draws else 1.0, atol=0.05)
    if draws:
        agent = policy.agent("arm_0")
        seen = np.zeros(1, dtype=np.float32)
        drawn = np.array([agent.predict(seen)[0] for _ in range(300)])
        assert drawn.std() == pytest.approx(0.3, abs=0.06)


def test_controllers_of_single_agents_draw_by_themselves():
    team = TeamSpaces.from_parallel_env(Doorway())
    alone = team.only("left")

    class One(gymnasium.Env):
        observation_space, action_space = alone.observation_spaces["left"], alone.action_spaces["left"]

    models = {"left": PPO("MlpPolicy", One(), **SHORT), "right": lambda own: 1}
    expert = adapt_expert(models, team)
    seen = np.zeros((200, 4), dtype=np.float32)
    assert len(set(expert.labels(seen)[:, 0])) == 1
    before = th.get_rng_state()
    drawn = make_actor(sampling_expert(expert, team, seed=0))(seen, None)
    assert th.equal(th.get_rng_state(), before)
    assert set(drawn[:, 0]) == {0, 1, 2}
    assert set(drawn[:, 1]) == {1}
    assert sampling_expert(adapt_expert({**models, "left": lambda own: 0}, team), team, seed=0) is None
