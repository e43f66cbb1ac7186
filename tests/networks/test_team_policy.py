"""`TeamPolicy`: agents apart, together, on disk, and under SB3's PPO."""

import json

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from safetensors import safe_open
from stable_baselines3 import PPO

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.errors import SpaceError, StorageError
from cesma_sb3.policies import TeamPolicy, load_team, save_team
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MatchingGame, MixedEnv, MortalEnv

TEAMS = {
    "alike": lambda: Spread(3).team(),
    "one of one": lambda: Spread(1).team(),
    "mixed actions": lambda: TeamSpaces.from_parallel_env(MixedEnv()),
    "masked, unequal": lambda: TeamSpaces.from_parallel_env(MortalEnv()),
    "continuous": lambda: Spread(2, continuous_actions=True).team(),
}
NETWORKS = {
    "feed-forward": {},
    "shared": {"share_parameters": True},
    "entities": {"network": "entities", "hidden_sizes": (16, 16)},
    "entities, told apart": {"network": "entities", "hidden_sizes": (16, 16), "use_agent_id": True},
    "entities, nearest": {"network": "entities", "hidden_sizes": (16, 16), "n_neighbours": 1},
}


def make_policy(team, **kwargs):
    th.manual_seed(0)
    return TeamPolicy(team.observation_space, team.action_space, lambda _: 1e-3, team=team, **kwargs)


# Entity networks for the teams whose environments declare entities.
PAIRS = [
    (t, n) for t in TEAMS for n in NETWORKS if n in ("feed-forward", "shared") or t in ("alike", "continuous")
]


@pytest.fixture(params=PAIRS, ids=" / ".join)
def pair(request):
    team, network = request.param
    return TEAMS[team](), NETWORKS[network]


def observations(team, batch, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, team.observation_size)).astype(np.float32)


def test_an_agents_action_depends_on_its_own_observation_alone(pair):
    team, network = pair
    policy = make_policy(team, **network)
    obs = observations(team, 20)
    actions = policy.predict(obs, deterministic=True)[0]
    for i, (seen, does) in enumerate(zip(team.observation_slices, team.action_columns, strict=True)):
        others_changed = observations(team, 20, seed=1 + i)
        others_changed[:, seen] = obs[:, seen]
        assert np.array_equal(
            policy.predict(others_changed, deterministic=True)[0][:, does], actions[:, does]
        )


def test_a_joint_actor_does_depend_on_the_others():
    team = Spread(3).team()
    policy = make_policy(team, actor_visibility="joint")
    obs, changed = observations(team, 50), observations(team, 50)
    changed[:, team.observation_slices[2]] = 5.0
    assert not np.array_equal(
        policy.outputs(th.as_tensor(obs))[:, :5].detach(),
        policy.outputs(th.as_tensor(changed))[:, :5].detach(),
    )
    with pytest.raises(SpaceError, match="sees the whole team"):
        policy.agent(0)


def test_agents_alone_act_as_they_do_in_the_team(pair):
    team, network = pair
    policy = make_policy(team, **network)
    rng = np.random.default_rng(0)
    for _ in range(20):
        raw = {}
        for agent in team.agents:
            team.observation_spaces[agent].seed(int(rng.integers(1000)))
            raw[agent] = team.observation_spaces[agent].sample()
        if team.has_masks:
            raw = {a: {**o, "action_mask": np.ones_like(o["action_mask"])} for a, o in raw.items()}
        flat = {agent: team.flatten_agent(agent, value) for agent, value in raw.items()}
        packed = policy.predict(team.join_observations(flat), deterministic=True)[0]
        together = team.split_actions(packed)
        for i, agent in enumerate(team.agents):
            alone = policy.agent(i).predict(raw[agent], deterministic=True)[0]
            np.testing.assert_allclose(alone, together[agent], rtol=1e-5, atol=1e-6)
            assert team.action_spaces[agent].contains(alone)


