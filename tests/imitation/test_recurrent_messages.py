"""Agents that talk and remember: Algorithm 2 over whole episodes."""

import numpy as np
import pytest
import torch as th
from imitation.util import logger as imitation_logger
from torch.nn import functional as F

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.evaluation import evaluate, policy_actor
from cesma_sb3.evaluation.message_ablation import ablate_messages
from cesma_sb3.imitation import Batch, MessageConfig, MultiAgentDAggerTrainer, OptimizerConfig
from cesma_sb3.imitation.collector import students_actor
from cesma_sb3.imitation.learner import Learner
from cesma_sb3.policies import TeamPolicy, load_team, save_team
from tests.joint.test_channel import talking_team
from tests.signalling_game import RecallExpert, RecallGame

TEAM = talking_team([4, 4, 4])
BEST = 3.0


def policy_of(team, **kwargs):
    th.manual_seed(0)
    kwargs = {"network": "recurrent", "hidden_sizes": (32,), **kwargs}
    return TeamPolicy(team.observation_space, team.action_space, lambda _: 1e-3, team=team, **kwargs)


def trainer_of(relaxation="straight-through", **kwargs):
    venv = joint_vec_env(RecallGame, 16, seed=0)
    return MultiAgentDAggerTrainer(
        venv=venv,
        expert_policy=RecallExpert(),
        policy=policy_of(venv.team, **kwargs),
        rng=np.random.default_rng(0),
        custom_logger=imitation_logger.configure(None, []),
        samples_per_update=16,
        batch_size=32,
        learning_rate=1e-2,
        messages=MessageConfig(relaxation, entropy=0.3),
    )


def mean_return(trainer, act):
    return evaluate(act, trainer.venv, n_eval_episodes=100, seed=1).mean


@pytest.fixture(scope="module")
def trained():
    trainer = trainer_of()
    trainer.train(3_000)
    return trainer


@pytest.mark.no_cover
def test_what_is_shown_once_is_told_and_remembered(trained):
    students = policy_actor(trained.policy)
    assert mean_return(trained, students) > 0.95 * BEST
    for change in ("zeroed", "random"):
        silent = ablate_messages(students, trained.venv.team, change, np.random.default_rng(0))
        assert mean_return(trained, silent) < 0.5 * BEST


def test_agents_that_talk_without_a_memory_cannot():
    trainer = trainer_of(network="feed-forward")
    trainer.train(3_000)
    assert mean_return(trainer, policy_actor(trainer.policy)) < 0.5 * BEST


@pytest.mark.no_cover
def test_they_agree_on_a_language_before_they_act():
    """From what the expert has visited alone, who said nothing there: what is heard is drawn at random."""
    trainer = trainer_of("softmax")
    trainer.add_rollouts(1_000)
    batch = trainer.dataset.sample(200)
    assert batch.sizes == [200] * 5
    heard = batch.observations[:, 4:].view(5, 200, 4)
    assert not heard[0].any()
    assert heard[1:].sum(dim=(0, 1)).min() > 150, "every word of four, 800 in all"
    assert th.equal(heard[1:].sum(dim=2), th.ones(4, 200))
    trainer.train(0, pretraining_updates=300)
    assert mean_return(trainer, policy_actor(trainer.policy)) > 0.95 * BEST


def test_each_agent_alone_does_the_same(trained, tmp_path):
    save_team(trained.policy, tmp_path)
    team = load_team(tmp_path)
    agents = {name: team.agent(name) for name in trained.venv.team.agents}
    game, states, total = RecallGame(), dict.fromkeys(agents), 0.0
    seen, _ = game.reset(seed=5)
    while game.agents:
        actions = {}
        for name, agent in agents.items():
            actions[name], states[name] = agent.predict(seen[name], states[name], deterministic=True)
        seen, rewards, *_ = game.step(actions)
        total += rewards["listener"]
    assert total == BEST


def test_who_draws_moves_still_says_what_it_remembers(trained):
    policy = trained.policy
    drawing, likeliest = students_actor(policy, deterministic=False), policy.actor()
    rng = np.random.default_rng(0)
    for _ in range(4):
        seen = rng.normal(size=(50, policy.team.observation_size)).astype(np.float32)
        assert np.array_equal(drawing(seen)[:, 0], likeliest(seen)[:, 0])


