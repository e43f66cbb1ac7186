"""Recurrent components: one step as many, worlds apart, visibility, an agent taken out, what it remembers."""

import numpy as np
import pytest
import torch as th
from torch import nn

from cesma_sb3.policies.networks.recurrent import RecurrentTeamNet

VISIBLE = [[0, 1, 2], [3, 4], [5, 6, 7, 8]]
OUTPUTS = [2, 3, 1]


@pytest.fixture(params=[True, False], ids=["shared", "apart"])
def net(request):
    th.manual_seed(0)
    return RecurrentTeamNet(VISIBLE, OUTPUTS, hidden_size=8, share_parameters=request.param)


def inputs(n_steps=5, batch=4):
    return th.randn(n_steps, batch, 9, generator=th.Generator().manual_seed(1))


def test_step_by_step_as_all_at_once(net):
    x = inputs()
    outputs, last = net.unroll(x)
    state = net.initial_state(4)
    assert outputs.shape == (5, 4, 6)
    assert state.shape == (4, net.state_size)
    for t in range(5):
        one, state = net.step(x[t], state)
        assert th.allclose(one, outputs[t], atol=1e-6)
    assert th.allclose(state, last, atol=1e-6)
    assert th.allclose(net(x[0]), outputs[0], atol=1e-6)


def test_a_rollout_is_what_is_carried_and_forgotten_step_by_step(net):
    """Episodes begin anywhere, also in the first step, or are under way there."""
    x, starts = inputs(9), th.rand(9, 4, generator=th.Generator().manual_seed(2)) < 0.3
    starts[0] = th.tensor([True, False, False, True])
    before = th.randn(4, net.state_size)
    outputs, state = net.unroll_rollout(x, before, starts), before
    assert starts[1:].any(dim=1).sum() > 2
    for t in range(9):
        one, state = net.step(x[t], state.masked_fill(starts[t].unsqueeze(1), 0.0))
        assert th.allclose(one, outputs[t], atol=1e-6)


def test_it_is_linear_gru_linear():
    net = RecurrentTeamNet([[0, 1]], [3], hidden_size=4)
    cell = nn.GRUCell(4, 4)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell.load_state_dict({name: getattr(net.remember[0], f"{name}_l0") for name in names})
    x, state = th.randn(6, 5, 2), th.zeros(5, 4)
    outputs, _ = net.unroll(x)
    for t in range(6):
        state = cell(th.relu(net.encode[0](x[t])), state)
        assert th.allclose(net.decode[0](state), outputs[t], atol=1e-6)


def test_components_see_their_own_columns_alone(net):
    x = inputs()
    before, _ = net.unroll(x)
    x[:, :, 3:] = 9.0  # all but the first component's
    after, _ = net.unroll(x)
    assert th.allclose(before[..., :2], after[..., :2], atol=1e-6)
    assert not th.isclose(before[..., 2:], after[..., 2:]).any()


def test_an_agent_alone_does_the_same(net):
    x = inputs()
    outputs, _ = net.unroll(x)
    start = 0
    for index, (columns, size) in enumerate(zip(VISIBLE, OUTPUTS, strict=True)):
        alone = net.component(index)
        assert alone.n_components == 1
        mine, _ = alone.unroll(x[..., columns])
        assert th.allclose(mine, outputs[..., start : start + size], atol=1e-6)
        start += size


def test_shared_weights_tell_agents_apart_by_their_number():
    net = RecurrentTeamNet([[0], [0]], [1, 1], hidden_size=8)
    outputs = net(th.ones(1, 1))
    assert outputs[0, 0] != outputs[0, 1]
    assert len(net.encode) == len(net.remember) == len(net.decode) == 1


def test_worlds_of_a_batch_do_not_mix(net):
    x = inputs()
    outputs, _ = net.unroll(x)
    alone, _ = net.unroll(x[:, 2:3])
    assert th.allclose(alone, outputs[:, 2:3], atol=1e-6)


@pytest.mark.parametrize("lengths", [[5, 5, 5, 5], [5, 4, 4, 1], [3]])
def test_episodes_of_different_lengths_are_as_each_alone(net, lengths):
    x = inputs()
    sizes = [sum(length > t for length in lengths) for t in range(max(lengths))]
    packed = net.unroll_packed(th.cat([x[t, :size] for t, size in enumerate(sizes)]), sizes)
    outputs, _ = net.unroll(x)
    assert th.allclose(packed, th.cat([outputs[t, :size] for t, size in enumerate(sizes)]), atol=1e-6)
    packed.square().sum().backward()
    found = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    sum(net.unroll(x[:length, b : b + 1])[0].square().sum() for b, length in enumerate(lengths)).backward()
    for gradient, parameter in zip(found, net.parameters(), strict=True):
        assert th.allclose(gradient, parameter.grad, atol=1e-4)


def test_it_learns_to_remember():
    """The first input, asked for four steps later, when nothing else tells it."""
    th.manual_seed(0)
    net = RecurrentTeamNet([[0]], [2], hidden_size=16)
    optimizer = th.optim.Adam(net.parameters(), lr=0.02)
    rng = np.random.default_rng(0)
    for _ in range(150):
        bits = th.from_numpy(rng.integers(0, 2, 64))
        x = th.zeros(5, 64, 1)
        x[0, :, 0] = 2.0 * bits - 1.0
        loss = nn.functional.cross_entropy(net.unroll(x)[0][-1], bits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.05


def test_what_is_refused():
    with pytest.raises(ValueError, match="2 inputs for 1 outputs"):
        RecurrentTeamNet([[0], [1]], [1])
