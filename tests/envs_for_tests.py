"""Small PettingZoo environments that do what real ones do: masks, deaths, mixed actions, faults."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo.utils.env import ParallelEnv

from cesma_sb3.spaces.layout import ActionPart, AgentLayout, ObservationLayout, Part
from cesma_sb3.spaces.team_spaces import TeamSpaces


class SmallEnv(ParallelEnv):
    """Base: spaces by function, a generator of its own that a seed starts anew."""

    metadata = {"name": "small", "render_modes": ["rgb_array"]}  # noqa: RUF012 - as PettingZoo has it

    def __init__(self, agents: list[Any], render_mode: str | None = None) -> None:
        self.possible_agents = agents
        self.agents: list[Any] = []
        self.render_mode = render_mode
        self.rng = np.random.default_rng()

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.t = 0
        self.begin()
        return {agent: self.observe(agent) for agent in self.agents}, {agent: {} for agent in self.agents}

    def begin(self) -> None:
        """What a new episode draws."""

    def observe(self, agent: Any) -> Any:
        raise NotImplementedError

    def render(self) -> np.ndarray:
        return np.full((4, 6, 3), self.t, dtype=np.uint8)

    def close(self) -> None:
        pass


class MatchingGame(SmallEnv):
    """Each agent sees a cue, one-hot; everybody gets the number of agents that played their own cue.

    Solved by reading one's own observation: a team return of `n_agents * length`.
    """

    def __init__(
        self, n_agents: int = 2, n_cues: int = 3, length: int = 4, render_mode: str | None = None
    ) -> None:
        super().__init__([f"player_{i}" for i in range(n_agents)], render_mode)
        self.n_cues, self.length = n_cues, length
        self.seen, self.played = spaces.Box(0.0, 1.0, (n_cues,), np.float32), spaces.Discrete(n_cues)

    def observation_space(self, agent: str) -> spaces.Space:
        return self.seen

    def action_space(self, agent: str) -> spaces.Space:
        return self.played

    def begin(self) -> None:
        self.cues = {agent: int(self.rng.integers(self.n_cues)) for agent in self.possible_agents}

    def observe(self, agent: str) -> np.ndarray:
        return np.eye(self.n_cues, dtype=np.float32)[self.cues[agent]]

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        assert set(actions) == set(self.agents)
        reward = np.float64(sum(actions[agent] == self.cues[agent] for agent in self.agents))
        self.t += 1
        self.begin()
        over = self.t >= self.length
        result = (
            {agent: self.observe(agent) for agent in self.agents},
            dict.fromkeys(self.agents, reward),
            dict.fromkeys(self.agents, False),
            dict.fromkeys(self.agents, over),
            {},
        )
        if over:
            self.agents = []
        return result


class PictureGame(MatchingGame):
    """The same with pictures of 36 x 36 pixels: the cue is which third is bright, in noise."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self.seen = spaces.Box(0, 255, (36, 36, 1), np.uint8)

    def observe(self, agent: str) -> np.ndarray:
        picture = self.rng.integers(0, 60, size=(36, 36, 1), dtype=np.uint8)
        picture[:, 12 * self.cues[agent] : 12 * self.cues[agent] + 12] += 150
        return picture


class UncloseableGame(MatchingGame):
    """A game whose `close()` raises, and leaves a file for each attempt."""

    def __init__(self, attempts: str | None = None) -> None:
        super().__init__()
        self.attempts = attempts

    def close(self) -> None:
        if self.attempts is not None:
            (Path(self.attempts) / f"{os.getpid()}-{id(self)}").touch()
        raise RuntimeError("the window was gone")


