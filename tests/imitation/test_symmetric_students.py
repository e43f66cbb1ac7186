"""Students learn from turned and mirrored samples, with labels that are turned alike."""

import numpy as np
import pytest
import torch as th
from imitation.util.logger import HierarchicalLogger
from stable_baselines3.common.logger import Logger

from cesma_sb3.algorithms.symmetric_samples import SymmetricSamples
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, make_scenario
from cesma_sb3.errors import LayoutError
from cesma_sb3.experts import reference_expert
from cesma_sb3.imitation import LabelConfig, MultiAgentDAggerTrainer
from cesma_sb3.policies import TeamPolicy
from tests.envs_for_tests import MatchingGame

CPU = th.device("cpu")


def trainer_of(venv, seed=0, **kwargs):
    return MultiAgentDAggerTrainer(
        venv=venv,
        expert_policy=reference_expert(venv),
        rng=np.random.default_rng(seed),
        batch_size=32,
        samples_per_update=8,
        use_symmetries=True,
        custom_logger=HierarchicalLogger(Logger(None, [])),
        **kwargs,
    )


@pytest.mark.parametrize("name", ["spread", "navigation-comm"])
def test_flags_are_changed_as_actions_are(name):
    team = make_scenario(name).team()
    symmetric = SymmetricSamples(team, CPU)
    rng = np.random.default_rng(0)
    actions = th.as_tensor(np.stack([rng.integers(k, size=40) for k in team.column_categories], axis=1))
    which = th.arange(8).repeat(5)

    def one_hot(packed):
        columns = [th.nn.functional.one_hot(packed[:, c], k) for c, k in enumerate(team.column_categories)]
        return th.cat(columns, dim=1)

    changed = symmetric.actions(actions, which)
    assert not th.equal(changed, actions)
    assert th.equal(symmetric.flags(one_hot(actions), which), one_hot(changed))
    assert th.equal(symmetric.actions(actions, th.zeros(40, dtype=th.long)), actions)


@pytest.mark.parametrize("labels", [LabelConfig(), LabelConfig(soft=True)])
@pytest.mark.parametrize("name", ["spread", "navigation-comm"])
def test_what_students_learn_from_is_what_the_expert_would_do(name, labels, monkeypatch):
    """Where the world is turned, the scripted expert, which sees no directions, does what it did, turned."""
    venv = ParticleVecEnv(make_scenario(name), 8, seed=0)
    trainer = trainer_of(venv, labels=labels)
    seen = []
    losses = trainer.learner.losses
    monkeypatch.setattr(trainer.learner, "losses", lambda batch: (seen.append(batch), losses(batch))[1])
    trainer.train(160)
    batch = seen[-1]
    seen_by_expert = batch.observations.numpy()
    if labels.soft:
        probabilities = th.as_tensor(trainer.expert.probabilities(seen_by_expert, None))
        assert th.isclose(probabilities, batch.probabilities, atol=1e-3).float().mean() > 0.9
    found = th.as_tensor(trainer.expert.labels(seen_by_expert, None))
    # Two pushes may be equally good, and the first of them is the label: turned, it is the other.
    assert (found == batch.labels).float().mean() > 0.9


def test_an_episode_is_turned_as_a_whole(monkeypatch):
    venv = ParticleVecEnv(make_scenario("spread"), 8, seed=0)
    policy = TeamPolicy(
        venv.team.observation_space,
        venv.team.action_space,
        lambda _: 1e-3,
        team=venv.team,
        network="recurrent",
        hidden_sizes=(8,),
    )
    trainer = trainer_of(venv, policy=policy)
    trainer.train(8 * 25)
    plain = trainer.dataset.sample(6)
    monkeypatch.setattr(trainer.dataset, "sample", lambda *_: plain)
    seen = []
    losses = trainer.learner.losses
    monkeypatch.setattr(trainer.learner, "losses", lambda batch: (seen.append(batch), losses(batch))[1])
    trainer.update()
    (batch,) = seen
    assert set(plain.sizes) == {6}
    symmetric = trainer.learner.symmetric
    for episode in range(6):
        rows = slice(episode, None, 6)
        turned = [
            symmetric.observations(plain.observations[rows], th.full((25,), which)) for which in range(8)
        ]
        assert sum(th.equal(each, batch.observations[rows]) for each in turned) == 1


def test_the_same_seed_gives_the_same_students():
    def weights():
        th.manual_seed(1)
        trainer = trainer_of(ParticleVecEnv(make_scenario("spread"), 8, seed=0))
        trainer.train(160)
        return trainer.policy.state_dict()

    one, other = weights(), weights()
    assert all(th.equal(one[key], other[key]) for key in one)


def test_a_team_without_symmetries_is_refused():
    venv = joint_vec_env(MatchingGame, 2)
    with pytest.raises(LayoutError, match="directions"):
        MultiAgentDAggerTrainer(
            venv=venv,
            expert_policy=lambda observations: np.zeros(
                (len(observations), venv.team.n_columns), dtype=np.int64
            ),
            rng=np.random.default_rng(0),
            use_symmetries=True,
            custom_logger=HierarchicalLogger(Logger(None, [])),
        )
