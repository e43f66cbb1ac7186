"""Objects with the signatures of SMAC, SMACv2 and SMAClite, which need a game or an installation of theirs.

`StarCraft2Env` gives the recorded answers of SMAC's; `StarCraftCapabilityEnvWrapper` is around it what it is
in SMACv2. `SmacliteBattle` has SMAClite's names and forms over the battle of `skirmish.py`.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np

from tests.starcraft.skirmish import Skirmish

RECORDED = json.loads((Path(__file__).parent / "smac_2m_vs_1z.json").read_text(encoding="utf-8"))
ANSWERS, INFO = RECORDED["answers"], RECORDED["env_info"]
FRESH, AFTER_A_START = RECORDED["max_reward"]


class StarCraft2Env:
    """SMAC's methods, and those of its attributes that are read, with the recorded battle as the game."""

    def __init__(self, **arguments):
        unknown = set(arguments) - set(RECORDED["arguments"])
        if unknown:
            raise TypeError(f"got an unexpected keyword argument {unknown.pop()!r}")
        given = {**RECORDED["arguments"], **arguments}
        self.map_name, self._seed, self.obs_all_health = (
            given[key] for key in ("map_name", "seed", "obs_all_health")
        )
        self.n_agents, self.n_enemies, self.n_actions = INFO["n_agents"], 1, INFO["n_actions"]
        self.n_actions_no_attack = 6
        self.episode_limit = INFO["episode_limit"]
        self.max_reward, self.battles_won = FRESH, 0
        self.agents, self.marine_id, self.zealot_id = {}, 0, 0
        self._episode_count, self._step, self._sc2_proc, self._unit_types = 0, 0, None, None
        self.running, self.seeds, self.crashes = [], [], False

    def reset(self):
        if self._episode_count == 0:
            self._sc2_proc = SimpleNamespace(close=self.running.pop)
            self.running.append("StarCraft II")
            self.seeds.append(self._seed)
            self.max_reward += AFTER_A_START - FRESH
        self._step, self._unit_types, self.marine_id = 0, RECORDED["unit_types"], RECORDED["unit_types"][0]
        self.agents = {i: SimpleNamespace(unit_type=kind) for i, kind in enumerate(self._unit_types[:2])}
        return self.get_obs(), self.get_state()

    def step(self, actions):
        assert all(self.get_avail_agent_actions(i)[action] for i, action in enumerate(actions)), actions
        if self.crashes:
            return 0, True, {}
        self._step += 1
        now = ANSWERS[self._step]
        late = self._step >= self.episode_limit
        self._episode_count += now["terminated"] or late
        return now["reward"], now["terminated"] or late, dict(now["info"])

    def get_obs(self):
        return [self.get_obs_agent(agent_id) for agent_id in range(self.n_agents)]

    def get_obs_agent(self, agent_id):
        return np.array(ANSWERS[self._step]["obs"][agent_id], dtype=np.float32)

    def get_avail_actions(self):
        return [self.get_avail_agent_actions(agent_id) for agent_id in range(self.n_agents)]

    def get_avail_agent_actions(self, agent_id):
        return ANSWERS[self._step]["avail"][agent_id]

    def get_state(self):
        return np.array(ANSWERS[self._step]["state"], dtype=np.float32)

    def get_env_info(self):
        return dict(INFO)

    def get_unit_types(self):
        assert self._unit_types is not None, "SMAC warns"
        return self._unit_types  # of all units, not of the agents alone

    def get_total_actions(self):
        return self.n_actions

    def get_obs_size(self):
        return INFO["obs_shape"]

    def get_state_size(self):
        return INFO["state_shape"]

    def get_obs_move_feats_size(self):
        return RECORDED["feature_sizes"]["move"]

    def get_obs_enemy_feats_size(self):
        return tuple(RECORDED["feature_sizes"]["enemy"])

    def get_obs_ally_feats_size(self):
        return tuple(RECORDED["feature_sizes"]["ally"])

    def get_obs_own_feats_size(self):
        return RECORDED["feature_sizes"]["own"]

    def seed(self):
        return self._seed

    def render(self, mode="human"):
        assert mode == "rgb_array"
        return np.zeros((8, 8, 3), dtype=np.uint8)

    def close(self):
        if self._sc2_proc:
            self._sc2_proc.close()


class StarCraftCapabilityEnvWrapper:
    """SMACv2's: writes into its configuration, has no seeds, and `reset` may return nothing."""

    def __init__(self, **kwargs):
        config = kwargs.pop("capability_config")
        config["team_gen"]["n_units"] = config["n_units"]
        self.env = StarCraft2Env(**kwargs)
        self.env.n_actions_no_attack = 18  # with `conic_fov`

    def reset(self):
        self.env.reset()

    def step(self, actions):
        return self.env.step(actions)

    def seed(self):
        raise NotImplementedError

    def __getattr__(self, name):
        if hasattr(self.env, name):
            return getattr(self.env, name)
        raise AttributeError


