"""Datasets of the agents' own: each agent's entries come from one sample, and no two agents' together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cesma_sb3.imitation import AggregatedDataset, Samples
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MixedEnv

TEAM = TeamSpaces.from_parallel_env(MixedEnv())


def numbered(count):
    """Samples whose every entry tells their number."""

    def field(width, dtype=np.float32):
        return np.repeat(np.arange(count)[:, None], width, axis=1).astype(dtype)

    alive = field(TEAM.n_agents) % 2 == 0
    masks = field(TEAM.mask_size) % 2 == 0
    return Samples(field(TEAM.observation_size), field(TEAM.n_columns), alive, masks, field(TEAM.mask_size))


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 100))
@settings(max_examples=50)
def test_the_entries_of_one_agent_come_from_one_sample(count, batch_size, seed):
    dataset = AggregatedDataset(40, rng=np.random.default_rng(seed), separate=TEAM)
    dataset.add(numbered(count))
    batch = dataset.sample(batch_size)
    for agent in range(TEAM.n_agents):
        rows = batch.observations[:, TEAM.observation_slices[agent]].numpy()
        assert (rows == rows[:, :1]).all()
        assert rows.max() < count
        for field, where in (("labels", TEAM.action_columns), ("probabilities", TEAM.mask_slices)):
            assert (getattr(batch, field)[:, where[agent]].numpy() == rows[:, :1]).all()
        assert np.array_equal(batch.alive[:, agent].numpy(), rows[:, 0] % 2 == 0)
        assert (batch.masks[:, TEAM.mask_slices[agent]].numpy() == (rows[:, :1] % 2 == 0)).all()


def test_agents_draw_independently():
    dataset = AggregatedDataset(1000, rng=np.random.default_rng(0), separate=TEAM)
    dataset.add(numbered(1000))
    observations = dataset.sample(5000).observations.numpy()
    rows = np.stack([observations[:, where.start] for where in TEAM.observation_slices])
    correlations = np.corrcoef(rows)[~np.eye(TEAM.n_agents, dtype=bool)]
    assert np.abs(correlations).max() < 5 / np.sqrt(5000)
    assert np.abs(rows.mean(axis=1) - 499.5).max() < 5 * 289 / np.sqrt(5000), "each uniformly"


def test_same_seed_same_batches():
    def drawn(seed):
        dataset = AggregatedDataset(50, rng=np.random.default_rng(seed), separate=TEAM)
        dataset.add(numbered(50))
        return dataset.sample(20).observations.numpy()

    assert np.array_equal(drawn(0), drawn(0))
    assert not np.array_equal(drawn(0), drawn(1))


def test_messages_need_a_shared_dataset():
    dataset = AggregatedDataset(50, separate=TEAM)
    samples = numbered(5)
    with pytest.raises(ValueError, match="shared dataset"):
        dataset.add(samples._replace(previous=samples.observations, follows=samples.alive))
