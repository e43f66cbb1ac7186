"""Battles as PettingZoo environments: masks, death, how they end, seeds, and what is refused."""

import os
import sys

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.smac import BattleEnv, battle_env
from cesma_sb3.envs.smac.smax import _on_processors
from cesma_sb3.errors import ConfigError, EnvError, MissingExtraError, UnknownNameError
from tests.starcraft.skirmish import GymnasiumSkirmish, Skirmish

FORMS = {
    "smac": lambda **kwargs: BattleEnv(Skirmish(**kwargs)),
    "gymnasium": lambda **kwargs: BattleEnv(GymnasiumSkirmish(**kwargs), episode_limit=40),
}


def play(env, choose, seed=0, steps=200):
    """Every step of one battle: what the environment returned, and the actions before it."""
    observations, infos = env.reset(seed=seed)
    trace = [(None, observations, {}, {}, {}, infos)]
    for _ in range(steps):
        if not env.agents:
            break
        actions = {agent: choose(observations[agent]) for agent in env.agents}
        result = env.step(actions)
        observations = result[0]
        trace.append((actions, *result))
    assert not env.agents
    return trace


def at_random(seed=0):
    rng = np.random.default_rng(seed)
    return lambda observation: int(rng.choice(np.flatnonzero(observation["action_mask"])))


def aggressive(observation):
    """Attacks the first enemy within reach, else walks to the right."""
    available = np.flatnonzero(observation["action_mask"])
    attacks = available[available >= 4]
    return int(attacks[0] if len(attacks) else 3 if 3 in available else 1)


def stop(observation):
    return 1 if observation["action_mask"][1] else 0


@pytest.mark.parametrize("form", FORMS)
def test_pettingzoos_own_test(form):
    parallel_api_test(FORMS[form](), num_cycles=100)


@pytest.mark.parametrize("form", FORMS)
def test_one_joint_environment(form):
    env = JointEnv(FORMS[form]())
    assert env.team.has_masks
    rng, ends = np.random.default_rng(0), []
    for seed in range(10):
        observation, info = env.reset(seed=seed)
        over = False
        while not over:
            assert env.observation_space.contains(observation)
            masks = info["action_mask"].reshape(env.team.n_agents, -1)
            action = [rng.choice(np.flatnonzero(mask)) for mask in masks]
            observation, _, terminated, truncated, info = env.step(np.array(action))
            over = terminated or truncated
            assert ("battle_won" in info) == over
        ends.append((terminated, truncated, info["battle_won"]))
    assert set(ends) <= {(True, False, True), (True, False, False), (False, True, False)}


@pytest.mark.parametrize("form", FORMS)
def test_the_dead_leave_and_have_nothing_to_do(form):
    env = FORMS[form]()
    died = 0
    for seed in range(20):
        gone = set()
        for actions, observations, rewards, terminations, truncations, _ in play(env, at_random(seed), seed):
            assert not gone & set(observations)
            for agent, observation in observations.items():
                only_no_op = not observation["action_mask"][1:].any()
                assert only_no_op == bool(observation["action_mask"][0])
                if actions is not None and only_no_op:
                    assert terminations[agent] or truncations[agent]
                    assert not observation["observation"].any()
            assert len(set(rewards.values())) <= 1  # one for the team
            gone |= {agent for agent in terminations if terminations[agent] or truncations[agent]}
        died += len(gone)
    assert died > 20


@pytest.mark.parametrize("form", FORMS)
def test_victory_defeat_and_time(form):
    ends = {}
    for name, choose, kwargs in (
        ("victory", aggressive, {"n_allies": 4, "n_enemies": 1}),
        ("defeat", stop, {"n_allies": 1, "n_enemies": 3}),
        ("time", stop, {"n_allies": 3, "n_enemies": 1, "episode_limit": 3}),
    ):
        env = FORMS[form](**kwargs)
        _, _, _, terminations, truncations, infos = play(env, choose)[-1]
        ends[name] = (
            any(terminations.values()),
            any(truncations.values()),
            [i["battle_won"] for i in infos.values()],
        )
    assert ends["victory"][:2] == (True, False)
    assert all(ends["victory"][2])
    assert ends["defeat"] == (True, False, [False])
    assert ends["time"][:2] == (False, True)
    assert not any(ends["time"][2])


@pytest.mark.parametrize("form", FORMS)
def test_seeds(form):
    def observed(seed):
        return np.concatenate(
            [o["observation"] for step in play(FORMS[form](), aggressive, seed) for o in step[1].values()]
        )

    assert np.array_equal(observed(3), observed(3))
    assert not np.array_equal(observed(3)[:20], observed(4)[:20])


