"""Ensembles of teams: one for each step of an episode, or one drawn at random at each step.

Shape suffixes: B batch, N agents.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch as th
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from cesma_sb3.errors import SpaceError, integer
from cesma_sb3.policies.agent_policy import AgentPolicy, PickledPolicy, SingleAgentPolicy, unbatched
from cesma_sb3.policies.sampling import categories, sampling_with
from cesma_sb3.policies.stateful_actor import DeviceState, MemoryActor, State
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.types import Array, Masks, Observations


class EnsembleActor(MemoryActor):
    """An ensemble that acts step after step; made by `TeamEnsemble.actor`.

    Args:
        policy: The ensemble. Its weights may change between calls.
        rng: Samples the actions of the components; None: they are the likeliest.
    """

    state_attributes = (*MemoryActor.state_attributes, "_action_rng", "_rng")

    def __init__(self, policy: TeamEnsemble, rng: np.random.Generator | None = None) -> None:
        super().__init__(self._step)
        self.policy = policy
        self._action_rng = rng
        self.reset(None)

    def reset(self, episode_starts: npt.NDArray[np.bool_] | None) -> None:
        """Forget the episodes that have ended.

        Args:
            episode_starts: In which environments the next observation is an episode's first, [B] bool; None:
                in all of them, and draws of who acts begin anew.
        """
        super().reset(episode_starts)
        if episode_starts is None:
            self._rng = np.random.default_rng(self.policy.seed)

    def _step(
        self,
        observations: Observations,
        state: DeviceState | None,
        starts: npt.NDArray[np.bool_] | None,
        masks: Masks | None,
    ) -> tuple[Array, DeviceState | None]:
        steps = next_steps(len(observations), state, starts)
        rng = self._action_rng
        with nullcontext() if rng is None else sampling_with(rng, self.policy.device):
            actions = self.policy.actions(
                observations, masks, steps=steps, rng=self._rng, deterministic=rng is None
            )
        return actions, (steps + 1,)


class TeamEnsemble(PickledPolicy):
    """Teams of the same spaces that act as one SB3 policy; decentralized as long as each of them is.

    Components are added while it is trained. `state_dict` holds all of them, and `load_state_dict` brings
    back as many as there were.

    Args:
        components: At least one `TeamPolicy`.
        seed: Seed of the draws of which component acts.

    Raises:
        SpaceError: There are no components, or they are of different teams.
    """

    def __init__(self, components: Sequence[TeamPolicy], *, seed: int = 0) -> None:
        if not components:
            raise SpaceError(f"{type(self).__name__}: no components, expected at least one")
        team = components[0].team
        super().__init__(team.observation_space, team.action_space)
        self.team = team
        self.seed = integer("seed", seed)
        self.components = nn.ModuleList()
        for component in components:
            self._append(component)
        self._rng = np.random.default_rng(self.seed)

    is_recurrent: ClassVar[bool] = True
    """What a team does depends on the number of the step, which `predict` hands on as its state."""

    def _append(self, component: TeamPolicy) -> None:
        if component.team != self.team:
            raise SpaceError(f"{type(self).__name__}: component {len(self)} is of another team")
        self.components.append(component)

    def __len__(self) -> int:
        return len(self.components)

    def component(self, index: int) -> TeamPolicy:
        """The team at this place."""
        component = self.components[index]
        assert isinstance(component, TeamPolicy)
        return component

    @property
    def acts_deterministically(self) -> bool:
        """Whether the component that acts takes its likeliest action; which one acts may still be drawn."""
        return self.component(0).acts_deterministically

    def actor(self, rng: np.random.Generator | None = None) -> EnsembleActor:
        """A new actor, with a memory of its own: deterministic, or sampling with a generator.

        Draws of which component acts begin with `seed`: they are the same for every actor.
        """
        return EnsembleActor(self, rng)

    def predict(  # one argument more than SB3's, as in sb3-contrib's maskable policies
        self,
        observation: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
        state: DeviceState | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        action_masks: Masks | None = None,
    ) -> tuple[Array, State | None]:
        """Joint actions for joint observations: SB3's `predict`, with masks.

        Args:
            observation: [I] or [B, I] float32.
            state: What the call of the step before returned; None: an episode begins in all environments.
            episode_start: Environments in which an episode begins with this observation, [B] bool.
            deterministic: The likeliest action of the component that acts; which one acts may still be drawn.
            action_masks: Available categories [M] or [B, M] bool, or None.

        Returns:
            Packed joint actions [A] or [B, A], and the number of the next step, ([B] int64,).
        """
        batch = np.asarray(observation, dtype=np.float32).reshape(-1, self.team.observation_size)
        masks = None if action_masks is None else np.asarray(action_masks).reshape(len(batch), -1)
        steps = next_steps(len(batch), state, episode_start)
        actions = self.actions(batch, masks, steps=steps, rng=self._rng, deterministic=deterministic)
        return (actions if np.asarray(observation).ndim > 1 else actions[0]), (steps + 1,)

    def actions(
        self,
        observations: Observations,
        masks: Masks | None,
        *,
        steps: npt.NDArray[np.int64],
        rng: np.random.Generator,
        deterministic: bool,
    ) -> Array:
        """Packed joint actions [B, A], each agent's by the component that acts for it.

        Args:
            observations: [B, I].
            masks: [B, M], or None.
            steps: The number of the step in each environment, from 0, [B].
            rng: Draws which component acts.
            deterministic: The likeliest actions of the components.
        """
        sizes = [columns.stop - columns.start for columns in self.team.action_columns]
        chosen_BN = np.broadcast_to(self._chosen(steps, rng), (len(observations), self.team.n_agents))
        packed: Array = np.zeros((len(observations), self.team.n_columns), dtype=self.team.action_dtype)
        for index in np.unique(chosen_BN):
            mine = np.repeat(chosen_BN == index, sizes, axis=1)
            rows = np.flatnonzero(mine.any(axis=1))
            given = None if masks is None else masks[rows]
            actions, _ = self.component(int(index)).predict(
                observations[rows], deterministic=deterministic, action_masks=given
            )
            packed[rows] = np.where(mine[rows], actions, packed[rows])
        return packed

    def _chosen(self, steps: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Which component acts: [B, N], or [B, 1] for the whole team."""
        raise NotImplementedError

    def agent(self, which: int | str) -> EnsembleAgent:
        """The policy of one agent, alone: it holds this agent's weights and nothing of the others'.

        Raises:
            SpaceError: There is no such agent, or a component's actor is centralized.
        """
        return EnsembleAgent([self.component(index).agent(which) for index in range(len(self))])

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        raise NotImplementedError(f"{type(self).__name__} acts by `predict` alone")

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """PyTorch's, with as many components as there are in `state_dict`."""
        numbers = {int(name.split(".")[1]) for name in state_dict if name.startswith("components.")}
        del self.components[len(numbers) :]
        while len(self) < len(numbers):
            self.components.append(copy.deepcopy(self.component(0)))
        self._resized(state_dict)
        return super().load_state_dict(state_dict, strict, assign)

    def _resized(self, state_dict: Mapping[str, Any]) -> None:
        """Resize buffers to those in `state_dict`."""


