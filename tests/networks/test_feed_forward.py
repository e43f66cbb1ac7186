"""`TeamNet`: equal to separate networks, and to nothing more."""

import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cesma_sb3.policies.networks.feed_forward import TeamNet

component = st.tuples(st.integers(1, 5), st.integers(1, 4))  # inputs, outputs


def slices(sizes):
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]


@given(st.lists(component, min_size=1, max_size=4), st.booleans(), st.integers(1, 3))
@settings(max_examples=60)
def test_equals_its_components_evaluated_one_by_one(sizes, share, batch):
    inputs, outputs = zip(*sizes, strict=True)
    net = TeamNet(slices(inputs), outputs, hidden_sizes=(7, 6), share_parameters=share)
    x = th.randn(batch, sum(inputs))
    alone = [net.component(i)(x[:, columns]) for i, columns in enumerate(slices(inputs))]
    assert net(x).shape == (batch, sum(outputs))
    th.testing.assert_close(net(x), th.cat(alone, dim=1), atol=1e-5, rtol=1e-5)


@given(st.lists(component, min_size=2, max_size=4))
@settings(max_examples=30)
def test_no_component_sees_anothers_input(sizes):
    inputs, outputs = zip(*sizes, strict=True)
    net = TeamNet(slices(inputs), outputs, hidden_sizes=(8,))
    x = th.randn(3, sum(inputs))
    for index, columns in enumerate(slices(inputs)):
        others_changed = th.randn_like(x)
        others_changed[:, columns] = x[:, columns]
        given_by = slice(sum(outputs[:index]), sum(outputs[: index + 1]))
        assert th.equal(net(x)[:, given_by], net(others_changed)[:, given_by])


def test_padding_takes_no_part_in_training():
    net = TeamNet(slices([2, 5]), [1, 3], hidden_sizes=(4,))
    net(th.randn(6, 7)).square().sum().backward()
    first, last = net.layers[0], net.layers[-1]
    assert not first.weight.grad[0, 2:].any(), "weights on padded inputs"
    assert not last.weight.grad[0, :, 1:].any(), "weights of padded outputs"


def test_initial_weights_are_those_of_torch_linear():
    th.manual_seed(0)
    net = TeamNet(slices([50, 200]), [100, 100], hidden_sizes=())
    for index, fan_in in enumerate((50, 200)):
        weights = net.layers[0].weight[index, :fan_in]
        reference = nn.Linear(fan_in, 100).weight
        assert weights.abs().max() <= fan_in**-0.5
        assert weights.std().item() == pytest.approx(reference.std().item(), rel=0.1)


def test_shared_parameters_tell_agents_apart_by_their_number():
    net = TeamNet(slices([3, 3]), [2, 2], hidden_sizes=(16,), share_parameters=True)
    same = th.randn(1, 3).repeat(1, 2)
    outputs = net(same)
    assert not th.allclose(outputs[:, :2], outputs[:, 2:])
    assert sum(p.numel() for p in net.parameters()) == (3 + 2 + 1) * 16 + (16 + 1) * 2


def test_one_output_for_each_component():
    with pytest.raises(ValueError, match="2 inputs for 1 outputs"):
        TeamNet([[0], [1]], [1])
