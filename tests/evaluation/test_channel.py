"""A team with a changed channel hears what it is said to hear, and nothing else changes."""

import numpy as np
import pytest

from cesma_sb3.envs.particle import Spread
from cesma_sb3.errors import LayoutError, UnknownNameError
from cesma_sb3.evaluation.message_ablation import ablate_messages
from cesma_sb3.spaces.communication import MessageChannel
from tests.joint.test_channel import talking_team

TEAM = talking_team([4, 4, 4])
CHANNEL = MessageChannel.of(TEAM)


def heard_after(change, observations, seed=0):
    """What reaches a team that acts, and what is beside the messages."""
    seen = []
    act = ablate_messages(
        lambda o, masks: seen.append((o, masks)) or o, TEAM, change, np.random.default_rng(seed)
    )
    masks = np.ones((len(observations), TEAM.mask_size), dtype=bool)
    before = observations.copy()
    act(observations, masks)
    assert np.array_equal(observations, before), "the observations given are left as they are"
    assert seen[0][1] is masks
    others = np.setdiff1d(np.arange(TEAM.observation_size), CHANNEL.places)
    assert np.array_equal(seen[0][0][:, others], observations[:, others])
    return seen[0][0][:, CHANNEL.places]


def observations(n_worlds=50, seed=0):
    rng = np.random.default_rng(seed)
    joint = rng.normal(size=(n_worlds, TEAM.observation_size)).astype(np.float32)
    actions = np.stack([rng.integers(k, size=n_worlds) for k in TEAM.column_categories], axis=1)
    joint[:, CHANNEL.places] = CHANNEL.encode(actions)
    return joint


def test_shuffled_messages_come_from_another_world():
    joint = observations()
    joint[:, CHANNEL.places] = np.arange(50)[:, None]  # each world's number
    heard = heard_after("shuffled", joint)
    assert (heard == heard[:, :1]).all(), "all hear the same other world"
    assert (heard[:, 0] != np.arange(50)).all()
    assert sorted(heard[:, 0]) == list(range(50))
    with pytest.raises(ValueError, match="only one"):
        heard_after("shuffled", joint[:1])


def test_zeroed():
    assert not heard_after("zeroed", observations()).any()


def test_random_messages_are_symbols_that_all_hear_alike():
    joint = observations(400)
    joint[:100, CHANNEL.places] = 0  # the first step of an episode
    heard = heard_after("random", joint)
    assert not heard[:100].any()
    symbols = heard[100:].reshape(300, 6, 4)  # receivers x senders
    assert (symbols.sum(axis=2) == 1).all()
    assert set(np.unique(symbols)) == {0.0, 1.0}
    assert np.array_equal(symbols[:, 0], symbols[:, 5]), "agent 1, heard by agent 0 and by agent 2"
    assert np.abs(symbols[:, 0].mean(axis=0) - 0.25).max() < 0.1
    assert not np.array_equal(heard[100:], joint[100:, CHANNEL.places])


def test_same_seed_same_messages():
    joint = observations()
    for change in ("shuffled", "random"):
        assert np.array_equal(heard_after(change, joint, 1), heard_after(change, joint, 1))
        assert not np.array_equal(heard_after(change, joint, 1), heard_after(change, joint, 2))


def test_what_cannot_be_changed_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(UnknownNameError, match="did you mean 'shuffled"):
        ablate_messages(lambda o, m: o, TEAM, "shufled", rng)
    with pytest.raises(LayoutError, match="no messages to change"):
        ablate_messages(lambda o, m: o, Spread(2).team(), "zeroed", rng)
