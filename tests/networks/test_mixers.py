"""Mixers: how values of action columns become what is regressed on the team's return."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from cesma_sb3.errors import UnknownNameError
from cesma_sb3.policies.networks.mixers import IndependentMixer, MonotonicMixer, SumMixer, make_mixer
from cesma_sb3.spaces.team_spaces import TeamSpaces

finite = st.floats(-100.0, 100.0, width=32)


def team_of(*action_spaces):
    box = spaces.Box(-1.0, 1.0, (2,), np.float32)
    agents = [f"agent_{i}" for i in range(len(action_spaces))]
    return TeamSpaces(agents, dict.fromkeys(agents, box), dict(zip(agents, action_spaces, strict=True)))


@given(
    values=st.lists(finite, min_size=3, max_size=3),
    observation=st.lists(finite, min_size=4, max_size=4),
    column=st.integers(0, 2),
    rise=st.floats(0.0, 50.0, width=32),
    seed=st.integers(0, 10),
)
@settings(deadline=None)
def test_the_monotonic_mixer_never_falls_when_a_value_rises(values, observation, column, rise, seed):
    th.manual_seed(seed)
    mixer = MonotonicMixer(3, 4, width=8, hyper_hidden=8).double()
    low, observed = th.tensor([values]).double(), th.tensor([observation]).double()
    high = low.clone()
    high[0, column] += rise
    assert mixer(high, observed) >= mixer(low, observed) - 1e-9


def test_the_monotonic_mixer_is_no_sum():
    th.manual_seed(0)
    mixer = MonotonicMixer(2, 3)
    corners = th.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    none, first, second, both = mixer(corners, th.ones(4, 3)).flatten().tolist()
    assert abs((both - none) - (first - none) - (second - none)) > 1e-3


def test_the_monotonic_mixer_in_plain_numbers():
    th.manual_seed(1)
    mixer, values, observed = MonotonicMixer(2, 3, width=4), th.randn(5, 2), th.randn(5, 3)
    for row in range(5):
        weights = mixer.first_weights(observed[row]).abs().reshape(2, 4)
        hidden = values[row] @ weights + mixer.first_bias(observed[row])
        hidden = th.where(hidden > 0, hidden, hidden.exp() - 1)
        wanted = hidden @ mixer.last_weights(observed[row]).abs() + mixer.last_bias(observed[row])
        assert mixer(values, observed)[row].item() == pytest.approx(wanted.item(), abs=1e-5)


def test_sum_and_independent_values():
    values = th.tensor([[1.0, 2.0, 4.0]])
    assert SumMixer()(values, th.zeros(1, 1)).tolist() == [[7.0]]
    assert IndependentMixer([1, 2])(values, th.zeros(1, 1)).tolist() == [[1.0, 6.0]]


def test_an_agent_of_two_columns_has_one_value():
    team = team_of(spaces.Discrete(3), spaces.MultiDiscrete([5, 4]))
    mixer = make_mixer("none", team)
    assert mixer(th.tensor([[1.0, 2.0, 4.0]]), th.zeros(1, 4)).tolist() == [[1.0, 6.0]]
    assert make_mixer("monotonic", team)(th.zeros(2, 3), th.zeros(2, 4)).shape == (2, 1)


def test_an_unknown_mixer_is_told_of():
    with pytest.raises(UnknownNameError, match="monotonic"):
        make_mixer("monotone", team_of(spaces.Discrete(2)))
