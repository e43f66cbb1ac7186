"""Many joint environments as one SB3 `VecEnv`: the interface that all later rooms use."""

from __future__ import annotations

import multiprocessing
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from cesma_sb3.envs.joint_env import JointEnv, TeamReward
from cesma_sb3.envs.subproc import EnvGroup, RemoteGroup, Transition
from cesma_sb3.errors import CesmaWarning, EnvError, integer
from cesma_sb3.spaces.action_views import ActionView
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Array, Flags, Floats, Info, Masks, Observations
from cesma_sb3.utils.closing import warn_unclosed
from cesma_sb3.utils.stateful import Stateful

StepReturn = tuple[Observations, Floats, Flags, list[Info]]

LONG_EPISODE = 10_000
"""Steps of one episode after which a warning says that it has not ended."""


class JointVecEnv(VecEnv):
    """An SB3 `VecEnv` over (`team.observation_space`, `view.space`).

    `step` takes actions of the view, and decodes them itself. When an episode ends its environment is reset
    in the same step; the info of that step then holds `terminal_observation`, `TimeLimit.truncated`,
    `agent_returns` (each agent's sum of rewards) and `episode` (as SB3's `VecMonitor`: `r` the team's
    return, `l` steps, `t` seconds), and after `render_terminal` the first environment's `terminal_frame`.
    """

    team: TeamSpaces
    view: ActionView
    keeps_state: ClassVar[bool] = False
    """Whether all state is in attributes, so that a training can resume in the middle of an episode."""
    replaces_unavailable: bool = False
    """Whether it does the first available action in place of one that is not; else it refuses that."""
    renders_terminal: bool = False
    """Whether the last infos of the first environment's episodes hold `terminal_frame`."""

    @property
    @abstractmethod
    def alive(self) -> Flags:
        """Which agents are alive in the observations last returned, [n_envs, n_agents]."""

    @property
    @abstractmethod
    def agent_masks(self) -> Masks | None:
        """Joint masks of the observations last returned, [n_envs, mask_size]; None if there are none.

        Whether there are any belongs to the team (`has_masks`), so that it never changes.
        """

    def render_terminal(self, on: bool = True) -> None:
        """Has the last info of the first environment's episodes hold `terminal_frame`, or no longer.

        That is what `get_images` would show if the environment were not reset in the same step.
        """
        self.renders_terminal = on

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds for the next `reset`: environment i is seeded with seed + i; None draws the first at random.

        Raises:
            ConfigError: The seed is no integer, or negative.
        """
        return super().seed(None if seed is None else integer("seed", seed))

    def action_masks(self) -> Masks:
        """The view's available actions now, [n_envs, n]."""
        masks = self.agent_masks
        if masks is None:
            masks = np.stack([self.team.join_masks({}, alive) for alive in self.alive])
        return self.view.masks(masks)

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """True for SB3's `Monitor`, whose statistics are kept here."""
        return [issubclass(wrapper_class, Monitor) for _ in self._get_indices(indices)]

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method of each environment; of `action_masks`, sb3-contrib's, each gets its own row."""
        if method_name == "action_masks":
            masks = self.action_masks()
            return [masks[index] for index in self._get_indices(indices)]
        return self._call_each(method_name, indices, *method_args, **method_kwargs)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of each environment; of `action_masks`, sb3-contrib's, each has this method."""
        if attr_name == "action_masks":
            return [self.action_masks for _ in self._get_indices(indices)]
        return self._get_each(attr_name, indices)

    @abstractmethod
    def _get_each(self, name: str, indices: VecEnvIndices) -> list[Any]:
        """An attribute of each environment."""

    @abstractmethod
    def _call_each(self, name: str, indices: VecEnvIndices, *args: Any, **kwargs: Any) -> list[Any]:
        """What a method of each environment returns."""


def attribute(env: VecEnv, name: str) -> Any:
    """An attribute of a joint environment, whatever SB3 wraps around it (`VecMonitor`, say); else None.

    Args:
        env: Any vector environment, of a `JointVecEnv` or of several `JointEnv`s.
        name: Of an attribute that both have: `team` or `view`.

    Returns:
        The attribute; None if there is no such attribute, as in an environment that is not joint.
    """
    try:
        return getattr(env, name)  # SB3's wrappers look further inside
    except AttributeError:
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium 0.29 warns of attributes that its wrappers look up
        try:
            return env.get_attr(name, 0)[0]
        except AttributeError:
            return None


def available_actions(env: VecEnv) -> Masks | None:
    """The view's available actions now, [n_envs, n], inside SB3's wrappers; None where there are no masks."""
    team = attribute(env, "team")
    if not (isinstance(team, TeamSpaces) and team.has_masks):
        return None
    return np.stack(env.env_method("action_masks"))