class Doorway(SmallEnv):
    """Two agents and a door for one: 1 for both when exactly one goes. Actions: wait, go, give up (0).

    Nothing of what they see tells them apart: whoever always does the same waits, or blocks the other.
    """

    def __init__(self, length: int = 12, render_mode: str | None = None) -> None:
        super().__init__(["left", "right"], render_mode)
        self.length = length
        self.seen, self.done = spaces.Box(0.0, 1.0, (2,), np.float32), spaces.Discrete(3)

    def observation_space(self, agent: str) -> spaces.Space:
        return self.seen

    def action_space(self, agent: str) -> spaces.Space:
        return self.done

    def observe(self, agent: str) -> np.ndarray:
        return self.rng.random(2).astype(np.float32)

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        self.t += 1
        agents, done = self.agents, [int(actions[agent]) for agent in self.agents]
        passed = sorted(done) == [0, 1]
        over, late = passed or 2 in done, self.t >= self.length
        self.agents = [] if over or late else agents
        return (
            {agent: self.observe(agent) for agent in agents},
            dict.fromkeys(agents, float(passed)),
            dict.fromkeys(agents, over),
            dict.fromkeys(agents, late and not over),
            {},
        )


class MortalEnv(SmallEnv):
    """Agents with masks (in observations or infos) that die one after the other and vanish from the dicts.

    Agent i dies after its own number of steps (`deaths[i]`; None: never); everybody left is truncated at
    `length`. A category is masked when the shared counter says so. An unavailable action raises. Rewards
    differ by agent.
    """

    def __init__(
        self,
        deaths: tuple[int | None, ...] = (2, 3, None),
        length: int = 5,
        masks: str | None = "observation",
        render_mode: str | None = None,
    ) -> None:
        super().__init__([f"mortal_{i}" for i in range(len(deaths))], render_mode)
        self.deaths, self.length, self.masks = deaths, length, masks
        self.metadata = {"name": "mortal", "render_modes": ["rgb_array"]}

    def n_actions(self, agent: str) -> int:
        return 3 + self.possible_agents.index(agent) % 2

    def observation_space(self, agent: str) -> spaces.Space:
        box = spaces.Box(-10.0, 10.0, (2,), np.float64)
        if self.masks == "observation":
            return spaces.Dict({"observation": box, "action_mask": spaces.MultiBinary(self.n_actions(agent))})
        return box

    def action_space(self, agent: str) -> spaces.Space:
        return spaces.Discrete(self.n_actions(agent))

    def mask(self, agent: str) -> np.ndarray:
        mask = np.ones(self.n_actions(agent), dtype=np.int8)
        mask[(self.t + self.possible_agents.index(agent)) % len(mask)] = 0
        return mask

    def observe(self, agent: str) -> Any:
        values = np.array([self.possible_agents.index(agent) + 1.0, self.t])
        if self.masks == "observation":
            return {"observation": values, "action_mask": self.mask(agent)}
        return values

    def infos(self) -> dict[str, dict[str, Any]]:
        if self.masks != "info":
            return {}
        return {agent: {"action_mask": self.mask(agent), "t": self.t} for agent in self.agents}

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        observations, _ = super().reset(seed, options)
        return observations, self.infos()

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        if set(actions) != set(self.agents):
            raise ValueError(f"actions of {sorted(actions)}, alive are {sorted(self.agents)}")
        for agent, action in actions.items():
            if self.masks and not self.mask(agent)[action]:
                raise ValueError(f"{agent}: action {action} is not available")
        self.t += 1
        rewards = {a: np.float32(action + self.possible_agents.index(a)) for a, action in actions.items()}
        terminations = {a: self.deaths[self.possible_agents.index(a)] == self.t for a in self.agents}
        truncations = {a: self.t >= self.length and not terminations[a] for a in self.agents}
        observations = {a: self.observe(a) for a in self.agents}
        infos = self.infos()
        self.agents = [a for a in self.agents if not terminations[a] and not truncations[a]]
        return observations, rewards, terminations, truncations, infos


