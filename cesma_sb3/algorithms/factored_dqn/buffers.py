"""A replay buffer of whole episodes, for value networks with a memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer

from cesma_sb3.algorithms.episode_store import EpisodeStore
from cesma_sb3.utils.stateful import Stateful


class EpisodeSamples(NamedTuple):
    """Episodes drawn from the buffer: S timesteps of all of them, in the order of `Episodes`."""

    observations: th.Tensor
    """[S, I] float32. Each episode has one more timestep than actions, for what came of the last."""
    masks: th.Tensor | None
    """Available categories [S, M] bool; None in environments that have none."""
    actions: th.Tensor
    """[S, ...]."""
    rewards: th.Tensor
    """[S, 1] float32."""
    terminated: th.Tensor
    """[S, 1] float32: 1 where the episode terminates; of a truncated one the next state is valued."""
    acted: th.Tensor
    """[S] bool: False in padding, and in the timestep that closes an episode."""
    sizes: list[int]
    """How many episodes each timestep has, as `RecurrentTeamNet.unroll_packed` takes them."""


class EpisodeReplayBuffer(ReplayBuffer, Stateful):
    """The newest whole episodes, as many as have room, drawn uniformly.

    Args:
        buffer_size: Timesteps kept, those included that close an episode.
        observation_space: Box.
        action_space: Discrete or MultiDiscrete.
        device: Where batches go.
        n_envs: Environments stepped together.
        optimize_memory_usage: Unused: every observation is kept once.
        seed: Seed of the sampling of batches; None: drawn from NumPy's global generator, which SB3 seeds.
    """

    state_attributes = ("rng", "store")

    def __init__(  # noqa: PLR0917  # SB3's own order
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: th.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        seed: int | None = None,
    ) -> None:
        # Not ReplayBuffer's own: it claims memory for single transitions.
        BaseBuffer.__init__(self, buffer_size, observation_space, action_space, device, n_envs=n_envs)
        self.optimize_memory_usage = optimize_memory_usage
        self.store = EpisodeStore(buffer_size)
        drawn = np.random.randint(2**31) if seed is None else seed  # noqa: NPY002  # it is what SB3 seeds
        self.rng = np.random.default_rng(drawn)

    def size(self) -> int:
        """Timesteps kept."""
        return self.store.n_steps

    def add(  # noqa: PLR0917  # SB3's own order, and one argument more
        self,
        obs: npt.NDArray[Any],
        next_obs: npt.NDArray[Any],
        action: npt.NDArray[Any],
        reward: npt.NDArray[Any],
        done: npt.NDArray[Any],
        infos: list[dict[str, Any]],
        masks: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]] | None = None,
    ) -> None:
        """Add a step of all environments.

        Args:
            obs: Before the step, [B, I].
            next_obs: After it, [B, I]; of an episode that ended, its last.
            action: [B, ...].
            reward: [B].
            done: [B] bool.
            infos: Infos of the step; `TimeLimit.truncated` marks an episode that was truncated.
            masks: Available categories before and after the step, [B, M] bool each.
        """
        ended = np.asarray(done, dtype=bool)
        truncated = np.array([bool(info.get("TimeLimit.truncated", False)) for info in infos])
        fields = {
            "observations": np.asarray(obs, dtype=np.float32),
            "actions": np.asarray(action, dtype=np.int64),
            "rewards": np.asarray(reward, dtype=np.float32)[:, None],
            "terminated": (ended & ~truncated).astype(np.float32)[:, None],
            "acted": np.ones(len(ended), dtype=bool),
        }
        last = {name: np.zeros_like(field) for name, field in fields.items()}
        last["observations"] = np.asarray(next_obs, dtype=np.float32)
        if masks is not None:
            fields["masks"], last["masks"] = masks
        self.store.append(fields, ended, last)

    def sample(  # type: ignore[override]  # SB3's has single transitions, ours whole episodes
        self, batch_size: int, env: Any = None
    ) -> EpisodeSamples:
        """Episodes drawn uniformly with replacement.

        Args:
            batch_size: How many.
            env: Unused: episodes are not normalized.

        Raises:
            ValueError: None has ended yet.
        """
        episodes = self.store.sample(batch_size, self.rng)
        drawn = {name: th.as_tensor(array, device=self.device) for name, array in episodes.fields.items()}
        masks = drawn.pop("masks", None)
        return EpisodeSamples(masks=masks, sizes=episodes.sizes, **drawn)
