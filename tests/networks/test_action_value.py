"""Critics of state and action, by form, visibility and kind of network."""

import pytest
import torch as th
from torch import nn

from cesma_sb3.envs.particle import Spread
from cesma_sb3.policies import ActionValue, NetworkSpec, TeamValue

TEAM = Spread(3).team()
SPECS = {
    "feed-forward": NetworkSpec(hidden_sizes=(16,)),
    "entities": NetworkSpec("entities", (16, 16), nn.ReLU),
}


def one_hot(actions):
    return nn.functional.one_hot(actions, 5).flatten(1).float()


@pytest.fixture(params=SPECS)
def spec(request):
    th.manual_seed(0)
    return SPECS[request.param]


@pytest.mark.parametrize("visibility", ["own", "joint"])
@pytest.mark.parametrize("form", ["joint", "additive"])
def test_one_value_for_each_joint_action(spec, visibility, form):
    critic = ActionValue(TEAM, visibility, spec, form)
    obs, actions = th.randn(7, TEAM.observation_size), one_hot(th.randint(5, (7, 3)))
    values = critic(obs, actions)
    assert values.shape == (7,)
    changed = one_hot(th.randint(5, (7, 3)))
    assert not th.allclose(values, critic(obs, changed))


@pytest.mark.parametrize("visibility", ["own", "joint"])
def test_the_additive_form_is_additive(spec, visibility):
    critic = ActionValue(TEAM, visibility, spec, "additive")
    obs, base = th.randn(6, TEAM.observation_size), th.zeros(6, 3, dtype=th.long)
    nobody = critic(obs, one_hot(base))
    gains = []
    for agent in range(3):
        moved = base.clone()
        moved[:, agent] = 2
        gains.append(critic(obs, one_hot(moved)) - nobody)
    th.testing.assert_close(critic(obs, one_hot(base + 2)) - nobody, sum(gains), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", ["joint", "additive"])
def test_own_components_value_what_is_their_own(spec, form):
    critic = ActionValue(TEAM, "own", spec, form)
    obs, actions = th.randn(6, TEAM.observation_size), one_hot(th.randint(5, (6, 3)))
    others = th.randn_like(obs)
    others[:, TEAM.observation_slices[0]] = obs[:, TEAM.observation_slices[0]]
    moved = actions.clone()
    moved[:, :5] = one_hot(th.randint(5, (6, 1)))
    # What agent_0's action changes does not depend on what the others see.
    th.testing.assert_close(
        critic(obs, moved) - critic(obs, actions),
        critic(others, moved) - critic(others, actions),
        atol=1e-5,
        rtol=1e-4,
    )


@pytest.mark.parametrize("visibility", ["own", "joint"])
def test_one_value_for_each_state(spec, visibility):
    assert TeamValue(TEAM, visibility, spec)(th.randn(4, TEAM.observation_size)).shape == (4, 1)