class MixedEnv(SmallEnv):
    """Every kind of observation and action space, one an agent; agents are numbers. Rewards are shared."""

    SPACES = (
        (spaces.Box(-1.0, 1.0, (2, 3), np.float64), spaces.Discrete(3, start=1)),
        (spaces.Discrete(4), spaces.MultiDiscrete([2, 3])),
        (spaces.MultiDiscrete([2, 2]), spaces.MultiBinary(2)),
        (
            spaces.Dict({"b": spaces.Box(0, 255, (2, 2, 1), np.uint8), "a": spaces.Discrete(2)}),
            spaces.Box(-2.0, np.array([3.0, 1.0], dtype=np.float32), (2,), np.float32),
        ),
    )

    def __init__(self, which: tuple[int, ...] = (0, 1, 2, 3), length: int = 6) -> None:
        super().__init__(list(which))
        self.length = length
        for agent in which:
            for space in self.SPACES[agent]:
                space.seed(agent)

    def observation_space(self, agent: int) -> spaces.Space:
        return self.SPACES[agent][0]

    def action_space(self, agent: int) -> spaces.Space:
        return self.SPACES[agent][1]

    def observe(self, agent: int) -> Any:
        return self.SPACES[agent][0].sample()

    def step(self, actions: dict[int, Any]) -> tuple[dict, dict, dict, dict, dict]:
        for agent in self.agents:
            assert self.SPACES[agent][1].contains(actions[agent]), (agent, actions[agent])
        self.t += 1
        over = self.t >= self.length
        agents, self.agents = self.agents, [] if over else self.agents
        return (
            {agent: self.observe(agent) for agent in agents},
            dict.fromkeys(agents, 0.5),
            dict.fromkeys(agents, over),
            dict.fromkeys(agents, False),
            {agent: {} for agent in agents},
        )


class ReachEnv(SmallEnv):
    """Continuous: an agent's reward is minus the distance between its action and what it sees."""

    def __init__(self, n_agents: int = 2, length: int = 5) -> None:
        super().__init__([f"arm_{i}" for i in range(n_agents)])
        self.length = length
        self.seen = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.done = spaces.Box(-2.0, 2.0, (1,), np.float32)

    def observation_space(self, agent: str) -> spaces.Space:
        return self.seen

    def action_space(self, agent: str) -> spaces.Space:
        return self.done

    def begin(self) -> None:
        self.goals = {a: self.rng.uniform(-1, 1, size=1).astype(np.float32) for a in self.possible_agents}

    def observe(self, agent: str) -> np.ndarray:
        return self.goals[agent]

    def step(self, actions: dict[str, np.ndarray]) -> tuple[dict, dict, dict, dict, dict]:
        rewards = {a: -abs(float(actions[a][0] - self.goals[a][0])) for a in self.agents}
        self.t += 1
        self.begin()
        over = self.t >= self.length
        agents, self.agents = self.agents, [] if over else self.agents
        observations = {a: self.observe(a) for a in agents}
        return observations, rewards, dict.fromkeys(agents, False), dict.fromkeys(agents, over), {}


def talking_team_with_masks() -> TeamSpaces:
    """Two agents with masks: one says something and moves, the other hears something and moves."""
    layouts = {
        "talks": AgentLayout(
            ObservationLayout((Part("place", "own", size=2),)),
            (ActionPart("word", "message", 0), ActionPart("move", "move", 1)),
        ),
        "hears": AgentLayout(
            ObservationLayout((Part("messages", "message", 1, 4), Part("place", "own", size=1))),
            (ActionPart("move", "move", 0),),
        ),
    }

    def seen(size: int, flags: int) -> spaces.Dict:
        box = spaces.Box(-1.0, 2.0, (size,), np.float32)
        return spaces.Dict({"observation": box, "action_mask": spaces.MultiBinary(flags)})

    return TeamSpaces(
        ["talks", "hears"],
        {"talks": seen(2, 7), "hears": seen(5, 2)},
        {"talks": spaces.MultiDiscrete([4, 3]), "hears": spaces.Discrete(2)},
        layouts,
    )


