"""imitation's demonstrations as samples: the step before is known of trajectories, not of transitions."""

import numpy as np
import pytest
from gymnasium import spaces
from imitation.data import types

from cesma_sb3.envs.particle import make_scenario
from cesma_sb3.errors import SpaceError
from cesma_sb3.imitation import AggregatedDataset, Samples
from cesma_sb3.imitation.demonstrations import demonstrated
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MatchingGame

TEAM = make_scenario("speaker-listener").team()
EVERYTHING = {"has_masks": True, "has_probabilities": True, "communicates": True}
RNG = np.random.default_rng(0)
SEEN = RNG.normal(size=(5, TEAM.observation_size))
DONE = np.stack([RNG.integers(k, size=4) for k in TEAM.column_categories], axis=1)


def test_a_trajectory_knows_the_step_before():
    path = types.Trajectory(obs=SEEN, acts=DONE, infos=None, terminal=True)
    first, second = demonstrated([path, path], TEAM, **EVERYTHING)
    for name, array in first._asdict().items():
        np.testing.assert_array_equal(array, second._asdict()[name])
    assert first.observations.dtype == np.float32
    np.testing.assert_array_equal(first.observations, SEEN[:4].astype(np.float32))
    assert first.labels.dtype == TEAM.action_dtype
    np.testing.assert_array_equal(first.labels, DONE)
    for flags, width in ((first.alive, TEAM.n_agents), (first.masks, TEAM.mask_size)):
        assert flags.dtype == bool
        assert flags.shape == (4, width)
        assert flags.all()
    assert first.previous_masks is first.masks
    np.testing.assert_array_equal(first.previous[1:], first.observations[:-1])
    assert not first.previous[0].any()
    np.testing.assert_array_equal(first.follows, [[False] * 2, [True] * 2, [True] * 2, [True] * 2])
    assert first.probabilities.dtype == np.float32
    assert first.probabilities.shape == (4, TEAM.mask_size)
    for column, where in enumerate(TEAM.column_masks):
        np.testing.assert_array_equal(first.probabilities[:, where].argmax(axis=1), DONE[:, column])
    assert first.probabilities.sum() == 4 * TEAM.n_columns


@pytest.mark.parametrize("kind", ["transitions", "batches"])
def test_transitions_do_not(kind):
    infos = np.array([{}] * 4)
    batch = {"obs": SEEN[:4], "acts": DONE}
    given = types.TransitionsMinimal(infos=infos, **batch) if kind == "transitions" else [batch]
    (samples,) = demonstrated(given, TEAM, **EVERYTHING)
    np.testing.assert_array_equal(samples.observations, SEEN[:4].astype(np.float32))
    assert samples.previous.shape == samples.observations.shape
    assert not samples.previous.any()
    assert not samples.follows.any()


@pytest.mark.parametrize("when_full", ["drop-oldest", "reservoir"])
def test_a_large_recording_comes_in_parts_and_fills_a_dataset_as_one(when_full):
    rng = np.random.default_rng(1)
    seen = rng.integers(0, 256, size=(9000, TEAM.observation_size)).astype(np.uint8)
    done = np.stack([rng.integers(k, size=9000) for k in TEAM.column_categories], axis=1)
    parts = list(demonstrated([{"obs": seen, "acts": done}], TEAM))
    assert [len(part.observations) for part in parts] == [4096, 4096, 808]
    together = Samples(
        *(np.concatenate(fields) for fields in zip(*(part[:3] for part in parts), strict=True))
    )
    held = []
    for samples in (parts, [together]):
        dataset = AggregatedDataset(5000, when_full=when_full, rng=np.random.default_rng(2))
        for each in samples:
            dataset.add(each)
        held.append([*dataset.rows.arrays.values(), dataset.sample(64).observations.numpy()])
    for one, other in zip(*held, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_not_asked_for_is_not_given():
    (samples,) = demonstrated([{"obs": SEEN[:4], "acts": DONE}], TEAM)
    absent = (samples.masks, samples.probabilities, samples.previous, samples.follows, samples.previous_masks)
    assert absent == (None,) * 5


def test_images_are_flattened_and_other_teams_refused():
    image = spaces.Box(0.0, 1.0, (2, 3), np.float32)
    team = TeamSpaces(["a"], {"a": image}, {"a": spaces.Discrete(3)})
    (samples,) = demonstrated([{"obs": np.ones((4, 2, 3)), "acts": np.zeros(4)}], team)
    assert samples.observations.shape == (4, 6)
    assert samples.labels.shape == (4, 1)
    other = TeamSpaces.from_parallel_env(MatchingGame())
    told = r"observations \(4, \d+\) and actions \(4, 2\), expected \[n, 6\] and"
    with pytest.raises(SpaceError, match=told):
        list(demonstrated([{"obs": SEEN[:4], "acts": DONE}], other))
