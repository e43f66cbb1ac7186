"""Networks of pictures: each agent's own, channels first or last, alone as in the team."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.torch_layers import NatureCNN

import cesma_sb3
from cesma_sb3.algorithms import TeamPPO
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import ExpertError, LayoutError
from cesma_sb3.policies import TeamPolicy, load_team, save_team
from cesma_sb3.policies.networks.factory import NetworkSpec, make_net
from cesma_sb3.policies.networks.images import PictureEncoder
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import PictureGame

LAST = spaces.Box(0, 255, (36, 40, 3), np.uint8)
FIRST = spaces.Box(0, 255, (2, 40, 36), np.uint8)
GREY = spaces.Box(0.0, 1.0, (37, 36), np.float32)


def team_of(*pictures):
    names = [f"agent_{i}" for i in range(len(pictures))]
    moves = {name: spaces.Discrete(2 + i) for i, name in enumerate(names)}
    return TeamSpaces(names, dict(zip(names, pictures, strict=True)), moves)


def policy_of(team, **kwargs):
    th.manual_seed(0)
    kwargs = {"network": "cnn", "hidden_sizes": (8, 6), **kwargs}
    return TeamPolicy(team.observation_space, team.action_space, lambda _: 0.0, team=team, **kwargs)


def pictures_of(team, batch=5):
    rng = np.random.default_rng(0)
    raw = {
        agent: (rng.random((batch, *space.shape)) * space.high.max()).astype(space.dtype)
        for agent, space in team.observation_spaces.items()
    }
    flat = [
        team.join_observations({a: team.flatten_agent(a, raw[a][row]) for a in team.agents})
        for row in range(batch)
    ]
    return raw, np.stack(flat)


@pytest.mark.parametrize("space", [LAST, FIRST, GREY], ids=["last", "first", "grey"])
def test_an_encoder_is_stable_baselines_own_on_channels_first_between_0_and_1(space):
    encoder = PictureEncoder(space, 5)
    raw, flat = pictures_of(team_of(space))
    pictures = raw["agent_0"].astype(np.float32) / (255 if space.dtype == np.uint8 else 1)
    if space is LAST:
        pictures = pictures.transpose(0, 3, 1, 2)
    if space is GREY:
        pictures = pictures[:, None]
    nature = NatureCNN(spaces.Box(0.0, 1.0, pictures.shape[1:]), 5, normalized_image=True)
    nature.load_state_dict(encoder.cnn.state_dict())
    th.testing.assert_close(encoder(th.as_tensor(flat)), nature(th.as_tensor(pictures)))


@pytest.mark.parametrize(
    ("pictures", "shared"), [((LAST, FIRST, GREY), False), ((LAST, LAST), True)], ids=["several", "shared"]
)
def test_agents_alone_act_as_in_the_team_and_see_their_own_pictures(pictures, shared, tmp_path):
    team = team_of(*pictures)
    policy = policy_of(team, share_parameters=shared)
    raw, flat = pictures_of(team)
    outputs = policy.outputs(th.as_tensor(flat))
    together = policy.predict(flat, deterministic=True)[0]
    for index, agent in enumerate(team.agents):
        alone = policy.agent(agent)
        where = team.observation_slices[index]
        th.testing.assert_close(
            alone(th.as_tensor(flat[:, where])), outputs[:, team.output_slices[index]], atol=1e-5, rtol=1e-5
        )
        np.testing.assert_array_equal(alone.predict(raw[agent], deterministic=True)[0], together[:, index])
        changed = flat.copy()
        changed[:, where] = 255 - changed[:, where]
        differs = (policy.outputs(th.as_tensor(changed)) != outputs).any(dim=0).numpy()
        assert differs[team.output_slices[index]].any()
        differs[team.output_slices[index]] = False
        assert not differs.any()
    save_team(policy, tmp_path)
    np.testing.assert_array_equal(load_team(tmp_path).predict(flat, deterministic=True)[0], together)


def test_a_joint_actor_of_pictures_sees_them_all():
    team = team_of(LAST, GREY)
    policy = policy_of(team, actor_visibility="joint")
    flat = th.as_tensor(pictures_of(team)[1])
    for where in team.observation_slices:
        changed = flat.clone()
        changed[:, where] = 0.0
        assert (policy.outputs(changed) != policy.outputs(flat)).any(dim=0).all()


@pytest.mark.parametrize(
    ("pictures", "kwargs", "message"),
    [
        ((spaces.Box(0, 255, (35, 84, 3), np.uint8),), {}, "35 x 84, expected at least 36 x 36"),
        ((spaces.Box(0.0, 1.0, (84,)),), {}, "expected pictures"),
        ((spaces.Discrete(3),), {}, "expected pictures"),
        ((LAST, FIRST), {"share_parameters": True}, "whose weights are shared"),
    ],
)
def test_what_is_no_picture_is_refused(pictures, kwargs, message):
    with pytest.raises(LayoutError, match=message):
        policy_of(team_of(*pictures), **kwargs)


def test_values_of_actions_are_refused():
    with pytest.raises(ExpertError, match="network cnn"):
        make_net(team_of(LAST), "joint", [1], NetworkSpec("cnn", (8,)), with_actions=True)


def thirds(observations):
    """Which third of each agent's picture is bright."""
    pictures = np.asarray(observations).reshape(len(observations), 2, 36, 3, 12)
    return pictures.sum(axis=(2, 4)).argmax(axis=2)


def test_students_learn_from_pictures_alone(tmp_path):
    result = cesma_sb3.decentralize(
        thirds,
        "tests.envs_for_tests:PictureGame",
        total_timesteps=800,
        out=tmp_path / "run",
        students={"network": "cnn", "hidden_sizes": [16]},
        dagger={"n_envs": 8, "batch_size": 32, "samples_per_update": 16, "learning_rate": 1e-3},
        evaluation={"n_final_episodes": 16, "n_eval_episodes": 8, "n_envs": 8},
    )
    assert result.report["return"]["expert"] == 8
    assert result.report["return"]["students"] > 7.5


@pytest.mark.no_cover
def test_a_controller_of_all_pictures_is_trained():
    venv = joint_vec_env(PictureGame, 8, seed=0)
    policy = {"team": venv.team, "network": "cnn", "hidden_sizes": (16,), "actor_visibility": "joint"}
    settings = {"n_steps": 16, "batch_size": 64, "n_epochs": 4, "gamma": 0.0, "learning_rate": 1e-3}
    model = TeamPPO("MlpPolicy", venv, seed=0, policy_kwargs=policy, **settings).learn(1_000)
    observations, total = venv.reset(), 0.0
    for _ in range(8):
        actions, _ = model.predict(observations, deterministic=True)
        observations, rewards, _, _ = venv.step(actions)
        total += rewards.mean() / 8
    assert total > 1.8, "2 for both cues, 0.67 by chance"