class TalkAndMove(SmallEnv):
    """The agents of `talking_team_with_masks`; at step t category t modulo n of each column is unavailable.

    What is unavailable must not be done. A move is right if it is the last that is available.
    """

    def __init__(self, length: int = 3) -> None:
        self.team = talking_team_with_masks()
        super().__init__(list(self.team.agents))
        self.length = length
        self.done: list[dict[str, Any]] = []

    def observation_space(self, agent: str) -> spaces.Space:
        return self.team.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space:
        return self.team.action_spaces[agent]

    def layout(self, agent: str) -> AgentLayout:
        return self.team.layouts[agent]

    def flags(self, agent: str) -> list[np.ndarray]:
        return [np.arange(n) != self.t % n for n in {"talks": (4, 3), "hears": (2,)}[agent]]

    def observe(self, agent: str) -> dict[str, np.ndarray]:
        size = 2 if agent == "talks" else 5
        mask = np.concatenate(self.flags(agent)).astype(np.int8)
        return {"observation": np.full(size, 0.1 * self.t, np.float32), "action_mask": mask}

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        reward = 0.0
        for agent, action in actions.items():
            columns = np.atleast_1d(action)
            assert all(flags[k] for flags, k in zip(self.flags(agent), columns, strict=True)), (agent, action)
            reward += float(columns[-1] == np.flatnonzero(self.flags(agent)[-1])[-1])
        self.done.append(actions)
        self.t += 1
        agents, over = self.agents, self.t >= self.length
        seen = {agent: self.observe(agent) for agent in agents}
        self.agents = [] if over else agents
        ends = dict.fromkeys(agents, False), dict.fromkeys(agents, over)
        return seen, dict.fromkeys(agents, reward), *ends, {}


class FaultyEnv(MatchingGame):
    """Does one thing wrong at step `at`: raise, nan, nan-reward, shape, type, vanish, stranger, hang or die.

    Of an episode that begins after `after` steps in all; and never again once there is a file `mended`.
    """

    def __init__(self, fault: str, at: int = 2, after: int = 0, mended: str | None = None) -> None:
        super().__init__(length=10)
        self.fault, self.at, self.after, self.mended = fault, at, after, mended
        self.n_steps = 0

    def is_due(self) -> bool:
        begun = self.n_steps - self.t
        is_mended = self.mended is not None and Path(self.mended).exists()
        return self.t == self.at and begun >= self.after and not is_mended

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        observations, rewards, terminations, truncations, infos = super().step(actions)
        self.n_steps += 1
        if self.is_due():
            self.spoil(observations, rewards)
        return observations, rewards, terminations, truncations, infos

    def spoil(self, observations: dict[str, Any], rewards: dict[str, Any]) -> None:
        if self.fault == "raise":
            raise RuntimeError("the physics exploded\nin several lines")
        if self.fault == "die":
            os._exit(3)
        if self.fault == "hang":
            signal.pause()
        if self.fault == "nan":
            observations["player_1"] = np.array([0.0, np.nan, 0.0])
        elif self.fault == "nan-reward":
            rewards["player_1"] = float("nan")
        elif self.fault == "shape":
            observations["player_1"] = np.zeros(5)
        elif self.fault == "type":
            observations["player_1"] = "a red cue"
        elif self.fault == "vanish":
            del observations["player_1"]
        elif self.fault == "stranger":
            self.agents = [*self.agents, "nobody"]


class FaultyExpert:
    """Says the cue that each agent of a `MatchingGame` sees, or 0; from call `after` on, one thing is wrong.

    Of these: nan, range, shape, unavailable; and nothing any more once there is a file `mended`.
    """

    def __init__(self, fault: str, after: int = 0, mended: str | None = None) -> None:
        self.fault, self.after, self.mended = fault, after, mended
        self.calls = 0

    def labels(self, observations: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        if masks is None:
            labels = observations.reshape(len(observations), 2, -1).argmax(axis=2)
        else:  # three agents of `MortalEnv`, with 3, 4 and 3 actions
            labels = np.stack([flags.argmax(axis=1) for flags in np.split(masks, [3, 7], axis=1)], axis=1)
        self.calls += 1
        if self.calls <= self.after or (self.mended is not None and Path(self.mended).exists()):
            return labels
        if self.fault == "nan":
            return np.where([[False, True]], np.nan, labels)
        if self.fault == "range":
            return labels + np.array([0, 7])
        if self.fault == "shape":
            return labels[:, :1]
        assert masks is not None
        labels[:, 1] = masks[:, 3:7].argmin(axis=1)
        return labels
