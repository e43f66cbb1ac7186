"""`TeamPolicy`: all agents of a team as one SB3 policy with disconnected components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from cesma_sb3.errors import SpaceError
from cesma_sb3.policies.agent_policy import AgentPolicy, PickledPolicy
from cesma_sb3.policies.distributions import ActionHead, TeamDistribution
from cesma_sb3.policies.networks.custom import MakeModule
from cesma_sb3.policies.networks.factory import NetworkKind, NetworkSpec, TeamValue, actor_net
from cesma_sb3.policies.networks.recurrent import RecurrentTeamNet, step_network
from cesma_sb3.policies.networks.visibility import Visibility
from cesma_sb3.policies.sampling import sampling_with
from cesma_sb3.policies.stateful_actor import DeviceState, MemoryActor, predict_on_device, with_host_state
from cesma_sb3.spaces.communication import Topology, message_columns
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.utils.tables import html_text
from cesma_sb3.utils.torch_defaults import plain_torch


class _JointFeatures(nn.Module):
    """In place of SB3's `MlpExtractor`: actor and critic both read the joint observation itself."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.latent_dim_pi = self.latent_dim_vf = size

    def forward(self, features: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        return features, features

    def forward_actor(self, features: th.Tensor) -> th.Tensor:
        return features

    def forward_critic(self, features: th.Tensor) -> th.Tensor:
        return features


class TeamPolicy(PickledPolicy, ActorCriticPolicy):
    """The students of CESMA as one SB3 policy on the joint space.

    Whatever trains an SB3 policy trains them. With `actor_visibility="own"` the actor is one network an
    agent, each connected to its own agent's observation alone; `"joint"` gives a centralized policy of the
    same form. Visibility of actor and critic makes a joint expert under SB3's PPO (`joint`, `joint`), and
    MAPPO (`own`, `joint`) or IPPO (`own`, `own`) under `cesma_sb3.algorithms.TeamPPO`.

    Args:
        observation_space: `team.observation_space`.
        action_space: `team.action_space`.
        lr_schedule: Learning rate by remaining progress (1 to 0), as SB3 gives it.
        team: The team's spaces.
        actor_visibility: What each actor component sees.
        critic_visibility: What each critic component sees.
        network: `feed-forward`; `entities` for teams whose layouts name them (`EntityNet`); `cnn` for agents
            that observe pictures (`PictureNet`); `pooled`, of actors that see all (`PooledNet`); `recurrent`,
            with a memory (`RecurrentTeamNet`); or `custom`, of `module` (`SeparateNet`). The critic of the
            last two, and of `pooled` where it sees its own alone, is feed-forward.
        hidden_sizes: Hidden layers of each actor component (the paper's students: 128 and 128, E.2); what
            they are of other networks, `NetworkSpec` says.
        critic_hidden_sizes: Hidden layers of each critic component; `hidden_sizes` if None.
        activation_fn: Module class put after each hidden layer.
        share_parameters: One set of weights for all agents, with a one-hot agent number as further input
            (`feed-forward`; `entities` always share). See `NetworkSpec` for those that see everything.
        use_agent_id: A one-hot agent number as further input of `entities`, for agents that are not alike.
        n_neighbours: The nearest entities of each group that `entities` see; None: all.
        topology: Whose messages the agents listen to; those of others do not reach their networks.
        module: Makes an agent's network `custom`: `module(n_inputs, n_outputs, **module_kwargs)`.
        module_kwargs: Keyword arguments of `module`.
        log_std_init: Initial log standard deviation of continuous columns.
        acts_deterministically: How the team acts when it is not being trained (`step`): by its likeliest
            actions, or by draws.
        **kwargs: Passed to `ActorCriticPolicy` (`optimizer_class`, `optimizer_kwargs`).

    Raises:
        LayoutError: The topology names agents that are not there.
        SpaceError: The spaces given are not the team's. Later, where SB3's own algorithms would train agents
            that have a memory.
        UnknownNameError: There is no such visibility or network.

    Source: section 4.3 and Figure 1.
    """

    @plain_torch()
    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        team: TeamSpaces,
        actor_visibility: Visibility = "own",
        critic_visibility: Visibility = "joint",
        network: NetworkKind = "feed-forward",
        hidden_sizes: Sequence[int] = (128, 128),
        critic_hidden_sizes: Sequence[int] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        share_parameters: bool = False,
        use_agent_id: bool = False,
        n_neighbours: int | None = None,
        topology: Topology = "complete",
        module: MakeModule | None = None,
        module_kwargs: Mapping[str, Any] | None = None,
        log_std_init: float = 0.0,
        acts_deterministically: bool = True,
        **kwargs: Any,
    ) -> None:
        for kind, given, wanted in (
            ("observation", observation_space, team.observation_space),
            ("action", action_space, team.action_space),
        ):
            if given != wanted:
                raise SpaceError(f"TeamPolicy: {kind} space {given} is not the team's, which is {wanted}")
        # Set before nn.Module.__init__ has run: plain values only, no modules.
        self.team = team
        self.actor_visibility: Visibility = actor_visibility
        self.critic_visibility: Visibility = critic_visibility
        self.spec = NetworkSpec(
            *(network, tuple(hidden_sizes), activation_fn, share_parameters, use_agent_id),
            n_neighbours=n_neighbours,
            topology=topology,
            module=module,
            module_kwargs=dict(module_kwargs or {}),
        )
        self.acts_deterministically = acts_deterministically
        self._is_message = message_columns(team)
        self.critic_hidden_sizes = tuple(critic_hidden_sizes or hidden_sizes)
        # SB3 makes a distribution of its own from the action space in its constructor; `_build` replaces it.
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            activation_fn=activation_fn,
            log_std_init=log_std_init,
            ortho_init=False,
            **kwargs,
        )

    _owners_A: th.Tensor

    @classmethod
    def acting(cls, team: TeamSpaces, **kwargs: Any) -> TeamPolicy:
        """A team that only acts: its critic is untrained, and as small as can be.

        Draws nothing from PyTorch's generator. Takes the arguments of the class, without the critic's.
        """
        critic: dict[str, Any] = {"critic_visibility": "own", "critic_hidden_sizes": (1,)}
        seen, done = team.observation_space, team.action_space
        with th.random.fork_rng(devices=[]):
            th.default_generator.manual_seed(0)
            return cls(seen, done, lambda _: 0.0, team=team, **critic, **kwargs)

    @classmethod
    def of_actors(cls, actors: nn.Module, team: TeamSpaces, spec: NetworkSpec) -> TeamPolicy:
        """A team that acts as these `own` actors do (`acting`).

        Args:
            actors: As `actor_net` makes them; their weights are copied.
            team: The team's spaces.
            spec: How the actors are built.
        """
        policy = cls.acting(team, **spec.arguments())
        policy.action_net.load_state_dict(actors.state_dict())
        policy.set_training_mode(False)
        return policy

    def _build(self, lr_schedule: Schedule) -> None:
        self.mlp_extractor = _JointFeatures(self.features_dim)  # type: ignore[assignment]  # same interface
        self.head = ActionHead(self.team.column_categories)
        self.action_dist = TeamDistribution(self.head)
        owners = [i for i, own in enumerate(self.team.action_columns) for _ in range(own.start, own.stop)]
        self.register_buffer("_owners_A", th.tensor(owners, dtype=th.long), persistent=False)
        self.action_net = actor_net(self.team, self.actor_visibility, self.spec)
        self.log_std = nn.Parameter(th.full((self.head.n_continuous,), float(self.log_std_init)))
        critic_spec = self.spec.of_critic(self.critic_visibility, self.critic_hidden_sizes)
        self.value_net = TeamValue(self.team, self.critic_visibility, critic_spec)  # type: ignore[assignment]  # SB3: Linear
        self._learning_rate = lr_schedule(1.0)
        self._optimizer: th.optim.Optimizer | None = None

    @property
    def optimizer(self) -> th.optim.Optimizer:  # type: ignore[override]  # SB3: an attribute
        """The optimizer of SB3's own algorithms; imitation has another.

        It is made when it is first asked for: PyTorch imports its compiler with the first one of a process,
        which takes longer than to load a team that only acts.
        """
        if self._optimizer is None:
            self._optimizer = self.optimizer_class(
                self.parameters(),
                lr=self._learning_rate,  # type: ignore[call-arg]  # torch's base class has none, every optimizer has
                **self.optimizer_kwargs,
            )
        return self._optimizer

    def _get_action_dist_from_latent(
        self, latent_pi: th.Tensor, masks: th.Tensor | None = None
    ) -> TeamDistribution:
        if self.is_recurrent:
            raise SpaceError(
                "TeamPolicy: agents with a memory act by `predict`, which carries it, and learn from episodes"
            )
        return self.distribution_of(self.action_net(latent_pi), masks)

    def outputs(self, observations: th.Tensor) -> th.Tensor:
        """Network outputs of every action column: joint observations [B, I] float32 -> [B, O] float32."""
        outputs: th.Tensor = self.action_net(observations)
        return outputs

    def _repr_html_(self) -> str:
        """What a notebook shows: how the networks are built, and what each agent sees and does."""
        layers = ", ".join(map(str, self.spec.hidden_sizes))
        weights = sum(each.numel() for each in self.action_net.parameters())
        return (
            html_text(
                type(self).__name__, f"{self.spec.kind}: hidden layers of {layers} units, {weights:,} weights"
            )
            + self.team._repr_html_()
        )

    @property
    def is_recurrent(self) -> bool:
        """Whether the agents have a memory."""
        return self.spec.kind == "recurrent"

    def unroll(self, observations: th.Tensor) -> th.Tensor:
        """Outputs [T, B, O] for whole episodes of joint observations [T, B, I], from their first step on."""
        if isinstance(self.action_net, RecurrentTeamNet):
            return self.action_net.unroll(observations)[0]
        return self.outputs(observations.flatten(0, 1)).view(*observations.shape[:2], -1)

    def unroll_packed(self, observations: th.Tensor, sizes: Sequence[int]) -> th.Tensor:
        """Outputs [S, O] of agents with a memory for whole episodes with little padding.

        Args:
            observations: Joint observations [S, I], as `RecurrentTeamNet.unroll_packed` takes them.
            sizes: How many episodes each timestep holds.
        """
        assert isinstance(self.action_net, RecurrentTeamNet)
        return self.action_net.unroll_packed(observations, sizes)

    def actor(self, rng: np.random.Generator | None = None) -> MemoryActor:
        """A new actor, with a memory of its own: deterministic, or sampling with a generator."""
        return MemoryActor(
            lambda observations, state, starts, masks: self.step(observations, state, starts, masks, rng)
        )

    def step(
        self,
        observations: npt.NDArray[np.float32],
        state: DeviceState | None = None,
        starts: npt.NDArray[np.bool_] | None = None,
        masks: npt.NDArray[np.bool_] | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[npt.NDArray[Any], DeviceState | None]:
        """One step of the team outside of training: deterministic, or sampled by a generator.

        Messages are never sampled: no expert says what they should be, and listeners know the likeliest ones.

        Args:
            observations: [B, I] float32.
            state: What the call of the step before returned, ([B, S] float32,), if the agents have a memory;
                None: an episode begins in all environments.
            starts: Environments in which an episode begins with these observations, [B] bool.
            masks: Available categories [B, M] bool, or None.
            rng: Samples the moves; None: they are the likeliest.

        Returns:
            Packed joint actions [B, A], and the state for the next step; without a memory, `state` as it
            came.
        """
        likeliest, predict = None, predict_on_device(self)
        if rng is None or self._is_message.any():
            likeliest = predict(observations, state, starts, deterministic=True, action_masks=masks)
        if rng is None:
            assert likeliest is not None
            return likeliest
        with sampling_with(rng, self.device):
            drawn, after = predict(observations, state, starts, action_masks=masks)
        return (drawn if likeliest is None else np.where(self._is_message, likeliest[0], drawn)), after

    def distribution_of(self, outputs: th.Tensor, masks: th.Tensor | None = None) -> TeamDistribution:
        """The joint action distribution of network outputs [B, O] float32 and masks [B, M] bool or None."""
        assert isinstance(self.action_dist, TeamDistribution)
        return self.action_dist.proba_distribution(outputs, self.log_std, masks)

    def distribution(self, observations: PyTorchObs, masks: th.Tensor | None = None) -> TeamDistribution:
        """The joint action distribution of agents without a memory.

        Args:
            observations: Joint observations [B, I] float32.
            masks: Available categories [B, M] bool, or None.
        """
        features = self.extract_features(observations)
        assert isinstance(features, th.Tensor)
        return self._get_action_dist_from_latent(features, masks)

    def agent_values(self, observations: th.Tensor) -> th.Tensor:
        """Each agent's value [B, N] where critics see their `own`; the team's [B, 1] where they see all."""
        assert isinstance(self.value_net, TeamValue)
        if self.critic_visibility == "joint":
            team: th.Tensor = self.value_net(observations)
            return team
        return self.value_net.each(observations)

    def by_agent(self, columns_BA: th.Tensor) -> th.Tensor:
        """Numbers of action columns, summed over those of each agent: [B, A] -> [B, N]."""
        sums = columns_BA.new_zeros(len(columns_BA), self.team.n_agents)
        return sums.index_add(1, self._owners_A, columns_BA)

    @with_host_state
    @plain_torch()
    def predict(  # one argument more than SB3's, as in sb3-contrib's maskable policies
        self,
        observation: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
        state: DeviceState | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[Any], DeviceState | None]:
        """Joint actions for joint observations: SB3's `predict`, with masks.

        Args:
            observation: [I] or [B, I] float32.
            state: What the call of the step before returned, ([B, S] float32,), if the agents have a memory;
                None: an episode begins in all environments.
            episode_start: Environments in which an episode begins with this observation, [B] bool.
            deterministic: The likeliest action in place of a sample.
            action_masks: Available categories [M] or [B, M] bool, or None.

        Returns:
            Packed joint actions [A] or [B, A], and the state for the next step; without a memory, `state` as
            it came.
        """
        if action_masks is None and not self.is_recurrent:
            return super().predict(observation, None, episode_start, deterministic)[0], state
        self.set_training_mode(False)
        tensor, vectorized = self.obs_to_tensor(observation)
        assert isinstance(tensor, th.Tensor)
        masks = None
        if action_masks is not None:
            masks = th.as_tensor(action_masks, device=self.device).reshape(-1, self.head.mask_size)
        with th.no_grad():
            outputs, state = step_network(self.action_net, tensor.float(), state, episode_start)
            distribution = self.distribution_of(outputs, masks)
            actions = distribution.get_actions(deterministic=deterministic).cpu().numpy()
        if isinstance(self.action_space, spaces.Box):
            actions = np.clip(actions, self.action_space.low, self.action_space.high)
        return (actions if vectorized else actions[0]), state

    @plain_torch()
    def agent(self, which: int | str) -> AgentPolicy:
        """The policy of one agent, alone: it holds this agent's weights and nothing of the others'.

        Args:
            which: The agent's name or its place in the team (see `TeamSpaces.agent_index`).

        Raises:
            SpaceError: There is no such agent, or the actor is centralized and cannot be taken apart.
        """
        if self.actor_visibility != "own":
            raise SpaceError(
                "TeamPolicy.agent: a `joint` actor sees the whole team and has no agent to take out"
            )
        index = self.team.agent_index(which)
        columns = self.team.action_columns[index]
        continuous = [c for c, categories in enumerate(self.team.column_categories) if categories == 0]
        own = [place for place, column in enumerate(continuous) if columns.start <= column < columns.stop]
        seen = self.team.observation_slices[index]
        network: nn.Module = self.action_net.component(index, range(seen.start, seen.stop))  # type: ignore[operator]  # SB3 declares a Linear
        agent = AgentPolicy(
            self.team.only(self.team.agents[index]),
            network,
            self.log_std.detach()[own],
            acts_deterministically=self.acts_deterministically,
        )
        return agent.to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "team": self.team,
            "actor_visibility": self.actor_visibility,
            "critic_visibility": self.critic_visibility,
            **self.spec.arguments(),
            "critic_hidden_sizes": self.critic_hidden_sizes,
            "log_std_init": self.log_std_init,
            "acts_deterministically": self.acts_deterministically,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }
