"""Students that communicate: they agree on a language of which their expert says nothing."""

import numpy as np
import pytest
import torch as th
from imitation.data.types import Trajectory
from imitation.util import logger as imitation_logger

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import ConfigError
from cesma_sb3.evaluation import evaluate, policy_actor
from cesma_sb3.evaluation.message_ablation import ablate_messages
from cesma_sb3.imitation import BufferConfig, MessageConfig, MultiAgentDAggerTrainer
from cesma_sb3.policies import TeamPolicy
from tests.envs_for_tests import MatchingGame
from tests.signalling_game import SignallingGame, SilentGoalExpert


def trainer_of(tmp_path, game=SignallingGame, expert=None, seed=0, **kwargs):
    venv = joint_vec_env(game, 16, seed=seed)
    th.manual_seed(seed)
    team = venv.team
    policy = TeamPolicy(
        team.observation_space, team.action_space, lambda _: 1e-3, team=team, hidden_sizes=(32,)
    )
    return MultiAgentDAggerTrainer(
        venv=venv,
        expert_policy=expert or SilentGoalExpert(),
        policy=policy,
        rng=np.random.default_rng(seed),
        custom_logger=imitation_logger.configure(tmp_path / "log", []),
        **{"samples_per_update": 8, "batch_size": 64, "learning_rate": 1e-2, **kwargs},
    )


@pytest.mark.no_cover
def test_a_signalling_game_is_solved_through_the_channel_alone(tmp_path):
    trainer = trainer_of(tmp_path, messages=MessageConfig(entropy=0.3))
    team, venv = trainer.venv.team, trainer.venv
    students = policy_actor(trainer.policy)
    trainer.train(4_800)

    def mean(act):
        return evaluate(act, venv, n_eval_episodes=400, seed=1).mean

    assert mean(students) > 0.95 * 4
    rng = np.random.default_rng(0)
    for change in ("shuffled", "zeroed", "random"):
        assert mean(ablate_messages(students, team, change, rng)) == pytest.approx(1.0, abs=0.25), change


def test_the_dataset_keeps_the_step_before(tmp_path):
    trainer = trainer_of(tmp_path, deterministic=False)
    trainer.train(16 * 12)
    stored = {
        name: array[: 16 * 12].reshape(12, 16, -1) for name, array in trainer.dataset.rows.arrays.items()
    }
    first = np.arange(12) % 5 == 0
    assert not stored["follows"][first].any()
    assert stored["follows"][~first].all()
    assert not stored["observations"][first][:, :, 4:].any(), "nobody has said anything"
    assert np.array_equal(stored["previous"][1:], stored["observations"][:-1])
    assert (stored["observations"][~first][:, :, 4:].sum(axis=2) == 1).all(), "one symbol is heard"


def test_the_students_talk_where_the_expert_acts(tmp_path):
    trainer = trainer_of(tmp_path, beta_schedule=lambda _: 1.0)
    played = []
    step = trainer.venv.step
    trainer.venv.step = lambda actions: played.append(actions) or step(actions)
    said = []
    predict = trainer.policy.predict
    trainer.policy.predict = lambda *args, **kwargs: (
        said.append(predict(*args, **kwargs)[0]) or (said[-1], None)
    )
    trainer.train(160)
    played, said = np.concatenate(played), np.concatenate(said)
    labels = trainer.dataset.rows.arrays["labels"][:160]
    assert np.array_equal(played[:, 0], said[:, 0])
    assert said[:, 0].any()
    assert np.array_equal(played[:, 1], labels[:, 1])
    assert not labels[:, 0].any()


@pytest.mark.parametrize("messages", ["straight-through", "gumbel-softmax", "softmax"])
def test_same_seed_same_language(tmp_path, messages):
    def weights(seed):
        trainer = trainer_of(tmp_path, seed=seed, messages=MessageConfig(messages))
        trainer.train(800)
        return trainer.policy.state_dict()

    first, second, other = weights(0), weights(0), weights(1)
    assert all(th.equal(first[name], second[name]) for name in first)
    assert not all(th.equal(first[name], other[name]) for name in first)


def test_demonstrated_episodes_know_the_step_before(tmp_path):
    trainer = trainer_of(tmp_path)
    rng = np.random.default_rng(0)
    observations = rng.random((6, 8)).astype(np.float32)
    actions = rng.integers(4, size=(5, 2))
    trainer.set_demonstrations([Trajectory(observations, actions, None, True)])
    trainer.set_demonstrations([{"obs": observations[:5], "acts": actions}])
    stored = {name: array[:10] for name, array in trainer.dataset.rows.arrays.items()}
    assert stored["follows"].all(axis=1).tolist() == [False, True, True, True, True] + [False] * 5
    assert np.array_equal(stored["previous"][1:5], observations[:4])
    trainer.update()


class CueExpert:
    def labels(self, observations, masks=None):
        return observations.reshape(len(observations), -1, 3).argmax(axis=2).astype(np.int64)


def test_teams_without_messages_are_trained_as_ever(tmp_path):
    trainer = trainer_of(tmp_path, MatchingGame, CueExpert())
    assert trainer.learner.communication is None
    assert not trainer.collector.communicates
    trainer.train(160)
    assert set(trainer.dataset.rows.arrays) == {"observations", "labels", "alive"}
    assert trainer.rng.bit_generator.state == _draws_of_plain_batches(trainer)
    before = {name: tensor.clone() for name, tensor in trainer.policy.state_dict().items()}
    state = trainer.rng.bit_generator.state
    batch = trainer.dataset.sample(64)
    expected = trainer.learner.loss(trainer.policy.outputs(batch.observations), batch)
    trainer.rng.bit_generator.state = state
    assert th.equal(trainer.update(), expected.detach())
    assert any(not th.equal(before[name], tensor) for name, tensor in trainer.policy.state_dict().items())


def _draws_of_plain_batches(trainer):
    """The generator's state if nothing but the rows of the batches was ever drawn."""
    rng = np.random.default_rng(0)
    sizes = [16 * (step + 1) for step in range(10) for _ in range(2) if 16 * (step + 1) >= 64]
    for size in sizes:
        rng.integers(0, size, size=64)
    return rng.bit_generator.state


def test_agents_that_communicate_share_their_dataset(tmp_path):
    with pytest.raises(ConfigError, match="shared_dataset false: agents that communicate"):
        trainer_of(tmp_path, buffer=BufferConfig(shared=False))


def test_agents_with_datasets_of_their_own_learn(tmp_path):
    trainer = trainer_of(tmp_path, MatchingGame, CueExpert(), buffer=BufferConfig(shared=False))
    trainer.train(2_000)
    assert evaluate(trainer.policy, trainer.venv, n_eval_episodes=40, seed=1).mean == 8.0


def test_rare_labels_can_weigh_more(tmp_path):
    trainer = trainer_of(tmp_path, MatchingGame, CueExpert(), class_weights="inverse-frequency")
    trainer.train(2_000)
    assert trainer.learner.loss.counts.counts.sum() == 2 * trainer.timesteps
    assert evaluate(trainer.policy, trainer.venv, n_eval_episodes=40, seed=1).mean == 8.0
    with pytest.raises(ConfigError, match="weights of its own"):
        trainer_of(
            tmp_path, MatchingGame, CueExpert(), class_weights="inverse-frequency", loss=trainer.learner.loss
        )