class EpisodeStatistics(Stateful):
    """Returns and lengths of the episodes under way, reported as SB3's `VecMonitor` does."""

    state_attributes = ("returns", "lengths")

    def __init__(self, n_envs: int) -> None:
        self.returns = np.zeros(n_envs)
        self.lengths = np.zeros(n_envs, dtype=np.int64)
        self._start = time.time()

    def reset(self) -> None:
        """Forgets all episodes."""
        self.returns[:] = 0.0
        self.lengths[:] = 0

    def add(self, rewards: Floats) -> None:
        """Counts one step of every environment, with its rewards [n_envs]."""
        self.returns += rewards
        self.lengths += 1

    def end_episode(self, index: int) -> dict[str, Any]:
        """The return `r`, length `l` and time `t` in seconds of an environment's episode, which has ended."""
        total, length = float(self.returns[index]), int(self.lengths[index])
        self.returns[index] = self.lengths[index] = 0
        return {"r": total, "l": length, "t": round(time.time() - self._start, 6)}


class GroupedVecEnv(JointVecEnv):
    """Joint environments stepped one by one, in this process or in several; `joint_vec_env` makes them.

    Args:
        groups: The environments, in the order of their numbers.
        may_be_endless: Whether nothing but the environments themselves ends their episodes.

    Raises:
        SpaceError: An environment differs from the first.
    """

    def __init__(self, groups: Sequence[EnvGroup | RemoteGroup], *, may_be_endless: bool = True) -> None:
        self._groups = list(groups)
        self._closed = False
        # Environment -> its group, and its place there.
        self._places = [(group, place) for group in self._groups for place in range(len(group.indices))]
        try:
            first, *others = self._ask_all("describe")
            for group, other in zip(self._groups[1:], others, strict=True):
                first.check_alike(other, self._groups[0].indices[0], group.indices[0])
        except BaseException:
            self.close()
            raise
        self._name, self.team, self.view, self._render_mode, self.replaces_unavailable = first
        n_envs = len(self._places)
        self._alive = np.ones((n_envs, self.team.n_agents), dtype=bool)
        self._masks: Masks = np.ones((n_envs, self.team.mask_size), dtype=bool)
        self.statistics = EpisodeStatistics(n_envs)
        self._warns_of_length = may_be_endless
        super().__init__(n_envs, self.team.observation_space, self.view.space)

    @property
    def alive(self) -> Flags:
        """Which agents are alive in the observations last returned, [n_envs, n_agents]."""
        return self._alive

    @property
    def agent_masks(self) -> Masks | None:
        """Joint masks of the observations last returned, [n_envs, mask_size]; None if there are none."""
        return self._masks if self.team.has_masks else None

    def reset(self) -> Observations:
        """Starts an episode everywhere, seeded by `seed` the first time; the generators then continue.

        Returns:
            Joint observations [n_envs, observation_size] float32.

        Raises:
            EnvError: An environment raised, died, or returned something that is no observation.
        """
        self._send_rows("reset", self._seeds, self._options)
        results = self._receive_all()
        self._reset_seeds()
        self._reset_options()
        self.statistics.reset()
        self.reset_infos = [info for _, infos in results for info in infos]
        self._remember(self.reset_infos)
        return np.concatenate([observations for observations, _ in results])

    def step_async(self, actions: Array) -> None:
        """Sends actions [n_envs, ...] of the view."""
        if len(actions) != self.num_envs:
            raise EnvError(f"{len(actions)} actions for {self.num_envs} environments")
        self._send_rows("step", actions)

    def step_wait(self) -> StepReturn:
        """Receives the results of the actions.

        Returns:
            Joint observations [n_envs, observation_size] float32, team rewards [n_envs] float32, dones
            [n_envs] bool, and infos.

        Raises:
            EnvError: An environment raised, died, or returned something that is no transition.
            RewardError: Rewards that should be shared differ.
        """
        results: list[Transition] = self._receive_all()
        rewards = np.concatenate([result.rewards for result in results])
        dones = np.concatenate([result.dones for result in results])
        infos = [info for result in results for info in result.infos]
        reset_infos = [info for result in results for info in result.reset_infos]
        self.statistics.add(rewards)
        if self._warns_of_length and self.statistics.lengths.max() >= LONG_EPISODE:
            self._warns_of_length = False
            self._warn_of_length(int(self.statistics.lengths.argmax()))
        for index in np.flatnonzero(dones).tolist():
            infos[index]["episode"] = self.statistics.end_episode(index)
            self.reset_infos[index] = reset_infos[index] or {}
        # The observation of an end is the next episode's first, and so are the flags that belong to it.
        self._remember([reset or info for info, reset in zip(infos, reset_infos, strict=True)])
        observations = np.concatenate([result.observations for result in results])
        return observations, rewards.astype(np.float32), dones, infos

    def _warn_of_length(self, index: int) -> None:
        warnings.warn(
            f"{self._name} (environment {index}): an episode has not ended after {LONG_EPISODE:,} steps; "
            "where an environment has no end of its own, env.max_steps ends its episodes",
            CesmaWarning,
            stacklevel=1,  # one place for all, so that Python shows the line once
        )

    def _remember(self, infos: Sequence[Info]) -> None:
        self._alive = np.stack([info["alive"] for info in infos])
        if self.team.has_masks:
            self._masks = np.stack([info["action_mask"] for info in infos])

    def close(self) -> None:
        """Closes the environments and ends their processes.

        Warns:
            ClosingWarning: An environment's `close()` raised; all others are closed.
        """
        if not self._closed:
            self._closed = True
            warn_unclosed(line for group in self._groups for line in group.close())

    def get_images(self) -> Sequence[Any]:
        """A picture [height, width, 3] uint8 of each environment, or None in another render mode."""
        if self._render_mode != "rgb_array":
            return [None] * self.num_envs
        images: list[Any] = [image for images in self._ask_all("images") for image in images]
        return images

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of each joint environment."""
        self._ask_some(indices, "set", attr_name, value)

    def render_terminal(self, on: bool = True) -> None:
        """Has the last info of the first environment's episodes hold `terminal_frame`, or no longer."""
        super().render_terminal(on)
        self._ask_some(0, "set", "renders_terminal", on and self._render_mode == "rgb_array")

    def _get_each(self, name: str, indices: VecEnvIndices) -> list[Any]:
        if name == "render_mode":
            return [self._render_mode for _ in self._get_indices(indices)]
        return self._ask_some(indices, "get", name)

    def _call_each(self, name: str, indices: VecEnvIndices, *args: Any, **kwargs: Any) -> list[Any]:
        return self._ask_some(indices, "call", name, args, kwargs)

    def _send_rows(self, command: str, *columns: Any) -> None:
        """Sends each group a command with its rows of arguments that have one for each environment."""
        for group in self._groups:
            where = slice(group.indices[0], group.indices[-1] + 1)
            group.send(command, *(column[where] for column in columns))

    def _ask_all(self, command: str) -> list[Any]:
        self._send_rows(command)
        return self._receive_all()

    def _ask_some(self, indices: VecEnvIndices, command: str, *args: Any) -> list[Any]:
        results = []
        for index in self._get_indices(indices):
            group, place = self._places[index]
            group.send(command, place, *args)
            results.append(group.receive())
        return results

    def _receive_all(self) -> list[Any]:
        """One result of each group; all are received before an error is raised, so that none is left over."""
        results, errors = [], []
        for group in self._groups:
            try:
                results.append(group.receive())
            except Exception as error:  # raised below, once no answer is left over
                errors.append(error)
        if errors:
            raise errors[0]
        return results


