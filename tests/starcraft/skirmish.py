"""A small battle with SMAC's interface: two sides on a line, with ranges, health and death.

Actions: 0 no-op (the dead's), 1 stop, 2 left, 3 right, 4 + i attack enemy i. The enemies walk towards the
nearest of the others and hit it when it is within reach.
"""

import numpy as np

from cesma_sb3.envs.smac import FeatureIndex

REACH, SIGHT, LENGTH = 2, 4, 10
MOVES = ((2, (-1, 0)), (3, (1, 0)))
FEATURES = FeatureIndex(health=1, position=(0, 0), moves=MOVES, first_attack=4, forward=3)
HEALTH, DAMAGE = 4, 1


class Skirmish:
    """SMAC's forms: `reset()` without a seed, `seed(number)`, `step` with three values."""

    feature_index = FEATURES

    def __init__(self, n_allies=3, n_enemies=2, episode_limit=40):
        self.n_agents, self.n_enemies, self.episode_limit = n_allies, n_enemies, episode_limit
        self.n_actions = 4 + n_enemies
        self.rng = np.random.default_rng(0)

    def seed(self, number):
        self.rng = np.random.default_rng(number)

    def get_env_info(self):
        return {
            "n_agents": self.n_agents,
            "n_actions": self.n_actions,
            "obs_shape": self.get_obs_size(),
            "state_shape": 2 * (self.n_agents + self.n_enemies),
            "episode_limit": self.episode_limit,
        }

    def get_obs_size(self):
        return self.get_obs_move_feats_size() + 2 * (self.n_agents - 1 + self.n_enemies) + 2

    def get_obs_move_feats_size(self):
        return 2

    def get_obs_enemy_feats_size(self):
        return self.n_enemies, 2

    def get_obs_ally_feats_size(self):
        return self.n_agents - 1, 2

    def get_obs_own_feats_size(self):
        return 2

    def reset(self):
        ours = self.rng.integers(0, 3, self.n_agents)
        theirs = self.rng.integers(LENGTH - 3, LENGTH, self.n_enemies)
        self.place = np.concatenate([ours, theirs])
        self.health = np.full(self.n_agents + self.n_enemies, HEALTH)
        self.steps = 0
        return self.get_obs(), self.get_state()

    def step(self, actions):
        assert all(self.get_avail_actions()[i][action] for i, action in enumerate(actions)), actions
        before = self.health[self.n_agents :].sum()
        hits = np.zeros_like(self.health)
        for unit, action in enumerate(actions):
            if action in {2, 3}:
                self.place[unit] += 2 * action - 5
            elif action >= 4:
                hits[self.n_agents + action - 4] += DAMAGE
        for unit in range(self.n_agents, len(self.health)):
            alive = np.flatnonzero(self.health[: self.n_agents] > 0)
            if self.health[unit] > 0 and len(alive):
                near = alive[np.abs(self.place[alive] - self.place[unit]).argmin()]
                if abs(self.place[near] - self.place[unit]) <= REACH:
                    hits[near] += DAMAGE
                else:
                    self.place[unit] += np.sign(self.place[near] - self.place[unit])
        self.health = np.maximum(self.health - hits, 0)
        self.steps += 1
        won, lost = (
            not (self.health[side] > 0).any() for side in (slice(self.n_agents, None), slice(self.n_agents))
        )
        reward = float(before - self.health[self.n_agents :].sum()) + 10.0 * won
        over = won or lost or self.steps >= self.episode_limit
        return reward, over, {"battle_won": won and not lost}

    def get_avail_actions(self):
        return [self.available(unit) for unit in range(self.n_agents)]

    def available(self, unit):
        if self.health[unit] == 0:
            return [1] + [0] * (self.n_actions - 1)
        moves = [self.place[unit] > 0, self.place[unit] < LENGTH - 1]
        return [
            0,
            1,
            *map(int, moves),
            *(int(self.in_sight(unit, enemy, REACH)) for enemy in self.enemy_units()),
        ]

    def enemy_units(self):
        return range(self.n_agents, self.n_agents + self.n_enemies)

    def in_sight(self, unit, other, distance=SIGHT):
        return self.health[other] > 0 and abs(self.place[unit] - self.place[other]) <= distance

    def get_obs(self):
        return [self.observe(unit) for unit in range(self.n_agents)]

    def observe(self, unit):
        if self.health[unit] == 0:
            return np.zeros(self.get_obs_size(), dtype=np.float32)
        others = [*self.enemy_units(), *(ally for ally in range(self.n_agents) if ally != unit)]
        seen = [
            ((self.place[other] - self.place[unit]) / SIGHT, self.health[other] / HEALTH)
            if self.in_sight(unit, other)
            else (0, 0)
            for other in others
        ]
        own = (self.place[unit] / LENGTH, self.health[unit] / HEALTH)
        return np.array([*self.available(unit)[2:4], *np.ravel(seen), *own], dtype=np.float32)

    def get_state(self):
        return np.concatenate([self.place / LENGTH, self.health / HEALTH]).astype(np.float32)


def deaths(venv):
    """A list that grows by the number of dead agents at each step of a batched environment."""
    counts, step = [], venv.step_wait

    def watched():
        result = step()
        counts.append(int((~venv.alive).sum()))
        return result

    venv.step_wait = watched
    return counts


class GymnasiumSkirmish:
    """Gymnasium's forms: `reset(seed=...)`, `step` with five values; nobody says who won."""

    def __init__(self, **kwargs):
        self._battle = Skirmish(**kwargs)
        self.n_agents, self.n_actions = self._battle.n_agents, self._battle.n_actions
        self.obs_size = self._battle.get_obs_size()

    @property
    def enemies(self):
        units = self._battle.enemy_units()
        return {unit: unit for unit in units if self._battle.health[unit] > 0}

    def reset(self, seed=None, options=None):
        if seed is not None:
            self._battle.seed(seed)
        observations, _ = self._battle.reset()
        return tuple(observations), {}

    def step(self, actions):
        reward, over, _ = self._battle.step(actions)
        late = over and self._battle.steps >= self._battle.episode_limit
        return tuple(self._battle.get_obs()), reward, over and not late, late, {}

    def get_avail_actions(self):
        return self._battle.get_avail_actions()
