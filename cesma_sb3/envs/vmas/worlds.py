"""Worlds of VMAS: stepped together, started anew by rows, with generators of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces

from cesma_sb3.envs.vmas.generators import Generators
from cesma_sb3.envs.vmas.registry import PREFIX, make_vmas
from cesma_sb3.errors import EnvError, SpaceError
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Flags, Floats, Index, Packed

Holder = dict[Any, Any] | list[Any]
"""What holds a tensor: the attributes of an object, a dictionary or a list."""
N_STARTS = 255
"""Beginnings of episodes that are drawn at once, at least."""


class Worlds:
    """B worlds of a scenario, all of whose state is tensors.

    All draws are from generators of its own: VMAS has one set of them for the whole process, which is put in
    its place for the time of a call.

    Args:
        name: The scenario: `balance`, `navigation`, ...
        n_worlds: B, the number of worlds.
        kwargs: As of `make_vmas`.

    Raises:
        MissingExtraError: VMAS is not installed.
        ConfigError: The scenario does not exist, or refuses an argument.
        SpaceError: An observation is no array of numbers.
    """

    def __init__(self, name: str, n_worlds: int, kwargs: Mapping[str, Any]) -> None:
        self.name, self.n_worlds = PREFIX + name, n_worlds
        self.generators = Generators(0)
        self.env = make_vmas(name, n_worlds, kwargs, self.generators)
        self._widths = [self.env.get_agent_action_size(agent) for agent in self.env.agents]

    def team(self) -> TeamSpaces:
        """The agents by VMAS's names, with their spaces; scripted agents are none of them."""
        names = [agent.name for agent in self.env.agents]
        seen = dict(zip(names, self.env.observation_space, strict=True))
        if odd := [name for name in names if type(seen[name]).__name__ != "Box"]:
            raise SpaceError(f"{self.name}: {odd[0]} observes {seen[odd[0]]}, expected one array of numbers")
        return TeamSpaces(
            names,
            {name: spaces.Box(-np.inf, np.inf, space.shape, np.float32) for name, space in seen.items()},
            dict(zip(names, map(_action_space, self.env.action_space), strict=True)),
        )

    def seed(self, seed: int) -> None:
        """Seeds the generators as `vmas.make_env(seed=seed)` does."""
        self.generators = Generators(seed)

    def reset(self) -> Floats:
        """Starts an episode in every world.

        Returns:
            Joint observations [B, I] float32.
        """
        with self.generators.used():
            return _joined(self.env.reset())

    def observe(self) -> Floats:
        """Joint observations [B, I] float32 of the worlds as they are."""
        with self.generators.used():
            observed, *_ = self.env.get_from_scenario(
                get_observations=True, get_rewards=False, get_infos=False, get_dones=False
            )
        return _joined(observed)

    def step(self, packed: Packed) -> tuple[Floats, Floats, Flags]:
        """Moves every world by one step.

        Args:
            packed: The packed actions [B, C], within bounds.

        Returns:
            Joint observations [B, I] float32, each agent's rewards [N, B] float32, and which worlds
            terminated, [B].

        Raises:
            EnvError: The scenario gives no reward for each world.
        """
        with self.generators.used():
            actions = th.from_numpy(packed).split(self._widths, dim=1)
            observed, rewards, terminated, _, _ = self.env.step(list(actions))
        by_agent = th.stack(rewards)
        if by_agent.shape[1:] != (self.n_worlds,):
            shape = tuple(by_agent.shape[1:])
            raise EnvError(f"{self.name}: rewards of shape {shape}, expected one number for each world")
        return _joined(observed), by_agent.numpy(), terminated.numpy()

    def holders(self) -> dict[str, Holder]:
        """What holds tensors, or may come to, by the path to it from VMAS's environment."""
        found: dict[str, Holder] = {}
        seen: set[int] = set()
        left: list[tuple[str, Any]] = [("env", self.env)]
        while left:
            path, value = left.pop()
            if id(value) in seen or isinstance(value, _LEAVES):
                continue
            seen.add(id(value))
            inside = value if isinstance(value, dict | list) else getattr(value, "__dict__", None)
            if isinstance(value, tuple):
                inside = dict(enumerate(value))  # what it holds cannot be replaced, only changed
            if inside is None or type(value).__module__.partition(".")[0] == "gym":
                continue
            items = enumerate(inside) if isinstance(inside, list) else inside.items()
            items = [(key, each) for key, each in items if isinstance(key, str | int)]
            if not isinstance(value, tuple):
                found[path] = inside
            left += [(f"{path}.{key}", each) for key, each in reversed(items)]
        return found

    def state_dict(self) -> dict[str, Any]:
        """Every tensor by its path, and the generators."""
        tensors = {path: dict(_tensors(holder)) for path, holder in self.holders().items()}
        return {"tensors": tensors, "generators": self.generators.states}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned.

        Raises:
            KeyError: It is of another scenario.
        """
        # A first step makes some of what holds tensors.
        self.step(np.zeros((self.n_worlds, sum(self._widths)), dtype=np.float32))
        holders = self.holders()
        for path, tensors in state_dict["tensors"].items():
            for key, tensor in tensors.items():
                holders[path][key] = tensor.clone()
        self.generators.states = list(state_dict["generators"])


class Starts:
    """Beginnings of episodes, drawn many at once, to be copied into worlds whose episode is over.

    VMAS starts all its worlds anew in one call, or one of them in a call that costs as much. So that worlds
    do not wait for each other, other worlds of the same scenario are only ever started, and a world whose
    episode is over takes the state of one of them.

    Args:
        worlds: The worlds, just started.
        make: Makes as many other worlds with the same arguments.
        seed: The beginnings are the same for the same seed.
    """

    def __init__(self, worlds: Worlds, make: Any, seed: int) -> None:
        self._worlds = worlds
        # Never as many as the worlds: a tensor has a row for each world if its length tells the two apart.
        self._others: Worlds = make(max(N_STARTS, worlds.n_worlds + 1))
        self.seed, self.drawn, self.taken = seed, 0, 0
        self._checked = False
        self._observations: Floats = np.zeros((0, 0), dtype=np.float32)
        self._pairs: list[tuple[Holder, Holder, Any]] = []

    def take(self, which: Index) -> Floats:
        """Starts the next episodes in some worlds.

        Args:
            which: The worlds, [k].

        Returns:
            Their joint observations [k, I] float32.

        Raises:
            EnvError: The worlds then show something else: not all of their state is in rows of tensors.
        """
        observations, started = [], which
        while len(which):
            if self.taken >= len(self._observations):
                self._draw()
            now, which = np.split(which, [len(self._observations) - self.taken])
            rows = slice(self.taken, self.taken + len(now))
            self._copy(th.from_numpy(now), rows)
            observations.append(self._observations[rows])
            self.taken += len(now)
        first = np.concatenate(observations)
        if not self._checked and not np.allclose(self._worlds.observe()[started], first, atol=1e-5):
            raise EnvError(
                f"{self._worlds.name}: its worlds cannot be started one by one, for what they observe is not "
                "in their state alone; expected a scenario whose state is a row of tensors for each world"
            )
        self._checked = True
        return first

    def state(self) -> tuple[int, int, int]:
        """The seed, how often beginnings were drawn, and how many of the last are taken."""
        return self.seed, self.drawn, self.taken

    def load_state(self, state: tuple[int, int, int]) -> None:
        """Takes over what `state` returned: draws the same beginnings once more."""
        self.seed, drawn, taken = state
        if drawn:
            self.drawn = drawn - 1
            self._draw()
        else:
            self.drawn, self._observations = 0, self._observations[:0]
        self.taken = taken

    def _draw(self) -> None:
        entropy = np.random.SeedSequence((self.seed, self.drawn)).generate_state(1)
        self._others.seed(int(entropy[0]))
        self._observations = self._others.reset()
        self.drawn, self.taken = self.drawn + 1, 0
        self._pairs = self._paired()

    def _paired(self) -> list[tuple[Holder, Holder, Any]]:
        """Where the worlds' tensors are, the others' same ones, and under which key."""
        others, ours = self._others.holders(), self._worlds.holders()
        n_ours, n_others = self._worlds.n_worlds, self._others.n_worlds
        return [
            (ours[path], holder, key)
            for path, holder in others.items()
            if path in ours
            for key, tensor in _tensors(holder)
            if tensor.dim() and len(tensor) == n_others and _has_rows(ours[path], key, n_ours, tensor)
        ]

    def _copy(self, which: th.Tensor, rows: slice) -> None:
        for ours, others, key in self._pairs:
            ours[key].index_copy_(0, which, others[key][rows].to(ours[key].dtype))


def _has_rows(holder: Holder, key: Any, n_worlds: int, like: th.Tensor) -> bool:
    """Whether a tensor has a row of its own for each world; one that is expanded has the same for all."""
    tensor = dict(_tensors(holder)).get(key)
    has_row_each = tensor is not None and tensor.shape == (n_worlds, *like.shape[1:])
    return has_row_each and (n_worlds == 1 or tensor is None or tensor.stride(0) != 0)


def _tensors(holder: Holder) -> Iterator[tuple[Any, th.Tensor]]:
    items = enumerate(holder) if isinstance(holder, list) else holder.items()
    return ((key, each) for key, each in items if isinstance(each, th.Tensor))


_LEAVES = (
    *(th.Tensor, th.device, th.dtype, str, bytes, int, float, type(None)),
    *(type, FunctionType, MethodType, ModuleType, np.ndarray),
)
"""What holds no tensors that change."""


def _joined(observed: Sequence[th.Tensor]) -> Floats:
    joint: Floats = th.cat([each.flatten(1) for each in observed], dim=1).numpy()
    return joint


def _action_space(space: Any) -> spaces.Space[Any]:
    """The space of Gymnasium for one of gym, which VMAS uses."""
    kind = type(space).__name__
    if kind == "Box":
        return spaces.Box(space.low, space.high, dtype=np.float32)
    return spaces.Discrete(int(space.n)) if kind == "Discrete" else spaces.MultiDiscrete(space.nvec)