def test_an_agent_holds_nothing_of_the_others():
    team = Spread(3).team()
    n_own = (18 + 1) * 128 + (128 + 1) * 128 + (128 + 1) * 5
    assert sum(p.numel() for p in make_policy(team).agent("agent_1").parameters()) == n_own
    with pytest.raises(SpaceError, match="did you mean 'agent_1"):
        make_policy(team).agent("agnt_1")


def test_masked_agents_never_choose_what_is_unavailable():
    team = TEAMS["masked, unequal"]()
    policy = make_policy(team)
    rng = np.random.default_rng(0)
    sizes = dict(zip(team.agents, team.output_sizes, strict=True))
    masks = np.stack(
        [team.join_masks({a: rng.random(n) < 0.4 for a, n in sizes.items()}) for _ in range(100)]
    )
    starts = np.array([where.start for where in team.column_masks])
    for deterministic in (True, False):
        actions = policy.predict(observations(team, 100), deterministic=deterministic, action_masks=masks)[0]
        assert masks[np.arange(100)[:, None], starts + actions].all()


def test_saved_and_loaded_it_acts_the_same(pair, tmp_path):
    team, network = pair
    policy = make_policy(team, **{**network, "hidden_sizes": (17, 9)})
    save_team(policy, tmp_path / "team")
    loaded = load_team(tmp_path / "team")
    obs = observations(team, 30)
    np.testing.assert_array_equal(
        policy.predict(obs, deterministic=True)[0], loaded.predict(obs, deterministic=True)[0]
    )
    assert loaded.team == team
    with safe_open(tmp_path / "team" / "team.safetensors", framework="pt") as file:
        assert not any(name.startswith("value_net") for name in file.keys())  # noqa: SIM118  # it is no mapping


def test_what_is_no_team_is_refused_in_one_line(tmp_path):
    save_team(make_policy(Spread(2).team()), tmp_path)
    weights = (tmp_path / "team.safetensors").read_bytes()
    (tmp_path / "team.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(StorageError, match=r"team\.safetensors: cannot be read"):
        load_team(tmp_path)
    description = json.loads((tmp_path / "team.json").read_text())
    (tmp_path / "team.json").write_text(json.dumps({**description, "activation": "os.system"}))
    with pytest.raises(StorageError, match=r"activation 'os\.system'"):
        load_team(tmp_path)
    (tmp_path / "team.json").write_text("{")
    with pytest.raises(StorageError, match=r"team\.json: cannot be read"):
        load_team(tmp_path)
    with pytest.raises(StorageError, match="holds no team"):
        load_team(tmp_path / "nowhere")


def test_refuses_spaces_that_are_not_the_teams():
    team = Spread(2).team()
    with pytest.raises(SpaceError, match="action space Discrete"):
        TeamPolicy(team.observation_space, spaces.Discrete(3), lambda _: 1e-3, team=team)


@pytest.mark.no_cover
def test_sb3s_ppo_solves_a_matching_game():
    env = joint_vec_env(MatchingGame, 8, seed=0)
    kwargs = {"team": env.team, "actor_visibility": "own", "critic_visibility": "own", "hidden_sizes": (32,)}
    model = PPO(
        TeamPolicy,
        env,
        n_steps=64,
        batch_size=64,
        learning_rate=2e-3,
        gamma=0.0,
        policy_kwargs=kwargs,
        seed=0,
    )
    model.learn(4_800)
    obs = env.reset()
    hits = (
        model.predict(obs, deterministic=True)[0] == np.stack([o.reshape(2, 3).argmax(1) for o in obs])
    ).mean()
    assert hits == 1.0


def test_ppo_saves_and_loads_a_team(tmp_path):
    env = ParticleVecEnv(Spread(2), 4, seed=0)
    model = PPO(TeamPolicy, env, n_steps=8, batch_size=16, policy_kwargs={"team": env.team}, seed=0).learn(64)
    model.save(tmp_path / "ppo.zip")
    loaded = PPO.load(tmp_path / "ppo.zip", env=env)
    obs = observations(env.team, 10)
    np.testing.assert_array_equal(
        model.predict(obs, deterministic=True)[0], loaded.predict(obs, deterministic=True)[0]
    )
    loaded.learn(32)
