"""Algorithm 2: the batched gradient is that of its loop, and flows through what is heard alone."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch.nn import functional as F

from cesma_sb3.imitation import Batch, ColumnwiseLoss, Communication, MessageConfig
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.spaces.layout import ActionPart, AgentLayout, ObservationLayout, Part
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.joint.test_channel import talking_team

TEAM = talking_team([4, 4, 4])


def policy_of(team, seed=0, **kwargs):
    th.manual_seed(seed)
    return TeamPolicy(
        team.observation_space,
        team.action_space,
        lambda _: 1e-3,
        team=team,
        **{"hidden_sizes": (16, 8), **kwargs},
    )


def random_batch(team, size=9, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.integers(k, size=size) for k in team.column_categories], axis=1)
    observations, previous = rng.normal(size=(2, size, team.observation_size)).astype(np.float32)
    return Batch(
        th.as_tensor(observations),
        th.as_tensor(labels),
        th.as_tensor(rng.random((size, team.n_agents)) < 0.8),
        previous=th.as_tensor(previous),
        follows=th.as_tensor(rng.random((size, team.n_agents)) < 0.8),
    )


def communication(team, policy, relaxation="softmax", *, generator=None, **kwargs):
    config = MessageConfig(relaxation, **kwargs)
    return Communication(MessageChannel.of(team), policy.head, config, generator=generator)


def losses_of(policy, batch, kind="softmax"):
    observations = communication(policy.team, policy, kind).observations(
        policy.outputs(batch.previous), batch
    )
    return ColumnwiseLoss(policy.team, policy.head)(policy.outputs(observations), batch)


def says(team, network, batch, i, kind):
    """What agent i's network says on the earlier step, [B, 4]."""
    soft = F.softmax(network(batch.previous[:, team.observation_slices[i]])[:, 5:], dim=1)
    if kind == "softmax":
        return soft
    return F.one_hot(soft.argmax(dim=1), 4) + soft - soft.detach()


def action_loss(team, network, batch, j, messages):
    """Cross-entropy of agent j's move, given what everybody says, mean over the samples it is alive in."""
    observation = batch.observations[:, team.observation_slices[j]].clone()
    start = team.layouts[team.agents[j]].observation.slice("heard").start
    for slot, k in enumerate(k for k in range(team.n_agents) if k != j):
        where = slice(start + 4 * slot, start + 4 * slot + 4)
        spoke = batch.follows[:, k : k + 1]
        observation[:, where] = th.where(spoke, messages[k], observation[:, where])
    each = F.cross_entropy(network(observation)[:, :5], batch.labels[:, 2 * j], reduction="none")
    return each[batch.alive[:, j]].mean()


def own_columns(team, agent):
    where = team.observation_slices[agent]
    return range(where.start, where.stop)


def literal_gradients(policy, batch, kind):
    """Lines 7 to 15 of Algorithm 2 with separate networks, one agent after the other."""
    team, agents = policy.team, range(policy.team.n_agents)
    networks = [policy.action_net.component(i, own_columns(team, i)) for i in agents]
    gradients = []
    for i in agents:
        others = {k: says(team, networks[k], batch, k, kind).detach() for k in agents}
        own = {**others, i: says(team, networks[i], batch, i, kind)}
        total = action_loss(team, networks[i], batch, i, others)
        for j in agents:
            if j != i:
                total = total + action_loss(team, networks[j], batch, j, own) / (team.n_agents - 1)
        gradients.append(th.autograd.grad(total, list(networks[i].parameters())))
    return gradients


@pytest.mark.parametrize("kind", ["softmax", "straight-through"])
def test_one_backward_pass_is_the_literal_double_loop(kind, monkeypatch):
    if kind == "straight-through":  # the likeliest symbol, so that both draw the same
        monkeypatch.setattr(Communication, "_noisy", lambda self, logits: logits)
    policy, batch = policy_of(TEAM), random_batch(TEAM)
    losses_of(policy, batch, kind).sum().backward()
    layers = [layer for layer in policy.action_net.layers if hasattr(layer, "weight")]
    for i, expected in enumerate(literal_gradients(policy, batch, kind)):
        batched = [g for layer in layers for g in (layer.weight.grad[i].T, layer.bias.grad[i, 0])]
        for ours, theirs in zip(batched, expected, strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)
        assert expected[-1][5:].abs().max() > 1e-5, "the message head learns"