def test_both_forms_are_the_same_battle():
    both = [play(make(), at_random(5), 5) for make in FORMS.values()]
    for one, other in zip(*both, strict=True):
        assert one[0] == other[0]
        assert one[2:5] == other[2:5]


def test_the_layout_is_what_the_sizes_say():
    env = BattleEnv(Skirmish())
    parts = env.layout("agent_0").observation.parts
    assert [(part.name, part.kind, part.count, part.size) for part in parts] == [
        ("move", "own", 1, 2),
        ("enemies", "entities", 2, 2),
        ("allies", "agents", 2, 2),
        ("self", "own", 1, 2),
    ]
    assert len(BattleEnv(GymnasiumSkirmish(), episode_limit=9).layout("agent_0").observation.parts) == 1


def test_by_its_path_and_batched():
    target = "smac-like:tests.starcraft.skirmish:Skirmish"
    venv = make_vec_env(target, kwargs={"n_allies": 4, "n_enemies": 1}, n_envs=3, seed=0)
    assert venv.team.agents == ("agent_0", "agent_1", "agent_2", "agent_3")
    venv.reset()
    ended = []
    for _ in range(60):
        masks = venv.agent_masks.reshape(3, 4, -1)
        # Everybody does the last thing that is possible: attacks, or walks to the enemy.
        _, _, dones, infos = venv.step(masks.shape[2] - 1 - masks[..., ::-1].argmax(axis=2))
        ended += [infos[index] for index in np.flatnonzero(dones)]
    assert sum(info["battle_won"] for info in ended) > 3
    assert all("terminal_observation" in info and "action_mask" in info for info in ended)


def test_what_is_refused():
    with pytest.raises(
        ConfigError, match=r"Skirmish: has no episode_limit; give one: env\.kwargs\.episode_limit"
    ):
        BattleEnv(GymnasiumSkirmish(), name="Skirmish")
    with pytest.raises(ConfigError, match=r"object: has no reset\(\); expected SMAC's interface"):
        BattleEnv(object())
    with pytest.raises(ConfigError, match="expected smac-like:module:attribute"):
        battle_env("smac-like:tests")
    with pytest.raises(MissingExtraError, match="no_such_module"):
        battle_env("smac-like:no_such_module:Battle")
    with pytest.raises(UnknownNameError, match="'Skirmsh'; did you mean 'Skirmish"):
        battle_env("smac-like:tests.starcraft.skirmish:Skirmsh")
    with pytest.raises(ConfigError, match="n_alies"):
        battle_env("smac-like:tests.starcraft.skirmish:Skirmish", n_alies=3)
    battle = Skirmish()
    env = BattleEnv(battle)
    env.reset(seed=0)
    with pytest.raises(EnvError, match="Skirmish: agent_1 cannot do 4; available: 1, "):
        env.step({"agent_0": 1, "agent_1": 4, "agent_2": 1})
    battle.step = lambda actions: (1.0, False)
    with pytest.raises(EnvError, match=r"step returned 2 values, expected \(reward, terminated, info\)"):
        env.step(dict.fromkeys(env.agents, 1))


def test_a_battle_without_seeds_says_so():
    battle = Skirmish()
    battle.seed = None
    with pytest.warns(UserWarning, match="cannot be seeded"):
        BattleEnv(battle).reset(seed=3)


def test_a_game_that_crashed_is_cut_off():
    battle = Skirmish()
    battle.battles_won = 0  # as StarCraft2Env counts them
    env = BattleEnv(battle)
    env.reset(seed=0)
    battle.step = lambda actions: (0, True, {})
    _, _, terminations, truncations, infos = env.step(dict.fromkeys(env.agents, 1))
    assert not any(terminations.values())
    assert all(truncations.values())
    assert not any(info["battle_won"] for info in infos.values())


def test_smac_is_not_installed_or_is_another_project(tmp_path, monkeypatch):
    with pytest.raises(MissingExtraError, match=r"SMAC is not installed; try: pip install 'git\+https"):
        battle_env("smac-3s5z")
    (tmp_path / "smac").mkdir()
    (tmp_path / "smac" / "__init__.py").write_text("class HyperparameterOptimizationFacade: ...")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError, match="another project of that name, a hyperparameter optimiser"):
        battle_env("smac-3s5z")
    del sys.modules["smac"]  # else other tests find it


def test_the_choice_of_processors_for_jax_is_no_longer_there_after_its_import(monkeypatch):
    """Neither other libraries nor processes that start later are told; a choice of the user's stays."""
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    with _on_processors():
        assert os.environ["JAX_PLATFORMS"] == "cpu"
    assert "JAX_PLATFORMS" not in os.environ
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with _on_processors():
        assert os.environ["JAX_PLATFORMS"] == "cuda"
    assert os.environ["JAX_PLATFORMS"] == "cuda"