class SequencePolicy(TeamEnsemble):
    """A team for each step of an episode: component t acts at step t, the last one from there on.

    Source: the non-stationary policy of Forward Training (Ross & Bagnell, 2010, Algorithm 3.1).
    """

    def set(self, step: int, component: TeamPolicy) -> None:
        """Make a team the last one, for `step`, which is the next step or an existing one."""
        if step > len(self):
            raise ValueError(f"step {step}: expected at most {len(self)}, the next one")
        del self.components[step:]
        self._append(component)

    def _chosen(self, steps: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
        del rng  # nothing is drawn
        return np.minimum(steps, len(self) - 1)[:, None]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {"components": list(self.components), "seed": self.seed}


class MixturePolicy(TeamEnsemble):
    """A stochastic mixture: at each step each agent, or the whole team, acts by a component drawn anew.

    With `per_agent` every agent draws by itself, and needs nothing of the others to act. Without it one draw
    holds for the team; apart from one another, agents then draw the same only because `agent` gives all of
    them the same seed, and they must make their steps together.

    Args:
        components: At least one `TeamPolicy`.
        weights: Of each component, above or equal to 0, with a sum of 1; None: the same for all.
        per_agent: Each agent draws for itself.
        seed: Of the draws.

    Raises:
        SpaceError: The components are of different teams.
        ValueError: The weights are no distribution over the components.
    """

    weights: th.Tensor

    def __init__(
        self,
        components: Sequence[TeamPolicy],
        weights: Sequence[float] | None = None,
        *,
        per_agent: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(components, seed=seed)
        self.per_agent = per_agent
        self.register_buffer("weights", th.empty(0, dtype=th.float64))
        self.set(components, [1.0 / len(components)] * len(components) if weights is None else weights)

    def set(self, components: Sequence[TeamPolicy], weights: Sequence[float]) -> None:
        """Replace components and weights, which must be as many and sum to 1."""
        if len(weights) != len(components):
            raise ValueError(f"{len(weights)} weights for {len(components)} components")
        if not np.isfinite(weights).all() or min(weights) < 0 or abs(sum(weights) - 1.0) > 1e-6:
            raise ValueError(f"weights {list(weights)}: expected numbers of at least 0 with a sum of 1")
        self.components = nn.ModuleList()
        for component in components:
            self._append(component)
        self.weights = th.tensor(list(weights), dtype=th.float64, device=self.device)

    def _chosen(self, steps: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
        n_draws = self.team.n_agents if self.per_agent else 1
        return categories(self.weights.cpu().numpy(), rng.random((len(steps), n_draws)))

    def agent(self, which: int | str) -> EnsembleAgent:
        """The policy of one agent, alone: it holds this agent's weights and nothing of the others'.

        Its draws begin with the team's seed; if `per_agent`, with a seed of its own.

        Raises:
            SpaceError: There is no such agent, or a component's actor is centralized.
        """
        seed = [self.seed, self.team.agent_index(which)] if self.per_agent else self.seed
        agents = [self.component(index).agent(which) for index in range(len(self))]
        return EnsembleAgent(agents, self.weights.tolist(), seed=seed)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "components": list(self.components),
            "weights": self.weights.tolist(),
            "per_agent": self.per_agent,
            "seed": self.seed,
        }

    def _resized(self, state_dict: Mapping[str, Any]) -> None:
        self.weights = th.empty_like(state_dict["weights"], device=self.device)


class EnsembleAgent(SingleAgentPolicy):
    """One agent of a `SequencePolicy` or a `MixturePolicy`, alone: one of its policies acts at each step.

    Args:
        components: At least one, all of the same agent.
        weights: Of a mixture, the probability of each component, which is drawn anew at each step; None: of
            a sequence, component t acts at step t, the last one from there on.
        seed: Of the draws. Agents with the same seed draw the same component at the same call.
    """

    def __init__(
        self,
        components: Sequence[AgentPolicy],
        weights: Sequence[float] | None = None,
        *,
        seed: int | Sequence[int] = 0,
    ) -> None:
        super().__init__(components[0].spaces)
        self.components = nn.ModuleList(components)
        self.weights = weights
        self.seed = seed
        self._rng = np.random.default_rng(seed)

    is_recurrent: ClassVar[bool] = True
    """What the agent does depends on the number of the step, which `predict` hands on as its state."""

    def predict(
        self,
        observation: Any,
        state: State | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        action_masks: Masks | None = None,
    ) -> tuple[Any, State | None]:
        """Array for one observation or a batch of them, as `AgentPolicy.predict` gives them.

        Args:
            observation: An observation of the agent's own observation space, or a batch of B of them.
            state: What the call of the step before returned; None: an episode begins.
            episode_start: Whether an episode begins with this observation, [B] bool.
            deterministic: The likeliest action of the component that acts; which one acts may still be drawn.
            action_masks: The agent's available categories, or None.

        Returns:
            An action of the agent's own action space, or [B] of them, and the number of the next step,
            ([B] int64,).
        """
        batch = unbatched(self.observation_space, observation)
        rows = [observation] if batch is None else batch
        is_shared = batch is None or action_masks is None
        masks = [action_masks] * len(rows) if is_shared else list(np.asarray(action_masks))
        steps = next_steps(len(rows), state, episode_start)
        if self.weights is None:
            chosen = np.minimum(steps, len(self.components) - 1)
        else:
            chosen = categories(np.array(self.weights), self._rng.random(len(rows)))
        actions = []
        for index, row, mask in zip(chosen, rows, masks, strict=True):
            component = self.components[index]
            assert isinstance(component, AgentPolicy)
            action, _ = component.predict(row, deterministic=deterministic, action_masks=mask)
            actions.append(action)
        return (actions[0] if batch is None else np.stack(actions)), (steps + 1,)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {"components": list(self.components), "weights": self.weights, "seed": self.seed}


def next_steps(
    batch: int, state: DeviceState | None, episode_start: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.int64]:
    """The number of each environment's step, from 0, [B], from SB3's state and starts of episodes."""
    steps = np.zeros(batch, dtype=np.int64) if state is None else np.asarray(state[0], dtype=np.int64)
    return steps if episode_start is None else np.where(episode_start, 0, steps)
