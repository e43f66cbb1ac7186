"""The loss of each agent against a literal computation, and what it must not see."""

import numpy as np
import pytest
import torch as th
from torch.nn import functional as F

from cesma_sb3.envs.particle import Spread
from cesma_sb3.imitation import Batch, ColumnwiseLoss
from cesma_sb3.policies import ActionHead
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MixedEnv

MIXED = TeamSpaces.from_parallel_env(MixedEnv())


def random_batch(team, size=7, seed=0, soft=False):
    rng = np.random.default_rng(seed)
    labels = np.stack(
        [rng.integers(k, size=size) if k else rng.normal(size=size) for k in team.column_categories], axis=1
    ).astype(team.action_dtype)
    probabilities = None
    if soft:
        blocks = [rng.dirichlet(np.ones(k), size=size) for k in team.column_categories if k]
        probabilities = th.as_tensor(np.concatenate(blocks, axis=1), dtype=th.float32)
    return Batch(
        th.zeros(size, team.observation_size),
        th.as_tensor(labels),
        th.as_tensor(rng.random((size, team.n_agents)) < 0.7),
        None,
        probabilities,
    )


@pytest.mark.parametrize(
    "team", [Spread(3).team(), MIXED, Spread(2, continuous_actions=True).team()], ids=str
)
@pytest.mark.parametrize("kind", ["auto", "mse"])
@pytest.mark.parametrize("soft", [False, True])
def test_equals_the_literal_loop(team, kind, soft):
    soft = soft and not team.is_continuous  # numbers have no distribution to imitate
    batch = random_batch(team, soft=soft)
    outputs = th.randn(7, team.output_size)
    losses = ColumnwiseLoss(team, ActionHead(team.column_categories), kind)(outputs, batch)
    for agent, columns in enumerate(team.action_columns):
        expected = []
        for row in range(7):
            if not batch.alive[row, agent]:
                continue
            total = th.tensor(0.0)
            for column in range(columns.start, columns.stop):
                given, label = outputs[row, team.column_outputs[column]], batch.labels[row, column]
                if team.column_categories[column] == 0:
                    total = total + (given[0] - label) ** 2
                    continue
                target = F.one_hot(label.long(), len(given)).float()
                if soft:
                    target = batch.probabilities[row, team.column_masks[column]]
                if kind == "mse":
                    total = total + (F.softmax(given, 0) - target).square().sum()
                else:
                    total = total - (target * F.log_softmax(given, 0)).sum()
            expected.append(total)
        th.testing.assert_close(losses[agent], th.stack(expected).mean())


def test_dead_agents_and_unavailable_actions_cost_nothing():
    team = Spread(2).team()
    loss = ColumnwiseLoss(team, ActionHead(team.column_categories))
    batch = random_batch(team)
    alive = batch.alive.clone()
    alive[:, 1] = False
    outputs = th.randn(7, team.output_size, requires_grad=True)
    losses = loss(outputs, batch._replace(alive=alive))
    losses.sum().backward()
    assert losses[1] == 0
    assert not outputs.grad[:, 5:].any()

    masks = th.ones(7, 10, dtype=th.bool)
    masks[:, 4] = False  # agent_0 cannot go up; its labels do not say it should
    labels = batch.labels.clamp(max=3)
    outputs = th.randn(7, team.output_size, requires_grad=True)
    loss(outputs, batch._replace(masks=masks, labels=labels)).sum().backward()
    assert not outputs.grad[:, 4].any()


def test_cross_entropy_of_numbers_is_refused():
    with pytest.raises(ValueError, match="continuous actions"):
        ColumnwiseLoss(MIXED, ActionHead(MIXED.column_categories), "cross-entropy")
