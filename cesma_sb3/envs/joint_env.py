"""Any PettingZoo `ParallelEnv` as one Gymnasium environment."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, Literal, get_args

import gymnasium
import numpy as np

from cesma_sb3.envs.pettingzoo import as_parallel, unwrapped
from cesma_sb3.envs.rendering import render_mode_of
from cesma_sb3.envs.return_checks import ReturnReader
from cesma_sb3.errors import (
    CesmaError,
    EnvError,
    RewardError,
    SpaceError,
    check_choice,
    error_line,
    integer,
)
from cesma_sb3.spaces.action_views import ActionView, make_view
from cesma_sb3.spaces.agent_spaces import MASK, ActionColumns, flatten, naming
from cesma_sb3.spaces.declarations import possible_agents
from cesma_sb3.spaces.layout import AgentLayout
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Flags, Floats, Info, Masks

TeamReward = Literal["shared", "sum", "mean"]

_RESET_LAST: weakref.WeakValueDictionary[int, JointEnv] = weakref.WeakValueDictionary()
"""The joint environment that last reset an object, by the identity of the object without wrappers."""
ONE_EACH = "the function that makes environments has to make a new one at every call"


class JointEnv(gymnasium.Env[Any, Any]):
    """A team as a single agent: joint observations, actions of an action view, one reward.

    *Agents that die* keep their slot: their observation is zeros, `info["alive"]` is False, only category 0
    is left in their mask, and their action is not sent. An agent acts in a step if it was alive before it.
    It is alive afterwards if it is in `env.agents` with neither flag set. It ends *by truncation* if the
    environment says truncated and not terminated, else *by termination* (also if it leaves without a flag).

    *The episode ends* when no agent is alive. It is `truncated` if one of the agents that acted in its last
    step ended by truncation, since the team then still had a future, and `terminated` otherwise; never both.
    Agents that had terminated before do not count. After `max_steps` steps all that are alive are truncated.
    In the last observation the agents whose future was cut off keep their observation (all that acted, if the
    episode terminated), and `alive` says which slots these are.

    `info` holds `alive` [n_agents] bool; `action_mask` [mask_size] bool where the environment has masks
    (`team.has_masks`: in its observations, or under `action_mask` in its infos); `agent_infos` where agents
    have numbers or strings in theirs; at the end of an episode `agent_returns`, the sum of each agent's
    rewards, and `battle_won` where agents have it in theirs.

    *What no agent observes*, and a controller of the whole team may: an attribute `unseen_space` (Box) of the
    environment, and a method `unseen()` that gives an element of it after each reset and step. These entries
    are the end of the joint observation.

    Args:
        env: A PettingZoo `ParallelEnv` or `AECEnv`.
        view: The action view in which `step` takes actions, or its name.
        team_reward: `shared`: the reward of all agents that acted, which must be equal (to 1e-6, relative);
            `sum` or `mean` over the agents that acted.
        layouts: The parts of observations, in place of the environment's own `layout(agent)`.
        max_steps: The most steps of an episode, at least 1; None: until the environment ends it.
        agents: The names of the agents in the order of joint arrays, as a saved team has them; None: the
            order of `possible_agents`.

    Raises:
        SpaceError: The spaces have no joint view, or not this action view; the agents have other names than
            `agents`; a scalar of an action has no bounds; or no agent observes anything, or none has
            anything to choose.
        UnknownNameError: `team_reward` is none of the three.
        ConfigError: `max_steps` is below 1.
    """

    def __init__(
        self,
        env: Any,
        *,
        view: str | ActionView = "joint",
        team_reward: TeamReward = "shared",
        layouts: Mapping[str, AgentLayout] | None = None,
        max_steps: int | None = None,
        agents: Sequence[str] | None = None,
    ) -> None:
        check_choice("team reward", team_reward, get_args(TeamReward))
        self.parallel_env = as_parallel(env)
        self.innermost: Any = unwrapped(self.parallel_env)
        """The environment without its wrappers."""
        team = TeamSpaces.from_parallel_env(self.parallel_env, agents=agents, layouts=layouts)
        _check_learnable(team)
        self.team = team
        self.view: ActionView = make_view(view, team)
        self.team_reward = team_reward
        self.observation_space = team.observation_space
        self.action_space = self.view.space
        self.max_steps = None if max_steps is None else integer("max_steps", max_steps, 1)
        metadata = getattr(self.parallel_env, "metadata", None)
        self.metadata = dict(metadata) if isinstance(metadata, Mapping) else {}
        self.render_mode = render_mode_of(self.parallel_env)
        self.renders_terminal = False
        """Whether the last info of an episode holds `terminal_frame`, what `render` returns then."""
        self.replaces_unavailable = getattr(self.innermost, "unavailable", None) == "replace"
        # The environment's ids of its agents need not be strings; names here are.
        self._ids = possible_agents(self.parallel_env, team.agents)
        self._reader = ReturnReader(self._ids, self._fault)
        self._alive = np.zeros(team.n_agents, dtype=bool)
        self._mask: Masks = np.ones(team.mask_size, dtype=bool)
        self._returns = np.zeros(team.n_agents)
        self._step = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, Info]:
        """Starts an episode.

        Args:
            seed: The environment's seed; None: its generator continues.
            options: The environment's options.

        Returns:
            The joint observation [observation_size] float32, and `info`.

        Raises:
            EnvError: The environment raised, or what it returned is no observation.
        """
        seed = None if seed is None else integer("seed", seed)
        super().reset(seed=seed)
        self._step = 0
        self._returns[:] = 0.0
        _RESET_LAST[id(self.innermost)] = self
        extra = {} if options is None else {"options": options}
        answer = self._call(self.parallel_env.reset, seed=seed, **extra)
        observations, infos = self._reader.several("reset", answer, ("observations", "infos"))
        observations = self._reader.by_agent("observations", observations)
        self._alive = self._present()
        if not self._alive.any():
            raise self._fault("no agent is alive after reset")
        observation, visible = self._join(observations, self._alive, self._alive)
        return observation, self._info(observations, self._reader.infos(infos), visible)

    def step(self, action: Any) -> tuple[Floats, float, bool, bool, Info]:
        """One step of every agent that is alive.

        Args:
            action: An element of `action_space`.

        Returns:
            The joint observation [observation_size] float32, the team's reward, terminated, truncated,
            `info`.

        Raises:
            SpaceError: The action is not of the action space.
            EnvError: The environment raised, or what it returned is no transition.
            RewardError: The reward is to be `shared` and the agents' rewards differ.
        """
        if not self._alive.any():
            raise self._fault("step before reset, or after the end of the episode")
        if _RESET_LAST.get(id(self.innermost)) is not self:
            raise self._fault(
                "was reset by another joint environment, which steps the same object: " + ONE_EACH
            )
        masks = self._mask[None] if self.team.has_masks else None
        actions = self.team.split_actions(self.view.decode(np.asarray(action)[None], masks)[0])
        acted = self._alive
        self._step += 1
        answer = self._call(
            self.parallel_env.step,
            {self._ids[agent]: actions[agent] for agent in compress(self.team.agents, acted)},
        )
        observations, rewards, terminations, truncations, infos = self._reader.several(
            "step", answer, ("observations", "rewards", "terminations", "truncations", "infos")
        )
        observations = self._reader.by_agent("observations", observations)
        terminated = self._reader.flags("terminations", terminations)
        truncated = self._reader.flags("truncations", truncations)
        present = self._present() & ~terminated & ~truncated
        out_of_time = present & (self.max_steps is not None and self._step >= self.max_steps)
        self._alive = present & ~out_of_time
        cut_off = (acted & ~self._alive & truncated & ~terminated) | out_of_time
        over = not self._alive.any()
        is_truncated = over and bool(cut_off.any())
        shown = self._alive if not over else cut_off if is_truncated else acted
        reward = self._reward(rewards, acted, present)
        observation, visible = self._join(observations, shown, present)
        info = self._info(observations, self._reader.infos(infos), visible)
        if over:
            info["agent_returns"] = dict(zip(self.team.agents, self._returns.tolist(), strict=True))
            if self.renders_terminal:
                info["terminal_frame"] = self._call(self.parallel_env.render)
        return observation, reward, over and not is_truncated, is_truncated, info

    def action_masks(self) -> Masks:
        """Which of the view's actions are available now, in the form of sb3-contrib: [n] bool."""
        flags: Masks = self.view.masks(self._mask[None])[0]
        return flags

    def render(self) -> Any:
        """A frame of the environment, in its own `render_mode`."""
        return self.parallel_env.render()

    def close(self) -> None:
        """Closes the environment, if it can be closed."""
        if callable(close := getattr(self.parallel_env, "close", None)):
            close()

    def _call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except CesmaError:
            raise
        except (Exception, SystemExit) as error:  # whatever a foreign environment raises
            raise self._fault(f"raised {error_line(error)}") from error

    def _fault(self, message: str, kind: type[EnvError] = EnvError) -> EnvError:
        return kind(f"{self.name}, step {self._step}: {message}")

    @property
    def name(self) -> str:
        """The environment's name by its metadata, else its class."""
        return str(self.metadata.get("name") or type(self.innermost).__name__)

    def _present(self) -> Flags:
        return self._reader.present(getattr(self.parallel_env, "agents", None))

    def _join(self, observations: Mapping[Any, Any], shown: Flags, needed: Flags) -> tuple[Floats, Flags]:
        """Joins the observations of the agents that are `shown`; those `needed` must have one.

        Returns:
            The joint observation, and which agents' slots hold one, [n_agents].
        """
        visible = shown.copy()
        joint = np.zeros(self.team.observation_size, dtype=np.float32)
        for index in np.flatnonzero(shown):
            agent, where = self.team.agents[index], self.team.observation_slices[index]
            if self._ids[agent] not in observations:
                if needed[index]:
                    raise self._fault(f"{agent} is alive and has no observation")
                visible[index] = False
                continue
            try:
                joint[where] = self.team.flatten_agent(agent, observations[self._ids[agent]])
            except SpaceError as error:
                raise self._fault(f"observation of {error}") from error
        if self.team.unseen_space is not None:
            try:
                joint[self.team.unseen_slice] = flatten(
                    self.team.unseen_space, self._call(self.parallel_env.unseen)
                )
            except SpaceError as error:
                raise self._fault(f"unseen(): {error}") from error
        if not np.isfinite(joint).all():
            entry = int((~np.isfinite(joint)).argmax())
            raise self._fault(f"{self._place(entry)} is {joint[entry]}")
        return joint, visible

    def _place(self, entry: int) -> str:
        """What messages call an entry of the joint observation."""
        for agent, where in zip(self.team.agents, self.team.observation_slices, strict=True):
            if entry < where.stop:
                return f"observation of {agent}: entry {entry - where.start}"
        return f"unseen(): entry {entry - self.team.unseen_slice.start}"

    def _reward(self, answer: Any, acted: Flags, needed: Flags) -> float:
        """The team's reward from those of the agents that `acted`; those `needed` must have one."""
        rewards = self._reader.rewards(answer)
        values: dict[str, float] = {}
        for index in np.flatnonzero(acted):
            agent = self.team.agents[index]
            if agent in rewards:
                values[agent] = rewards[agent]
                self._returns[index] += rewards[agent]
            elif needed[index]:  # else it left with this step: some environments forget such agents
                raise self._fault(f"{agent} acted and has no reward")
        if not values:
            return 0.0
        if self.team_reward == "shared":
            return self._shared(values)
        total = sum(values.values())
        return float(total / len(values) if self.team_reward == "mean" else total)

    def _shared(self, values: dict[str, float]) -> float:
        lowest, highest = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
        scale = max(abs(values[lowest]), abs(values[highest]))
        if values[highest] - values[lowest] > 1e-6 * scale:
            message = (
                f"team_reward 'shared', but {lowest} got {values[lowest]:.6g} and {highest} got "
                f"{values[highest]:.6g}; use 'sum' or 'mean'"
            )
            raise self._fault(message, RewardError)
        return next(iter(values.values()))

    def _info(self, observations: Mapping[Any, Any], infos: Mapping[Any, Any], visible: Flags) -> Info:
        own = {
            agent: infos[name] for agent, name in self._ids.items() if isinstance(infos.get(name), Mapping)
        }
        self._mask = self._join_masks(observations, own, visible)
        info: Info = {"alive": visible}
        if self.team.has_masks:
            info["action_mask"] = self._mask.copy()
        won = [values["battle_won"] for values in own.values() if "battle_won" in values]
        if won:  # the team's, not an agent's
            info["battle_won"] = any(won)
        plain = {agent: _plain(values) for agent, values in own.items()}
        if any(plain.values()):
            info["agent_infos"] = plain
        return info

    def _join_masks(
        self, observations: Mapping[Any, Any], infos: Mapping[str, Mapping[Any, Any]], visible: Flags
    ) -> Masks:
        """The joint mask from the agents' observations and infos."""
        masks: dict[str, Any] = {}
        for index, (agent, name) in enumerate(self._ids.items()):
            if isinstance(observations.get(name), Mapping) and MASK in observations[name]:
                masks[agent] = observations[name][MASK]
            elif MASK in infos.get(agent, ()):
                masks[agent] = infos[agent][MASK]
                if agent not in self.team.masked_agents and self.team.mask_size:
                    raise self._fault(
                        f"{agent} has an action mask in its info, but no info had one after the first reset; "
                        "expected them from there on, or an attribute masks_in_infos = True"
                    )
            if visible[index] and agent in masks and masks[agent] is None:
                raise self._fault(f"action mask of {agent} is None, expected a flag for each action")
        try:
            return self.team.join_masks(masks, visible)
        except SpaceError as error:
            raise self._fault(f"action mask of {error}") from error


def _check_learnable(team: TeamSpaces) -> None:
    """Refuses a team that observes nothing or chooses nothing, and scalars without bounds."""
    for agent in team.agents:
        naming(agent, ActionColumns.of(team.action_spaces[agent]).check_bounded)
    for what, size in (("observation", team.observation_size), ("action", team.n_columns)):
        if not size:
            raise SpaceError(f"the {what} spaces of all agents are empty, expected one at least that is not")


def _plain(info: Mapping[Any, Any]) -> dict[Any, Any]:
    """The numbers and strings of an info: arrays would be copied at every step."""
    return {
        key: value
        for key, value in info.items()
        if isinstance(value, bool | int | float | str | np.number | np.bool_)
    }