def test_shared_weights_get_the_sum_of_the_agents_gradients():
    policy, batch = policy_of(TEAM, share_parameters=True), random_batch(TEAM)
    losses_of(policy, batch).sum().backward()
    last = [layer for layer in policy.action_net.layers if hasattr(layer, "weight")][-1]
    expected = sum(gradients[-1] for gradients in literal_gradients(policy, batch, "softmax"))
    np.testing.assert_allclose(last.bias.grad[0, 0].numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["straight-through", "gumbel-softmax", "softmax"])
def test_a_receivers_loss_reaches_the_sender_through_the_channel_alone(kind):
    policy, batch = policy_of(TEAM), random_batch(TEAM)
    first, last = (layer for layer in (policy.action_net.layers[0], policy.action_net.layers[-1]))

    def gradient_of_agent_2s_loss():
        policy.zero_grad()
        losses_of(policy, batch, kind)[2].backward()
        return first.weight.grad.clone(), last.weight.grad.clone()

    at_first, at_last = gradient_of_agent_2s_loss()
    for sender in (0, 1):
        assert at_first[sender].abs().max() > 0
        assert at_last[sender, :, 5:].abs().max() > 0, "what it says"
        assert not at_last[sender, :, :5].any(), "not how it moves"
    assert not at_last[2, :, 5:].any(), "what an agent says does not change its own action"
    heard = TEAM.layouts["agent_2"].observation.slice("heard")
    with th.no_grad():
        first.weight[2, heard] = 0.0
    at_first, at_last = gradient_of_agent_2s_loss()
    assert not at_first[:2].any()
    assert not at_last[:2].any()
    assert at_first[2].any()


@pytest.mark.parametrize("network", ["feed-forward", "recurrent"])
def test_in_a_ring_each_message_has_one_listener_and_its_whole_gradient(network):
    hidden = {"network": network, "hidden_sizes": (16,)}
    policy = policy_of(TEAM, topology="ring", **hidden)
    channel = MessageChannel.of(TEAM, "ring")
    outputs = policy.outputs(random_batch(TEAM).previous)
    received = Communication(channel, policy.head, MessageConfig("softmax")).received(outputs)
    (gradient,) = th.autograd.grad(received.sum(dim=0)[0], outputs)
    sent = F.softmax(outputs[:, 2 * 9 + 5 : 3 * 9], dim=1)
    (alone,) = th.autograd.grad(sent.sum(dim=0)[0], outputs)
    assert channel.senders[0] == 2, "agent 0 listens to the last"
    assert th.equal(gradient, alone)


def test_where_nobody_spoke_the_recorded_messages_stay():
    policy, batch = policy_of(TEAM), random_batch(TEAM)
    channel = MessageChannel.of(TEAM)
    silent = batch._replace(follows=th.zeros_like(batch.follows))
    observations = communication(TEAM, policy).observations(policy.outputs(silent.previous), silent)
    assert th.equal(observations, batch.observations)
    observations = communication(TEAM, policy).observations(policy.outputs(batch.previous), batch)
    replaced = batch.follows[:, channel.senders]
    assert (observations != batch.observations)[:, channel.places].equal(replaced)
    others = np.setdiff1d(np.arange(TEAM.observation_size), channel.places)
    assert th.equal(observations[:, others], batch.observations[:, others])


def test_messages_are_what_is_heard_when_acting():
    policy, batch = policy_of(TEAM), random_batch(TEAM, 400)
    outputs = policy.outputs(batch.previous)
    actions = policy.predict(batch.previous.numpy(), deterministic=True)[0]
    expected = MessageChannel.of(TEAM).encode(actions)
    cold = communication(TEAM, policy, "softmax", temperature=1e-6).received(outputs)
    np.testing.assert_allclose(cold.detach().numpy(), expected, atol=1e-3)
    assert set(np.unique(expected)) == {0.0, 1.0}
    hard = communication(TEAM, policy, "straight-through").received(outputs)
    assert (hard.detach().reshape(400, 6, 4).sum(dim=2) == 1).all(), "one symbol in each slot"
    assert set(hard.detach().unique().tolist()) == {0.0, 1.0}


