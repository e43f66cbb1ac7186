"""Students and experts with a memory: carried, forgotten with an episode, learned from whole episodes."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from imitation.data.types import Trajectory
from imitation.util import logger as imitation_logger
from pettingzoo.utils.env import ParallelEnv

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import ConfigError, ExpertError, LayoutError, SpaceError
from cesma_sb3.evaluation import evaluate, make_actor, policy_actor
from cesma_sb3.imitation import BufferConfig, DAggerProgress, LabelConfig, MultiAgentDAggerTrainer, Samples
from cesma_sb3.imitation.base import RunningMean
from cesma_sb3.imitation.dataset import EpisodeDataset
from cesma_sb3.imitation.registry import ALGORITHMS
from cesma_sb3.policies import TeamPolicy, load_team, save_team


class Recall(ParallelEnv):
    """Each agent is shown its own bit in the first step alone, and is to name it in every step."""

    def __init__(self):
        self.metadata = {"name": "recall"}
        self.possible_agents = ["first", "second"]
        self.observation_spaces = {agent: spaces.Box(-1, 1, (2,)) for agent in self.possible_agents}
        self.action_spaces = {agent: spaces.Discrete(2) for agent in self.possible_agents}
        self.rng = np.random.default_rng(0)

    def observation_space(self, agent):
        return self.observation_spaces[agent]

    def action_space(self, agent):
        return self.action_spaces[agent]

    def observe(self):
        shown = 2.0 * self.bits - 1.0 if self.time == 0 else np.zeros(2)
        return {
            agent: np.array([shown[index], self.time / 5], dtype=np.float32)
            for index, agent in enumerate(self.possible_agents)
        }

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents = self.possible_agents[:]
        self.bits, self.length, self.time = self.rng.integers(0, 2, 2), int(self.rng.integers(2, 6)), 0
        return self.observe(), {agent: {} for agent in self.agents}

    def step(self, actions):
        right = float(sum(actions[agent] == bit for agent, bit in zip(self.agents, self.bits, strict=True)))
        self.time += 1
        over = self.time == self.length
        each = dict.fromkeys(self.agents, right / 2)
        ends, never = dict.fromkeys(self.agents, over), dict.fromkeys(self.agents, False)
        infos = {agent: {} for agent in self.agents}
        self.agents = [] if over else self.agents
        return self.observe(), each, ends, never, infos


class Recaller:
    """The expert, with a memory of its own."""

    def labels(self, observations, masks=None):
        return (observations[:, [0, 2]] > 0).astype(np.int64)

    def actor(self):
        return RecallerActor(self)


class RecallerActor:
    def __init__(self, expert):
        self.expert = expert
        self.reset(None)

    def reset(self, starts):
        if starts is None:
            self.bits = None
        self.starts = starts

    def __call__(self, observations, masks=None):
        shown = self.expert.labels(observations)
        if self.bits is None:
            self.bits = shown
        elif self.starts is not None:
            self.bits = np.where(self.starts[:, None], shown, self.bits)
        self.starts = None
        return self.bits


def venv_of(n_envs=8, seed=0):
    return joint_vec_env(Recall, n_envs, seed=seed)


def students(team, **kwargs):
    th.manual_seed(0)
    kwargs = {"network": "recurrent", "hidden_sizes": (16,), "share_parameters": True, **kwargs}
    return TeamPolicy(team.observation_space, team.action_space, lambda _: 1e-3, team=team, **kwargs)


def trainer_of(venv, policy, algorithm=MultiAgentDAggerTrainer, **kwargs):
    settings = {
        "batch_size": 16,
        "samples_per_update": 16,
        "learning_rate": 0.01,
        "buffer": BufferConfig(2000),
    }
    quiet = imitation_logger.configure(None, [])
    return algorithm(
        venv=venv,
        expert_policy=Recaller(),
        policy=policy,
        rng=np.random.default_rng(0),
        custom_logger=quiet,
        **settings | kwargs,
    )


def share_right(venv, act):
    returns = evaluate(act, venv, n_eval_episodes=64, seed=1)
    return returns.team.sum() / returns.lengths.sum()


@pytest.mark.no_cover
@pytest.mark.parametrize("shared", [True, False])
def test_students_learn_to_remember_what_the_expert_remembers(shared):
    venv = venv_of()
    assert share_right(venv, make_actor(Recaller())) == 1.0
    assert share_right(venv, Recaller().labels) < 0.9  # without its memory
    policy = students(venv.team, share_parameters=shared)
    trainer_of(venv, policy).train(3600)
    assert share_right(venv, policy_actor(policy)) > 0.98


@pytest.mark.no_cover
def test_students_without_a_memory_cannot():
    venv = venv_of()
    policy = students(venv.team, network="feed-forward", hidden_sizes=(16,))
    trainer_of(venv, policy, batch_size=64).train(3600)
    assert share_right(venv, policy_actor(policy)) < 0.8


def test_the_state_is_carried_and_forgotten():
    venv = venv_of(3)
    policy = students(venv.team)
    rng = np.random.default_rng(0)
    seen = rng.normal(size=(4, 3, 4)).astype(np.float32)
    _, state = policy.predict(seen[0])
    assert state[0].shape == (3, 2 * 16)
    carried = policy.predict(seen[1], state, deterministic=True)[1][0]
    begun = policy.predict(seen[1], state, np.array([False, True, False]), deterministic=True)[1][0]
    fresh = policy.predict(seen[1], deterministic=True)[1][0]
    assert np.allclose(begun[1], fresh[1])
    assert np.allclose(begun[[0, 2]], carried[[0, 2]])
    assert not np.allclose(begun[1], carried[1])


def test_one_file_an_agent_does_the_same(tmp_path):
    venv = venv_of(1)
    policy = students(venv.team)
    save_team(policy, tmp_path)
    loaded = load_team(tmp_path)
    assert loaded.is_recurrent
    agents = {name: loaded.agent(name) for name in venv.team.agents}
    observation, state, states = venv.reset(), None, dict.fromkeys(agents)
    for _ in range(5):
        actions, state = policy.predict(observation, state, deterministic=True)
        for index, (name, agent) in enumerate(agents.items()):
            mine = observation[0, 2 * index : 2 * index + 2]
            action, states[name] = agent.predict(mine, states[name], deterministic=True)
            assert action == actions[0, index]
            assert np.allclose(states[name][0], state[0][:, 16 * index : 16 * index + 16], atol=1e-6)
        observation = np.random.default_rng(0).normal(size=observation.shape).astype(np.float32)


def episodes_of(batch):
    """The rows of each episode of a batch, without padding."""
    first = np.cumsum([0, *batch.sizes[:-1]])
    rows = [first[np.array(batch.sizes) > index] + index for index in range(batch.sizes[0])]
    real = batch.alive.any(dim=1).numpy()
    return [each[real[each]] for each in rows]


def test_the_loss_skips_padding_and_the_dead():
    venv = venv_of()
    trainer = trainer_of(venv, students(venv.team))
    trainer.train(200)
    batch = trainer.dataset.sample(12)
    real = batch.alive.any(dim=1)
    assert not real.all()
    assert len(real) == sum(batch.sizes)
    losses = trainer.learner.losses
    before, _ = losses(batch)
    labels, observations = batch.labels.clone(), batch.observations.clone()
    labels[~real] = 1 - labels[~real]
    observations[~real] = 7.0
    after, _ = losses(batch._replace(labels=labels, observations=observations))
    assert th.allclose(before, after)
    alone = []
    for rows in episodes_of(batch):
        fields = {name: f[rows] for name, f in batch._asdict().items() if isinstance(f, th.Tensor)}
        alone.append(losses(type(batch)(**fields, sizes=[1] * len(rows)))[0] * len(rows))
    assert th.allclose(th.stack(alone).sum(dim=0) / real.sum(), before, atol=1e-6)


def stored_episodes(count, length, capacity):
    """A dataset of so many episodes of a single environment."""
    dataset = EpisodeDataset(capacity, rng=np.random.default_rng(0))
    for step in range(1, count * length + 1):
        one = Samples(np.zeros((1, 3), np.float32), np.zeros((1, 1), np.int64), np.ones((1, 1), bool))
        dataset.add(one, np.array([step % length == 0]))
    return dataset


@pytest.mark.parametrize(
    ("count", "length", "capacity", "least", "learns"),
    [
        (3, 10, 100, 4, False),  # thirty samples, which are no four episodes
        (4, 10, 100, 4, True),
        (4, 10, 100, 1, True),
        (0, 10, 100, 1, False),
        (5, 10, 30, 32, True),  # three are all that there will ever be room for
    ],
)
def test_batches_of_episodes_need_episodes(count, length, capacity, least, learns):
    assert stored_episodes(count, length, capacity).has(least) is learns


def test_losses_stay_on_their_device_until_somebody_asks():
    """A conversion waits for the GPU: it is made for who reads, and with what was true at that step."""
    mean = RunningMean(2)
    assert np.isnan(DAggerProgress(1, 2, 0, 0, mean.mean()).losses).all()
    mean.add(th.tensor([1.0, 2.0]))
    before = DAggerProgress(1, 2, 0, 1, mean.mean())
    mean.add(th.tensor([2.0, 4.0]))
    assert isinstance(before.mean_losses, th.Tensor)
    assert before.losses.tolist() == [1.0, 2.0]
    assert before.losses.dtype == np.float64
    assert DAggerProgress(1, 2, 0, 2, mean.mean()).losses.tolist() == [1.5, 3.0]


def test_the_same_seed_gives_the_same_students():
    def weights():
        venv = venv_of()
        policy = students(venv.team)
        trainer_of(venv, policy).train(600)
        return th.cat([p.detach().flatten() for p in policy.parameters()])

    assert th.equal(weights(), weights())


def test_what_is_refused():
    venv = venv_of()
    policy = students(venv.team)
    told = r"^shared_dataset false: agents with a memory learn from the team's episodes$"
    with pytest.raises(ConfigError, match=told):
        trainer_of(venv, policy, buffer=BufferConfig(shared=False))
    with pytest.raises(ConfigError, match="when_full 'reservoir': expected 'drop-oldest'"):
        trainer_of(venv, policy, buffer=BufferConfig(when_full="reservoir"))
    with pytest.raises(ExpertError, match="Recaller: has no `probabilities`: expected hard labels"):
        trainer_of(venv, policy, labels=LabelConfig(soft=True))
    with pytest.raises(ConfigError, match="its students have no memory; expected dagger for them"):
        trainer_of(venv, policy, ALGORITHMS["smile"])
    with pytest.raises(SpaceError, match="agents with a memory act by `predict`"):
        policy.evaluate_actions(th.zeros(2, 4), th.zeros(2, 2))
    with pytest.raises(LayoutError, match=r"expected one number, the units of a memory, got \[16, 16\]"):
        students(venv.team, hidden_sizes=(16, 16))


def test_recurrent_students_take_trajectories_as_episodes():
    venv = venv_of()
    rng, team = np.random.default_rng(0), venv.team
    paths = [
        Trajectory(rng.random((n + 1, team.observation_size)), rng.integers(2, size=(n, 2)), None, True)
        for n in (2, 5)
    ]
    trainer = trainer_of(venv, students(team), demonstrations=paths)
    assert len(trainer.dataset) == 7
    batch = trainer.dataset.sample(40)
    episodes = episodes_of(batch)
    assert {len(rows) for rows in episodes} == {2, 5}
    np.testing.assert_array_equal(batch.observations[episodes[0]], paths[1].obs[:-1].astype(np.float32))
    np.testing.assert_array_equal(batch.labels[episodes[0]], paths[1].acts)
    trainer.train(200)
    assert trainer.n_updates
    assert len(trainer.dataset) > 7
    told = "recurrent students learn from whole episodes; expected imitation's trajectories, got transitions"
    with pytest.raises(ConfigError, match=told):
        trainer.set_demonstrations([{"obs": paths[0].obs[:-1], "acts": paths[0].acts}])
    with pytest.raises(ConfigError, match="an episode takes 5 steps, but capacity is 4"):
        trainer_of(venv, students(team), demonstrations=paths, buffer=BufferConfig(4))