def test_the_step_before_is_not_stored_twice(trained):
    assert set(trained.dataset.store.rows.arrays) == {"observations", "labels", "alive"}


def test_same_seed_same_language():
    weights = []
    for _ in range(2):
        trainer = trainer_of(hidden_sizes=(8,))
        trainer.train(400)
        assert trainer.n_updates
        weights.append(trainer.policy.state_dict())
    assert all(th.equal(weights[0][name], weights[1][name]) for name in weights[0])


def episodes():
    """Five steps of four episodes of `TEAM` [T, B, ...], of which one ends early and agents die in others."""
    rng, shape = np.random.default_rng(0), (5, 4)
    alive = np.ones((*shape, 3), dtype=bool)
    alive[3:, 3] = False  # padding
    alive[2:, 2, 0] = alive[4:, 1, 1] = False
    labels = np.stack([rng.integers(k, size=shape) for k in TEAM.column_categories], axis=2)
    observations = rng.normal(size=(*shape, TEAM.observation_size)).astype(np.float32)
    return Batch(*(th.as_tensor(array) for array in (observations, labels, alive)))


def step_by_step(network, seen):
    """The outputs [T, B, O] of one agent's network."""
    state, outputs = network.initial_state(seen.shape[1]), []
    for now in seen:
        out, state = network.step(now, state)
        outputs.append(out)
    return th.stack(outputs)


def action_loss(network, batch, j, messages):
    """Cross-entropy of agent j's moves, given what everybody has said at each step, [T, B, 4]."""
    seen = batch.observations[..., TEAM.observation_slices[j]].clone()
    start = TEAM.layouts[TEAM.agents[j]].observation.slice("heard").start
    for slot, k in enumerate(k for k in range(3) if k != j):
        where = slice(start + 4 * slot, start + 4 * slot + 4)
        for t in range(1, len(seen)):
            spoke = batch.alive[t - 1, :, k : k + 1]
            seen[t, :, where] = th.where(spoke, messages[k][t - 1], seen[t, :, where])
    moves = step_by_step(network, seen)[..., :5]
    alive = batch.alive[..., j]
    return F.cross_entropy(moves[alive], batch.labels[..., 2 * j][alive])


def packed(batch, sizes):
    """The same as `Episodes` are: the first episodes of each timestep."""
    fields = (th.cat([rows[:n] for rows, n in zip(field, sizes, strict=True)]) for field in batch[:3])
    return Batch(*fields, sizes=sizes)


@pytest.mark.parametrize("sizes", [[4, 4, 4, 4, 4], [4, 4, 4, 3, 3]], ids=["padded", "packed"])
def test_one_backward_pass_is_the_literal_double_loop_over_whole_episodes(sizes):
    policy, batch = policy_of(TEAM, hidden_sizes=(8,)), episodes()
    learner = Learner(
        policy,
        rng=np.random.default_rng(0),
        batch_size=4,
        learning_rate=1e-3,
        loss="auto",
        class_weights="none",
        messages=MessageConfig("softmax"),
        optimizer=OptimizerConfig(),
    )
    losses, total = learner.losses(packed(batch, sizes))
    total.backward()
    ours = dict(policy.action_net.named_parameters())
    networks = [policy.action_net.component(i) for i in range(3)]

    def says(i):
        """What agent i's network says in each step, with what it has heard as it was recorded."""
        seen = batch.observations[..., TEAM.observation_slices[i]]
        return F.softmax(step_by_step(networks[i], seen)[..., 5:], dim=-1)

    for i, network in enumerate(networks):
        others = [says(k).detach() for k in range(3)]
        own = [says(k) if k == i else others[k] for k in range(3)]
        loss = action_loss(network, batch, i, others)
        th.testing.assert_close(losses[i], loss)
        for j in range(3):
            if j != i:
                loss = loss + action_loss(networks[j], batch, j, own) / 2
        expected = th.autograd.grad(loss, list(network.parameters()))
        for (name, _), gradient in zip(network.named_parameters(), expected, strict=True):
            mine = ours[name.replace(".0.", f".{i}.")].grad
            th.testing.assert_close(mine, gradient, rtol=1e-4, atol=1e-6)
        assert expected[-1][5:].abs().max() > 1e-5, "what it says is learned"