def test_soft_messages_become_symbols_as_the_temperature_falls():
    policy, batch = policy_of(TEAM), random_batch(TEAM)
    outputs = policy.outputs(batch.previous).detach()
    falling = communication(TEAM, policy, temperature=2.0, temperature_final=1e-6)
    for progress_remaining, temperature in ((1.0, 2.0), (0.5, 2e-3), (0.0, 2e-6)):
        falling.set_progress(progress_remaining)
        constant = communication(TEAM, policy, temperature=temperature)
        th.testing.assert_close(falling.received(outputs), constant.received(outputs))
    symbols = MessageChannel.of(TEAM).encode(policy.predict(batch.previous.numpy(), deterministic=True)[0])
    np.testing.assert_allclose(falling.received(outputs).numpy(), symbols, atol=1e-3)
    for wrong in (0.0, 1.5):
        with pytest.raises(ValueError, match="message_temperature_final"):
            communication(TEAM, policy, temperature_final=wrong)


def test_an_unavailable_symbol_is_not_said():
    policy, batch = policy_of(TEAM), random_batch(TEAM)
    masks = th.ones(9, TEAM.mask_size, dtype=th.bool)
    masks[:, TEAM.column_masks[1].start] = False  # agent_0's symbol 0
    batch = batch._replace(previous_masks=masks, follows=th.ones_like(batch.follows))
    heard = communication(TEAM, policy).observations(policy.outputs(batch.previous), batch)
    start = TEAM.layouts["agent_1"].observation.slice("heard").start
    of_agent_0 = heard[:, TEAM.observation_slices[1]][:, start : start + 4]
    assert not of_agent_0[:, 0].any()
    th.testing.assert_close(of_agent_0.sum(dim=1), th.ones(9))


@pytest.mark.parametrize(("sign", "passes"), [(1.0, [1.0, 0.0]), (-1.0, [0.0, 1.0])], ids=["less", "more"])
def test_numbers_are_sent_within_their_bounds_and_pushed_no_further_out(sign, passes):
    layout = AgentLayout(
        ObservationLayout((Part("own", "own", 1, 2), Part("heard", "message", 1, 1))),
        (ActionPart("move", "move", 0), ActionPart("say", "message", 1)),
    )
    names = ["a", "b"]
    box, acts = spaces.Box(-1.0, 1.0, (3,), np.float32), spaces.Box(-0.1, 0.1, (2,), np.float32)
    team = TeamSpaces(
        names, dict.fromkeys(names, box), dict.fromkeys(names, acts), dict.fromkeys(names, layout)
    )
    policy = policy_of(team)
    outputs = th.tensor([[0.0, 5.0, 0.0, -0.05], [0.0, -5.0, 0.0, 0.05]], requires_grad=True)
    heard = communication(team, policy).received(outputs)
    np.testing.assert_allclose(heard.detach().numpy(), [[-0.05, 0.1], [0.05, -0.1]], atol=1e-7)
    (sign * heard.sum()).backward()  # what would be better for the receivers: less, or more
    assert outputs.grad.tolist() == [[0.0, sign * above_or_below, 0.0, sign] for above_or_below in passes]


def test_noise_comes_from_the_generator():
    policy, batch = policy_of(TEAM), random_batch(TEAM)
    outputs = policy.outputs(batch.previous)

    def heard(seed):
        generator = th.Generator().manual_seed(seed)
        th.rand(3)  # PyTorch's global generator has no part in it
        return communication(TEAM, policy, "gumbel-softmax", generator=generator).received(outputs)

    assert th.equal(heard(0), heard(0))
    assert not th.equal(heard(0), heard(1))
    with pytest.raises(ValueError, match="message_temperature=0"):
        communication(TEAM, policy, temperature=0)