def joint_vec_env(
    make_env: Callable[[], Any],
    n_envs: int = 1,
    *,
    seed: int | None = None,
    processes: int | bool = 0,
    step_timeout: float | None = None,
    view: str | ActionView = "joint",
    team_reward: TeamReward = "shared",
    max_steps: int | None = None,
    start_method: str | None = None,
    agents: Sequence[str] | None = None,
) -> GroupedVecEnv:
    """Many PettingZoo environments as one joint environment of SB3.

    Args:
        make_env: Makes one PettingZoo environment, a new one at every call; it is called once for each, in
            its process. All have the same agents, spaces and layouts.
        n_envs: The number of environments, at least 1.
        seed: The first reset of environment i is seeded with seed + i, and its own generator then continues.
        processes: 0 or False: all in this process. A number: as many processes, the environments spread over
            them. True: one process for each environment.
        step_timeout: Seconds that a process may take for an answer; None: no limit.
        view: The action view, or its name.
        team_reward: How the agents' rewards become one: `shared`, which must be equal, or `sum` or `mean`.
        max_steps: Steps after which an episode is truncated; None: no limit.
        start_method: Start method of `multiprocessing`. By default `forkserver` if it exists, else `spawn`;
            either needs a script to guard its entry with `if __name__ == "__main__":`.
        agents: The names of the agents in the order of joint arrays; None: the environments' order.

    Raises:
        ConfigError: A count below what is possible, or one environment was given twice.
        SpaceError: The environment's spaces have no joint view, or not this action view; its agents have
            other names than `agents`; or an environment differs from the first.
        EnvError: `make_env` raised.
    """
    n_envs = integer("n_envs", n_envs, 1)
    n_processes = n_envs if processes is True else integer("processes", processes)

    def make() -> JointEnv:
        return JointEnv(make_env(), view=view, team_reward=team_reward, max_steps=max_steps, agents=agents)

    parts = [part.tolist() for part in np.array_split(np.arange(n_envs), min(n_processes, n_envs) or 1)]
    groups: list[EnvGroup | RemoteGroup]
    if n_processes:
        default = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(start_method or default)
        groups = [RemoteGroup(context, make, part, step_timeout) for part in parts]
    else:
        groups = [EnvGroup(make, part) for part in parts]
    env = GroupedVecEnv(groups, may_be_endless=max_steps is None)
    if seed is not None:
        env.seed(seed)
    return env