class SmacliteBattle(gymnasium.Env):
    """SMAClite's: attributes in place of `get_env_info`, five values of `step`, and no time limit."""

    metadata = {"render_modes": ["human", "rgb_array"], "render_fps": 60}  # noqa: RUF012

    def __init__(self, n_allies=3, n_enemies=2, render_mode="human"):
        self._battle = Skirmish(n_allies, n_enemies, episode_limit=10**6)
        self.render_mode = render_mode
        self.n_agents, self.n_enemies, self.n_actions = n_allies, n_enemies, self._battle.n_actions + 2
        self.enemy_feat_size = self.ally_feat_size = 2
        self.obs_size = self._battle.get_obs_size() + 2  # four directions
        self.state_size = len(self._battle.reset()[1])
        self.observation_space = gymnasium.spaces.Tuple(
            [gymnasium.spaces.Box(-1, 1, (self.obs_size,), np.float32)] * n_allies
        )
        self.action_space = gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(self.n_actions)] * n_allies)

    def reset(self, seed=None, options=None):
        if seed is not None:
            self._battle.seed(seed)
        self._battle.reset()
        return self.get_obs(), self._info()

    def step(self, actions):
        assert all(type(action) is int for action in actions)
        reward, _, _ = self._battle.step([action - 2 * (action > 3) for action in actions])
        return self.get_obs(), reward, not (self.agents and self.enemies), False, self._info()

    def _info(self):
        return {"battle_won": not self.enemies}

    @property
    def agents(self):
        unit = SimpleNamespace(type=SimpleNamespace(stats=SimpleNamespace(name="zealot")))
        return {i: unit for i in range(self.n_agents) if self._battle.health[i] > 0}

    @property
    def enemies(self):
        return {unit: unit for unit in self._battle.enemy_units() if self._battle.health[unit] > 0}

    def get_obs(self):
        return tuple(
            np.concatenate([row[:2], [0, 0], row[2:]], dtype=np.float32) for row in self._battle.get_obs()
        )

    def get_avail_actions(self):
        return [np.array([*row[:4], 0, 0, *row[4:]], dtype=float) for row in self._battle.get_avail_actions()]

    def get_state(self):
        return self._battle.get_state()

    def render(self):
        return np.zeros((8, 8, 3), dtype=np.uint8) if self.render_mode == "rgb_array" else None


gymnasium.register("cesma/Smaclite-v0", entry_point="tests.starcraft.packages:SmacliteBattle")


class OneAgentAtATime:
    """A battle with the methods for one agent alone, and no sizes but by methods."""

    def __init__(self, episode_limit=40):
        self._battle = Skirmish(episode_limit=episode_limit)
        self.n_agents, self.episode_limit = 3, episode_limit

    def reset(self, seed=None):
        self._battle.seed(seed)
        self._battle.reset()

    def step(self, actions):
        return self._battle.step(actions)

    def get_total_actions(self):
        return self._battle.n_actions

    def get_obs_size(self):
        return self._battle.get_obs_size()

    def get_obs_agent(self, agent_id):
        return self._battle.observe(agent_id)

    def get_avail_agent_actions(self, agent_id):
        return self._battle.available(agent_id)


class Skirmishes:
    """Many of `skirmish.py`, with SMAC's methods for all of them at once."""

    def __init__(self, n_envs=1, **kwargs):
        self._battles = [Skirmish(**kwargs) for _ in range(n_envs)]
        self.n_envs = n_envs
        self._observations = None

    def __getattr__(self, name):
        if name.startswith(("get_obs_", "n_", "episode_limit", "feature_index", "get_env_info")):
            return getattr(self._battles[0], name)
        raise AttributeError(name)

    def reset(self, seed=None):
        for index, battle in enumerate(self._battles):
            if seed is not None:
                battle.seed(seed + index)
            battle.reset()

    def reset_battles(self, ended):
        for battle, over in zip(self._battles, ended, strict=True):
            if over:
                battle.reset()

    def step(self, actions):
        rewards, terminated, infos = zip(
            *(battle.step(list(row)) for battle, row in zip(self._battles, actions, strict=True)), strict=True
        )
        return rewards, terminated, {"battle_won": [info["battle_won"] for info in infos]}

    def get_obs(self):
        if self._observations is None:
            self._observations = np.array([battle.get_obs() for battle in self._battles])
        self._observations[:] = [battle.get_obs() for battle in self._battles]
        return self._observations  # one array for all steps, as batched environments like to have

    def get_avail_actions(self):
        return [battle.get_avail_actions() for battle in self._battles]

    def get_state(self):
        return [battle.get_state() for battle in self._battles]

    def render(self):
        return np.full((8, 8, 3), self._battles[0].steps, dtype=np.uint8)