def test_using_all_symbols_costs_least_and_moves_nothing_but_messages():
    policy, batch = policy_of(TEAM), random_batch(TEAM)
    outputs = policy.outputs(batch.previous).detach().requires_grad_()
    assert communication(TEAM, policy).entropy_cost(outputs, batch) == 0
    using = communication(TEAM, policy, entropy=0.5)
    cost = using.entropy_cost(outputs, batch)
    cost.backward()
    gradient = outputs.grad.reshape(9, 3, 9)
    assert not gradient[:, :, :5].any()
    assert gradient[:, :, 5:].any()
    assert not gradient[~batch.follows].any(), "nobody spoke there"
    uniform, one = th.zeros_like(outputs), th.zeros_like(outputs)
    one.reshape(9, 3, 9)[:, :, 5] = 50.0
    assert using.entropy_cost(uniform, batch).item() == pytest.approx(-0.5 * 3 * np.log(4))
    assert using.entropy_cost(one, batch).item() == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ValueError, match="message_entropy=-1"):
        communication(TEAM, policy, entropy=-1)


def outputs_that_say(logits, size):
    """Outputs of `TEAM` in which everybody's symbols have these logits."""
    outputs = th.zeros(size, 3, 9)
    outputs[:, :, 5:] = th.as_tensor(logits)
    return outputs.flatten(1)


@pytest.mark.parametrize("kind", ["straight-through", "gumbel-softmax"])
def test_symbols_are_drawn_as_often_as_they_are_likely(kind):
    logits = th.tensor([2.0, 1.0, 0.0, -2.0])
    talk = communication(
        TEAM, policy_of(TEAM), kind, generator=th.Generator().manual_seed(0), temperature=0.01
    )
    heard = talk.received(outputs_that_say(logits, 20_000)).mean(dim=0)
    expected = F.softmax(logits, dim=0)[th.as_tensor(talk.channel.categories)]
    th.testing.assert_close(heard, expected, atol=0.015, rtol=0)


@pytest.mark.parametrize("size", [1, 5])
def test_symbols_that_cannot_be_said_are_not_missed(size):
    """The cost counts the symbols that the masks allow: of one alone there is no entropy to have."""
    logits = th.tensor([2.0, 1.0, 0.0, -2.0])
    batch = random_batch(TEAM, size)._replace(follows=th.ones(size, 3, dtype=th.bool))
    talk = communication(TEAM, policy_of(TEAM), entropy=0.5)
    p = F.softmax(logits, dim=0)
    expected = 0.5 * 3 * (p * p.log()).sum()
    th.testing.assert_close(talk.entropy_cost(outputs_that_say(logits, size), batch), expected)
    masks = th.ones(size, 3, 9, dtype=th.bool)
    masks[:, :, 6:] = False  # symbol 0 is all that is left
    alone = batch._replace(previous_masks=masks.flatten(1))
    assert talk.entropy_cost(outputs_that_say(logits, size), alone).item() == pytest.approx(0.0, abs=1e-5)


def test_symbols_and_numbers_in_one_message():
    """One says a symbol, the other two numbers: each is heard where the other's layout has it."""
    says = {"a": spaces.Discrete(3), "b": spaces.Box(-1.0, 1.0, (2,), np.float32)}
    hears = {"a": 2, "b": 3}
    layouts = {
        name: AgentLayout(
            ObservationLayout((Part("heard", "message", 1, hears[name]), Part("own", "own", size=1))),
            tuple(ActionPart(f"word {n}", "message", n) for n in range(1 if name == "a" else 2)),
        )
        for name in says
    }
    seen = {name: spaces.Box(-9.0, 9.0, (hears[name] + 1,), np.float32) for name in says}
    team = TeamSpaces(["a", "b"], seen, says, layouts)
    outputs = th.tensor([[0.0, 9.0, 0.0, 0.5, -0.25], [0.0, 0.0, 9.0, -4.0, 4.0]])
    heard = communication(team, policy_of(team), "straight-through").received(outputs)
    # What a hears are b's numbers, within their bounds; what b hears is a's symbol.
    np.testing.assert_allclose(heard.numpy(), [[0.5, -0.25, 0, 1, 0], [-1.0, 1.0, 0, 0, 1]], atol=1e-6)
